"""The decoder on a window of the frame, whose GroupNorms take the whole frame's statistics (docs/refinement.md).

The first segments, up to the one attention, run on the whole frame: they work on latents, where a frame is small. What
they give is cut to the window, and the other segments run on that. A norm's statistics are those of the whole frame,
so inside the borders every activation is the whole decoder's.
"""

import math
from collections.abc import Callable

import paddle
from paddle import nn
from paddle.nn import functional as F

from sa.export.networks.layers import GroupNorm
from sa.export.networks.resnet import SpatioTemporalResBlock
from sa.export.networks.vae import VaeDecoder

BANDS = 4  # of rows, in which what looks over time is computed: it mixes no pixels


class SegmentNorms(nn.Layer):
    """One of the decoder's segments on the whole frame, and what its norms do there."""

    def __init__(self, decoder: VaeDecoder, index: int):
        super().__init__()
        self.decoder = decoder
        self.index = index

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """x [F, C, h, w] -> y, norms [1, n]: the scale and the shift of each norm's channels, one norm after another.

        A segment that is by frame takes one frame.
        """
        segment = self.decoder.segments()[self.index]
        if segment.block is not None:
            return _over_time_in_bands(segment.block, x)
        lines: list[paddle.Tensor] = []

        def recording(norm: GroupNorm, x: paddle.Tensor) -> paddle.Tensor:
            scale, shift = norm.line([x])
            lines.extend((scale, shift))
            return along(x, scale, shift)

        y = segment.run(x, recording)
        return y, paddle.concat(lines, axis=1)


class WindowSegment(nn.Layer):
    """One of the decoder's segments, its norms given."""

    def __init__(self, decoder: VaeDecoder, index: int):
        super().__init__()
        self.decoder = decoder
        self.index = index

    def forward(self, x: paddle.Tensor, norms: paddle.Tensor | None = None) -> paddle.Tensor:
        """x [F, C, h, w]; norms [1, n], what the segment's norms do, or None if it has none -> y."""
        segment = self.decoder.segments()[self.index]
        if norms is None:
            return segment.run(x)
        sizes = [size for channels in segment.norms for size in (channels, channels)]
        lines = iter(paddle.split(norms, num_or_sections=sizes, axis=1))
        return segment.run(x, lambda norm, x: along(x, next(lines), next(lines)))


def along(x: paddle.Tensor, scale: paddle.Tensor, shift: paddle.Tensor) -> paddle.Tensor:
    """x [B, C, h, w] * scale + shift, both [B, C]."""
    return x * scale.unsqueeze([2, 3]) + shift.unsqueeze([2, 3])


def _over_time_in_bands(block: SpatioTemporalResBlock, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """The temporal half of a block, band by band of rows, and what its norms do.

    It has a tensor of the chunk's size for x, for what lies between its convolutions and for the result, and no other:
    at full resolution these are the largest of all.
    """
    channels, height, width = x.shape[1], x.shape[2], x.shape[3]
    count = math.gcd(BANDS, height)
    rows = height // count
    temporal, weight = block.temporal_res_block, block.time_mixer.temporal_weight()

    def bands() -> list[paddle.Tensor]:
        """Of x, [1, C, F, pixels] each."""
        parts = (x[:, :, i * rows : (i + 1) * rows] for i in range(count))
        return [part.reshape([1, -1, channels, rows * width]).transpose([0, 2, 1, 3]) for part in parts]

    def convolved(parts: list[paddle.Tensor], norm: GroupNorm, conv: Callable) -> tuple[list[paddle.Tensor], list]:
        scale, shift = norm.line(parts)
        return [conv(F.silu(along(part, scale, shift))) for part in parts], [scale, shift]

    between, first = convolved(bands(), temporal.norm1, temporal.conv1)
    branch, second = convolved(between, temporal.norm2, lambda part: temporal.conv2(part, weight))
    sums = [
        (part + added).transpose([0, 2, 1, 3]).reshape([-1, channels, rows, width])
        for part, added in zip(bands(), branch, strict=True)
    ]
    return paddle.concat(sums, axis=2), paddle.concat([*first, *second], axis=1)
