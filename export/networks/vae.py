"""The VAE: an encoder of images, and a decoder with convolutions over time (docs/model.md, sections 2.3 and 3.5)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import paddle
from paddle import nn
from paddle.nn import functional as F

from sa.export.checkpoint.architecture import VaeConfig
from sa.export.networks.layers import GroupNorm, Normalise, TemporalConv, Upsample, attend_by_frame, live
from sa.export.networks.resnet import SpatialResBlock, SpatioTemporalResBlock

EPS = 1e-6
TEMPORAL_EPS = 1e-5


class MidAttention(nn.Layer):
    """Single-head self-attention over the pixels of each frame, with its residual. x [T, C, H, W]."""

    def __init__(self, dim: int):
        super().__init__()
        self.group_norm = GroupNorm(dim, EPS)
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.LayerList([nn.Linear(dim, dim)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        channels, height, width = x.shape[1], x.shape[2], x.shape[3]
        tokens = self.group_norm(x).transpose([0, 2, 3, 1]).reshape([-1, height * width, channels])
        tokens = self.to_out[0](attend_by_frame(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens), heads=1))
        return x + tokens.reshape([-1, height, width, channels]).transpose([0, 3, 1, 2])


class Downsample(nn.Layer):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2D(channels, channels, 3, stride=2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(F.pad(x, [0, 1, 0, 1]))  # right and bottom only


class EncoderLevel(nn.Layer):
    def __init__(self, channels: int, width: int, layers: int, downsample: bool):
        super().__init__()
        self.resnets = nn.LayerList([SpatialResBlock(channels if i == 0 else width, width, EPS) for i in range(layers)])
        self.downsample = downsample
        if downsample:
            self.downsamplers = nn.LayerList([Downsample(width)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        return self.downsamplers[0](x) if self.downsample else x


class EncoderMid(nn.Layer):
    def __init__(self, width: int):
        super().__init__()
        self.attentions = nn.LayerList([MidAttention(width)])
        self.resnets = nn.LayerList([SpatialResBlock(width, width, EPS) for _ in range(2)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nn.Layer):
    def __init__(self, config: VaeConfig):
        super().__init__()
        widths = config.block_out_channels
        self.conv_in = nn.Conv2D(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.LayerList(
            [
                EncoderLevel(widths[max(i - 1, 0)], width, config.layers_per_block, i < len(widths) - 1)
                for i, width in enumerate(widths)
            ]
        )
        self.mid_block = EncoderMid(widths[-1])
        self.conv_norm_out = GroupNorm(widths[-1], EPS)
        self.conv_out = nn.Conv2D(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class VaeEncoder(nn.Layer):
    """The encoder and quant_conv, with the names of the checkpoint's `vae`."""

    def __init__(self, config: VaeConfig):
        super().__init__()
        self.latent_channels = config.latent_channels
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv2D(2 * config.latent_channels, 2 * config.latent_channels, 1)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        """image [1, 3, H, W] in -1..1 -> the posterior's mode [1, 4, H/8, W/8], not scaled."""
        return self.quant_conv(self.encoder(image))[:, : self.latent_channels]


def _block(channels: int, width: int) -> SpatioTemporalResBlock:
    return SpatioTemporalResBlock(channels, width, EPS, TEMPORAL_EPS, switched=True)


@dataclass(frozen=True)
class DecoderSegment:
    """A piece of the decoder, x [F, C, h, w] -> y. The refinement has a forward and a VJP engine for each segment.

    The decoder is the chain of its segments. Those that are `by_frame` treat each frame alone; the others mix frames.
    """

    name: str
    forward: Callable[..., paddle.Tensor]  # takes x, and `normalise` if it has norms
    by_frame: bool
    channels: tuple[int, int]  # of x and of y
    scale: tuple[int, int]  # of x and of y: pixels per latent pixel, along one side
    flops_per_byte: float = math.inf  # of computing y again rather than keeping it; inf where it must be kept
    norms: tuple[int, ...] = ()  # the channels of its GroupNorms, in the order in which they are applied
    block: SpatioTemporalResBlock | None = None  # whose temporal half it is

    def run(self, x: paddle.Tensor, normalise: Normalise = live) -> paddle.Tensor:
        return self.forward(x, normalise=normalise) if self.norms else self.forward(x)


class DecoderMid(nn.Layer):
    def __init__(self, width: int, layers: int):
        super().__init__()
        self.resnets = nn.LayerList([_block(width, width) for _ in range(layers)])
        self.attentions = nn.LayerList([MidAttention(width)])


class DecoderLevel(nn.Layer):
    def __init__(self, channels: int, width: int, layers: int, upsample: bool):
        super().__init__()
        self.resnets = nn.LayerList([_block(channels if i == 0 else width, width) for i in range(layers)])
        if upsample:
            self.upsamplers = nn.LayerList([Upsample(width)])


class Decoder(nn.Layer):
    def __init__(self, config: VaeConfig):
        super().__init__()
        self.widths = widths = config.block_out_channels[::-1]
        self.latent_channels, self.out_channels = config.latent_channels, config.out_channels
        self.conv_in = nn.Conv2D(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = DecoderMid(widths[0], config.layers_per_block)
        self.up_blocks = nn.LayerList(
            [
                DecoderLevel(widths[max(i - 1, 0)], width, config.layers_per_block + 1, i < len(widths) - 1)
                for i, width in enumerate(widths)
            ]
        )
        self.conv_norm_out = GroupNorm(widths[-1], EPS)
        self.conv_out = nn.Conv2D(widths[-1], config.out_channels, 3, padding=1)
        self.time_conv_out = TemporalConv(config.out_channels)

    def segments(self) -> list[DecoderSegment]:
        """The chain from latents to frames."""
        chain: list[DecoderSegment] = []
        channels, scale = self.latent_channels, 1

        def add(
            name: str,
            forward: Callable,
            width: int,
            by_frame: bool = True,
            growth: int = 1,
            flops_per_byte: float = math.inf,
            norms: tuple[int, ...] = (),
            block: SpatioTemporalResBlock | None = None,
        ) -> None:
            nonlocal channels, scale
            ends, scales = (channels, width), (scale, scale * growth)
            chain.append(DecoderSegment(name, forward, by_frame, ends, scales, flops_per_byte, norms, block))
            channels, scale = width, scale * growth

        def add_block(name: str, block: SpatioTemporalResBlock, width: int) -> None:
            add(f"{name}_spatial", block.spatial_res_block.forward, width, norms=(channels, width))
            # Two convolutions of 3 taps per 4-byte value.
            again = 2 * 2 * 3 * width / 4
            norms = width, width
            add(f"{name}_temporal", block.over_time, width, False, flops_per_byte=again, norms=norms, block=block)

        add("in", self.conv_in.forward, self.widths[0])
        add_block("mid_0", self.mid_block.resnets[0], self.widths[0])
        # The published code pairs the one attention with the second block. A single block runs without attention, and a
        # third block never runs (docs/model.md, section 3.5).
        if len(self.mid_block.resnets) > 1:
            add("mid_attention", self.mid_block.attentions[0].forward, self.widths[0])
            add_block("mid_1", self.mid_block.resnets[1], self.widths[0])
        for i, (level, width) in enumerate(zip(self.up_blocks, self.widths, strict=True)):
            for j, block in enumerate(level.resnets):
                add_block(f"up_{i}_{j}", block, width)
            if i < len(self.widths) - 1:
                upsample = level.upsamplers[0].forward
                add(f"up_{i}_upsample", upsample, width, growth=2, flops_per_byte=2 * 4 * width / 4)
        add("out", self._to_pixels, self.out_channels, norms=(channels,))
        add("out_temporal", self._over_time, self.out_channels, by_frame=False)
        return chain

    def _to_pixels(self, x: paddle.Tensor, normalise: Normalise = live) -> paddle.Tensor:
        return self.conv_out(F.silu(normalise(self.conv_norm_out, x)))

    def _over_time(self, frames: paddle.Tensor) -> paddle.Tensor:
        channels, height, width = frames.shape[1], frames.shape[2], frames.shape[3]
        flat = frames.transpose([1, 0, 2, 3]).reshape([1, channels, -1, height * width])
        return self.time_conv_out(flat).reshape([channels, -1, height, width]).transpose([1, 0, 2, 3])


class VaeDecoder(nn.Layer):
    """The temporal decoder, with the names of the checkpoint's `vae`."""

    def __init__(self, config: VaeConfig):
        super().__init__()
        self.scaling_factor = config.scaling_factor
        self.decoder = Decoder(config)

    def segments(self) -> list[DecoderSegment]:
        """The decoder's segments. The first takes latents scaled as in the sampler."""
        first, *rest = self.decoder.segments()
        return [replace(first, forward=self._unscaled), *rest]

    def _unscaled(self, latents: paddle.Tensor) -> paddle.Tensor:
        return self.decoder.conv_in(latents / self.scaling_factor)

    def forward(self, latents: paddle.Tensor) -> paddle.Tensor:
        """latents [F, 4, h, w], scaled as in the sampler -> frames [F, 3, 8h, 8w], nominally -1..1, not clamped."""
        x = latents
        for segment in self.segments():
            x = segment.forward(x)
        return x
