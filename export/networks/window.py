"""The decoder on a window of the frame, whose GroupNorms take the whole frame's statistics (docs/refinement.md).

The first segments, up to the one attention, run on the whole frame: they work on latents, where a frame is small. What
they give is cut to the window, and the other segments run on that. A norm's statistics are those of the whole frame,
so inside the borders every activation is the whole decoder's.
"""

from collections.abc import Callable

import paddle
from paddle import nn

from sa.export.networks.layers import GroupNorm
from sa.export.networks.vae import DecoderSegment, VaeDecoder

Lines = list[paddle.Tensor]  # what norms do to channels: the scale and the shift of each in turn, each [B, C]


class DecoderNorms(nn.Layer):
    """What each norm of the decoder's segments from `first` on does to its channels."""

    def __init__(self, decoder: VaeDecoder, first: int):
        super().__init__()
        self.decoder = decoder
        self.first = first

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """x [F, C, h, w], what segment `first` takes -> by_frame [F, n], over_time [1, m].

        Norms that look at frames alone are in the first, norms over time in the second, in the order of the segments.
        """
        lines: dict[bool, Lines] = {True: [], False: []}

        def recording(kept: Lines) -> Callable[[GroupNorm, paddle.Tensor], paddle.Tensor]:
            def normalise(norm: GroupNorm, x: paddle.Tensor) -> paddle.Tensor:
                scale, shift = norm.line(x)
                kept.extend((scale, shift))
                return along(x, scale, shift)

            return normalise

        for segment in with_norms(self.decoder, self.first):
            x = segment.run(x, recording(lines[segment.by_frame]))
        return paddle.concat(lines[True], axis=1), paddle.concat(lines[False], axis=1)


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


def with_norms(decoder: VaeDecoder, first: int) -> list[DecoderSegment]:
    """The segments from `first` to the last that has a norm."""
    segments = decoder.segments()
    last = max(i for i, segment in enumerate(segments) if segment.norms)
    return segments[first : last + 1]
