"""Temporal layers that begin by doing nothing."""

from torch import nn

from sa.benchmarks.puppet.networks.layers import SpatioTemporalResBlock
from sa.benchmarks.puppet.networks.unet import Transformer


def silence(network: nn.Module) -> None:
    """Zero what the temporal layers add to their input. The network then treats every frame as a separate picture."""
    for block in network.modules():
        if isinstance(block, SpatioTemporalResBlock):
            zero(block.temporal_res_block.conv2)
        elif isinstance(block, Transformer):
            zero(block.time_pos_embed.linear_2)
            for inner in block.temporal_transformer_blocks:
                for layer in (inner.ff_in.net[2], inner.attn1.to_out[0], inner.attn2.to_out[0], inner.ff.net[2]):
                    zero(layer)


def zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
