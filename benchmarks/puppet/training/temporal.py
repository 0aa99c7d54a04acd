"""Trains spatio-temporal networks on pictures first: temporal layers are left out, and later begin by doing nothing."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import nn


def silence(network: nn.Module) -> None:
    """Zero what the temporal layers add to their input. The network then treats every frame as a separate picture."""
    for block in network.modules():
        if isinstance(block, SpatioTemporalResBlock):
            _zero(block.temporal_res_block.conv2)
        elif isinstance(block, TransformerSpatioTemporalModel):
            _zero(block.time_pos_embed.linear_2)
            for inner in block.temporal_transformer_blocks:
                for layer in (inner.ff_in.net[2], inner.attn1.to_out[0], inner.attn2.to_out[0], inner.ff.net[2]):
                    _zero(layer)


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


@contextlib.contextmanager
def replaced(blocks: Iterable[nn.Module], forward: Callable[..., object]) -> Iterator[None]:
    """Within the block these modules compute `forward(module, ...)`; such blocks nest."""
    with contextlib.ExitStack() as undo:
        for block in blocks:
            before = block.__dict__.get("forward")
            block.forward = forward.__get__(block)
            undo.callback(*((setattr, block, "forward", before) if before else (delattr, block, "forward")))
        yield


@contextlib.contextmanager
def without_time(network: nn.Module) -> Iterator[None]:
    """Within the block the temporal layers are skipped. The result is that of silenced layers, in half the time."""

    def every(kind: type[nn.Module]) -> list[nn.Module]:
        return [block for block in network.modules() if isinstance(block, kind)]

    resnets, transformers = every(SpatioTemporalResBlock), every(TransformerSpatioTemporalModel)
    with replaced(resnets, _resnet), replaced(transformers, _transformer):
        yield


def _resnet(
    block: SpatioTemporalResBlock, hidden_states: torch.Tensor, temb: torch.Tensor | None = None, **_: object
) -> torch.Tensor:
    return block.spatial_res_block(hidden_states, temb)


def _transformer(
    block: TransformerSpatioTemporalModel,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    **_: object,
) -> tuple[torch.Tensor]:
    """hidden_states [n, C, h, w], encoder_hidden_states [n, 5, X]."""
    height, width = hidden_states.shape[-2:]
    x = block.proj_in(block.norm(hidden_states).flatten(2).transpose(1, 2))
    for inner in block.transformer_blocks:
        x = inner(x, encoder_hidden_states=encoder_hidden_states)
    x = block.proj_out(x).transpose(1, 2).unflatten(2, (height, width))
    return (x + hidden_states,)
