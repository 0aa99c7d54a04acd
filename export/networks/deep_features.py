"""The UNet cut in two, so that its deep part need not run at every step (DeepCache, Ma et al. 2024, arXiv 2312.00858).

The cut at depth N lies before the last N layers on the way up. These take what the first N layers on the way down made,
counting conv_in, and the deep feature: what the layer before the cut gave. Between neighbouring steps that one changes
little.
"""

import itertools
from collections.abc import Callable

import paddle
from paddle import nn

from sa.export.checkpoint.architecture import UNetConfig
from sa.export.networks.unet import UNet


def deepest(config: UNetConfig) -> int:
    """The largest depth: the last layers up, all but the first."""
    return len(config.block_out_channels) * (config.layers_per_block + 1) - 1


def deep_shape(config: UNetConfig, depth: int, height: int, width: int) -> tuple[int, int, int]:
    """Channels, height and width of the deep feature, for latents of height and width."""
    by_level = config.layers_per_block + 1
    level, layer = divmod(len(config.block_out_channels) * by_level - depth, by_level)
    widths = config.block_out_channels[::-1]
    scale = 2 ** (len(widths) - 1 - level)
    # A level's first layer takes what the level below it gave, enlarged.
    return widths[level if layer else level - 1], height // scale, width // scale


class KeepingUNet(nn.Layer):
    """The whole UNet, which also gives the deep feature."""

    def __init__(self, unet: UNet, embed: Callable, depth: int):
        """embed: from the inputs to the features of `unet`, and what its blocks share."""
        super().__init__()
        self.unet, self.embed, self.depth = unet, embed, depth

    def forward(self, *inputs: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Inputs of `embed` -> velocities [B, T, 4, h, w] and the deep feature [B, T, C, h', w']."""
        unet, (x, shared) = self.unet, self.embed(*inputs)
        skips = list(unet.down(x, shared))
        deep = unet.up(unet.mid_block(skips[-1], shared), skips, shared, unet.up_layers[: -self.depth])
        x = unet.up(deep, skips, shared, unet.up_layers[-self.depth :])
        return unet.velocities(x, shared), deep.reshape([-1, shared.frames, *deep.shape[1:]])


class ShallowUNet(nn.Layer):
    """The UNet's outermost layers alone."""

    def __init__(self, unet: UNet, embed: Callable, depth: int):
        """As `KeepingUNet`."""
        super().__init__()
        self.unet, self.embed, self.depth = unet, embed, depth

    def forward(self, *inputs: paddle.Tensor) -> paddle.Tensor:
        """Inputs of `embed`, then an earlier step's deep feature [B, T, C, h', w'] -> velocities [B, T, 4, h, w]."""
        *given, deep = inputs
        unet, (x, shared) = self.unet, self.embed(*given)
        skips = list(itertools.islice(unet.down(x, shared), self.depth))
        x = unet.up(deep.reshape([-1, *deep.shape[2:]]), skips, shared, unet.up_layers[-self.depth :])
        return unet.velocities(x, shared)
