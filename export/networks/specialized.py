"""What the specialized UNet has where the plain one has attentions and projections (export/engines/specialize.py)."""

import math
from dataclasses import dataclass

import paddle
from paddle import nn
from paddle.nn import functional as F

from sa.export.networks.transformer import FACE_TOKENS


@dataclass(frozen=True)
class Stretch:
    """Where one layer's values lie on the last axis of a tensor that holds many layers'."""

    start: int
    stop: int

    def of(self, packed: paddle.Tensor) -> paddle.Tensor:
        return packed[..., self.start : self.stop]

    def parts(self, packed: paddle.Tensor, *shapes: tuple[int, ...]) -> list[paddle.Tensor]:
        """The stretch of packed [B, all] as tensors [B, *shape] behind each other."""
        sizes = [math.prod(shape) for shape in shapes]
        return [
            part.reshape([-1, *shape])
            for part, shape in zip(paddle.split(self.of(packed), num_or_sections=sizes, axis=-1), shapes, strict=True)
        ]


@dataclass(frozen=True)
class Prepared:
    """What every block of the specialized UNet is given beside the features of B clips."""

    frames: int  # T, of each clip
    time: paddle.Tensor  # [1, R]: a row for each residual block
    constants: paddle.Tensor  # [B, K]: what each cross-attention makes of its branch's tokens
    positions: paddle.Tensor  # [T, P]: a transformer's position embedding beside the next one's


class Row(nn.Layer):
    """For a projection of the time embedding: its row, [1, C]."""

    def __init__(self, stretch: Stretch):
        super().__init__()
        self.stretch = stretch

    def forward(self, rows: paddle.Tensor) -> paddle.Tensor:
        return self.stretch.of(rows)


class Positions(nn.Layer):
    """For a position embedding: its part of all of them, [T, C]."""

    def __init__(self, stretch: Stretch):
        super().__init__()
        self.stretch = stretch

    def forward(self, given: Prepared) -> paddle.Tensor:
        return self.stretch.of(given.positions)


class ImageVector(nn.Layer):
    """For an attention to the image token: the vector it gives every feature, [B, 1, C]."""

    def __init__(self, stretch: Stretch):
        super().__init__()
        self.stretch = stretch

    def forward(self, x: paddle.Tensor, given: Prepared) -> paddle.Tensor:
        return self.stretch.of(given.constants).unsqueeze(1)


class FoldedIDAttention(nn.Layer):
    """For an ID attention: a feature's shares of the four face tokens, and what these are made into.

    The folded tensors and why this is the same: `sa.export.engines.specialize.fold_id_attention`.
    """

    def __init__(self, dim: int, heads: int, stretch: Stretch):
        super().__init__()
        self.dim, self.heads = dim, heads
        self.stretch = stretch

    @staticmethod
    def shapes(dim: int, heads: int) -> tuple[tuple[int, ...], ...]:
        """Of keys, values, moments, base, shift and gain."""
        tokens = heads * FACE_TOKENS
        return (dim, tokens), (tokens, dim), (tokens, tokens + 1), (dim,), (dim,), (1,)

    def forward(self, x: paddle.Tensor, given: Prepared) -> paddle.Tensor:
        """x [B T, N, C], normed -> the same shape."""
        keys, values, moments, base, shift, gain = self.stretch.parts(
            given.constants, *self.shapes(self.dim, self.heads)
        )
        pixels, tokens, frames = x.shape[1], values.shape[1], given.frames
        logits = paddle.matmul(x.reshape([-1, frames * pixels, self.dim]), keys)
        shares = F.softmax(logits.reshape([-1, frames * pixels, self.heads, FACE_TOKENS]), axis=-1)
        shares = shares.reshape([-1, frames * pixels, tokens])

        # Sums one axis at a time: float32 loses digits over many numbers in a row.
        squares, sums = paddle.split(paddle.matmul(shares, moments), num_or_sections=[tokens, 1], axis=-1)
        sums = sums.reshape([-1, frames, pixels]).sum(axis=-1)
        squares = (shares * squares).sum(axis=-1).reshape([-1, frames, pixels]).sum(axis=-1)
        mean = sums / float(pixels * self.dim)
        variance = F.relu(squares - sums * mean) / float(pixels * self.dim - 1)
        spread = gain * math.sqrt(pixels / (pixels * self.dim - 1))
        scale = (spread / (paddle.sqrt(variance) + 1e-5)).unsqueeze(-1)  # [B, T, 1]
        offset = base.unsqueeze(1) - scale * mean.unsqueeze(-1) * shift.unsqueeze(1)  # [B, T, C]

        # A head's shares sum to 1, so what is added to the values of all its tokens comes out whole.
        values = scale.unsqueeze(-1) * values.unsqueeze(1) + (offset / float(self.heads)).unsqueeze(2)
        return paddle.matmul(shares.reshape([-1, pixels, tokens]), values.reshape([-1, tokens, self.dim]))
