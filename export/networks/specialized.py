"""The layers that the specialized UNet has in place of attentions and projections (export/engines/specialize.py)."""

import math
from dataclasses import dataclass

import paddle
from paddle import nn
from paddle.nn import functional as F

from sa.export.networks.transformer import FACE_TOKENS


@dataclass(frozen=True)
class PackedSlice:
    """One layer's slice, along the last axis, of a tensor that holds the values of many layers."""

    start: int
    stop: int

    def of(self, packed: paddle.Tensor) -> paddle.Tensor:
        return packed[..., self.start : self.stop]

    def split(self, packed: paddle.Tensor, *shapes: tuple[int, ...]) -> list[paddle.Tensor]:
        """The slice of packed [B, all] as consecutive tensors [B, *shape]."""
        sizes = [math.prod(shape) for shape in shapes]
        return [
            part.reshape([-1, *shape])
            for part, shape in zip(paddle.split(self.of(packed), num_or_sections=sizes, axis=-1), shapes, strict=True)
        ]


@dataclass(frozen=True)
class CachedInputs:
    """The inputs that all blocks of the specialized UNet share, beside the features of B clips."""

    frames: int  # T, of each clip
    time: paddle.Tensor  # [1, R]: the time projections of all residual blocks
    constants: paddle.Tensor  # [B, K]: what the cross-attentions compute from the tokens of each branch
    positions: paddle.Tensor  # [T, P]: the position embeddings of all transformers


class CachedTimeProjection(nn.Layer):
    """Replaces a residual block's projection of the time embedding by its cached result, [1, C]."""

    def __init__(self, packed_slice: PackedSlice):
        super().__init__()
        self.packed_slice = packed_slice

    def forward(self, time_rows: paddle.Tensor) -> paddle.Tensor:
        return self.packed_slice.of(time_rows)


class CachedPositionEmbedding(nn.Layer):
    """Replaces a transformer's position embedding by its cached result, [T, C]."""

    def __init__(self, packed_slice: PackedSlice):
        super().__init__()
        self.packed_slice = packed_slice

    def forward(self, inputs: CachedInputs) -> paddle.Tensor:
        return self.packed_slice.of(inputs.positions)


class CachedImageAttention(nn.Layer):
    """Replaces attention to the image token by its cached result, the same vector for every feature: [B, 1, C]."""

    def __init__(self, packed_slice: PackedSlice):
        super().__init__()
        self.packed_slice = packed_slice

    def forward(self, x: paddle.Tensor, inputs: CachedInputs) -> paddle.Tensor:
        return self.packed_slice.of(inputs.constants).unsqueeze(1)


class FoldedIDAttention(nn.Layer):
    """ID attention computed from the attention probabilities of the four face tokens.

    `sa.export.engines.specialize.fold_id_attention` makes the folded tensors and derives the formula.
    """

    def __init__(self, dim: int, heads: int, packed_slice: PackedSlice):
        super().__init__()
        self.dim, self.heads = dim, heads
        self.packed_slice = packed_slice

    @staticmethod
    def shapes(dim: int, heads: int) -> tuple[tuple[int, ...], ...]:
        """The shapes of keys, values, moments, base, shift and gain, without the batch."""
        tokens = heads * FACE_TOKENS
        return (dim, tokens), (tokens, dim), (tokens, tokens + 1), (dim,), (dim,), (1,)

    def forward(self, x: paddle.Tensor, inputs: CachedInputs) -> paddle.Tensor:
        """x [B T, N, C], after its LayerNorm -> the same shape."""
        keys, values, moments, base, shift, gain = self.packed_slice.split(
            inputs.constants, *self.shapes(self.dim, self.heads)
        )
        pixels, tokens, frames = x.shape[1], values.shape[1], inputs.frames
        logits = paddle.matmul(x.reshape([-1, frames * pixels, self.dim]), keys)
        probabilities = F.softmax(logits.reshape([-1, frames * pixels, self.heads, FACE_TOKENS]), axis=-1)
        probabilities = probabilities.reshape([-1, frames * pixels, tokens])

        # Sums go over one axis at a time: float32 loses digits in a sum of many numbers.
        squares, sums = paddle.split(paddle.matmul(probabilities, moments), num_or_sections=[tokens, 1], axis=-1)
        sums = sums.reshape([-1, frames, pixels]).sum(axis=-1)
        squares = (probabilities * squares).sum(axis=-1).reshape([-1, frames, pixels]).sum(axis=-1)
        mean = sums / float(pixels * self.dim)
        variance = F.relu(squares - sums * mean) / float(pixels * self.dim - 1)
        image_std = gain * math.sqrt(pixels / (pixels * self.dim - 1))
        scale = (image_std / (paddle.sqrt(variance) + 1e-5)).unsqueeze(-1)  # [B, T, 1]
        offset = base.unsqueeze(1) - scale * mean.unsqueeze(-1) * shift.unsqueeze(1)  # [B, T, C]

        # The probabilities of a head sum to 1, so an offset added to the values of all its tokens reaches the result.
        values = scale.unsqueeze(-1) * values.unsqueeze(1) + (offset / float(self.heads)).unsqueeze(2)
        return paddle.matmul(probabilities.reshape([-1, pixels, tokens]), values.reshape([-1, tokens, self.dim]))
