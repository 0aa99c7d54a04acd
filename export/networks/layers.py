"""Layers that several networks share.

Parameters have the names of the checkpoint, and its shapes; Linear weights alone are transposed, [in, out].
"""

import math
from collections.abc import Callable

import paddle
from paddle import nn
from paddle.nn import functional as F


def attend(query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor, heads: int) -> paddle.Tensor:
    """softmax(q k^T / sqrt(d)) v per head; query [B, N, C], key and value [B or 1, M, C] -> [B, N, C]."""
    tokens, channels = query.shape[1], query.shape[2]
    dim = channels // heads
    q = query.reshape([-1, tokens, heads, dim]).transpose([0, 2, 1, 3])
    k = key.reshape([-1, key.shape[1], heads, dim]).transpose([0, 2, 1, 3])
    v = value.reshape([-1, value.shape[1], heads, dim]).transpose([0, 2, 1, 3])
    weights = F.softmax(paddle.matmul(q * dim**-0.5, k, transpose_y=True), axis=-1)
    return paddle.matmul(weights, v).transpose([0, 2, 1, 3]).reshape([-1, tokens, channels])


def attend_by_frame(query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor, heads: int) -> paddle.Tensor:
    """`attend`; in eager mode one frame at a time, as the scores of 16 frames at 512x512 would take 5 GB."""
    if not paddle.in_dynamic_mode():
        return attend(query, key, value, heads)
    frames = [attend(query[i : i + 1], key[i : i + 1], value[i : i + 1], heads) for i in range(query.shape[0])]
    return paddle.concat(frames)


def sinusoid(position: paddle.Tensor, dim: int) -> paddle.Tensor:
    """Sinusoidal embedding, cosines first, no frequency shift: position [n] float32 -> [n, dim]."""
    half = dim // 2
    frequencies = [math.exp(-math.log(10000.0) * i / half) for i in range(half)]
    angles = position.unsqueeze(-1) * paddle.to_tensor(frequencies, dtype=position.dtype)
    return paddle.concat([paddle.cos(angles), paddle.sin(angles)], axis=-1)


class GroupNorm(nn.Layer):
    """GroupNorm of 32 groups over [B, C, *, *]. In a trace, one of the last two sizes may be unknown.

    Paddle's kernel computes the variance as E[x^2] - E[x]^2, which loses three digits where the mean is much larger
    than the standard deviation. So each group's mean is subtracted first. The result is the same, at the same speed.
    The ONNX graph leaves the subtraction out (`remove_centring`): InstanceNormalization takes two passes by itself.
    """

    GROUPS = 32

    def __init__(self, channels: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = self.create_parameter([channels])
        self.bias = self.create_parameter([channels], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        groups = x.reshape([0, self.GROUPS, -1])
        centred = groups - groups.mean(axis=-1, keepdim=True)
        return F.group_norm(centred.reshape([0, *x.shape[1:]]), self.GROUPS, self.eps, self.weight, self.bias)

    def line(self, parts: list[paddle.Tensor]) -> tuple[paddle.Tensor, paddle.Tensor]:
        """What the norm does to the channels of x, scale and shift [B, C]: the result is x * scale + shift.

        parts: x [B, C, *, *], or parts of it along the last axis, all of one size.
        """
        groups = [part.reshape([0, self.GROUPS, -1]) for part in parts]
        mean = sum(part.mean(axis=-1, keepdim=True) for part in groups) / len(parts)
        squares = [(part - mean).square().mean(axis=-1, keepdim=True) for part in groups]
        variance = sum(squares) / len(parts)
        weight, bias = self.weight.reshape([1, self.GROUPS, -1]), self.bias.reshape([1, self.GROUPS, -1])
        scale = weight / paddle.sqrt(variance + self.eps)
        shift = bias - mean * scale
        return scale.flatten(1), shift.flatten(1)


Normalise = Callable[[GroupNorm, paddle.Tensor], paddle.Tensor]  # applies a norm to its input [B, C, *, *]


def live(norm: GroupNorm, x: paddle.Tensor) -> paddle.Tensor:
    """The norm as published: by the statistics of x itself."""
    return norm(x)


class Attention(nn.Layer):
    """Multi-head attention with projections q, k, v (no bias) and out (bias); `context_dim` is the context's width."""

    def __init__(self, dim: int, heads: int, context_dim: int | None = None):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias_attr=False)
        self.to_k = nn.Linear(context_dim or dim, dim, bias_attr=False)
        self.to_v = nn.Linear(context_dim or dim, dim, bias_attr=False)
        self.to_out = nn.LayerList([nn.Linear(dim, dim)])

    def forward(self, x: paddle.Tensor, context: paddle.Tensor | None = None) -> paddle.Tensor:
        """x [B, N, C]; context [1, M, context_dim], or None for self-attention."""
        query = self.to_q(x)
        if context is None:
            mixed = attend_by_frame(query, self.to_k(x), self.to_v(x), self.heads)
        else:
            mixed = attend(query, self.to_k(context), self.to_v(context), self.heads)
        return self.to_out[0](mixed)


class GEGLU(nn.Layer):
    """A Linear to twice the width, of which the second half, through the exact GELU, gates the first."""

    def __init__(self, dim: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        value, gate = paddle.split(self.proj(x), num_or_sections=2, axis=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Layer):
    """GEGLU to four times the width, then a Linear back. `net.1` is a dropout in the published model."""

    def __init__(self, dim: int):
        super().__init__()
        self.net = nn.LayerList([GEGLU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.net[2](self.net[0](x))


class TimestepEmbedding(nn.Layer):
    """Linear, SiLU, Linear."""

    def __init__(self, in_dim: int, inner: int, out_dim: int):
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, inner)
        self.linear_2 = nn.Linear(inner, out_dim)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class TimeMixer(nn.Layer):
    """a * spatial + (1 - a) * temporal with a = sigmoid(mix_factor); `switched` swaps the weights, as in the VAE."""

    def __init__(self, switched: bool = False):
        super().__init__()
        self.switched = switched
        self.mix_factor = self.create_parameter([1])

    def temporal_weight(self) -> paddle.Tensor:
        """The weight of the temporal result, [1]: 1 - a, or a if `switched`."""
        a = F.sigmoid(self.mix_factor)
        return a if self.switched else 1.0 - a

    def forward(self, spatial: paddle.Tensor, temporal: paddle.Tensor) -> paddle.Tensor:
        weight = self.temporal_weight()
        return (1.0 - weight) * spatial + weight * temporal


class TemporalConv(nn.Layer):
    """The checkpoint's (3, 1, 1) convolution over time, zero-padded, on [1, C, T, N] with N pixels.

    Computed as a (3, 1) convolution of T x N images: exact, and in half the time (docs/model.md, section 12).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = self.create_parameter([channels, channels, 3, 1, 1])
        self.bias = self.create_parameter([channels], is_bias=True)

    def forward(self, x: paddle.Tensor, scale: paddle.Tensor | None = None) -> paddle.Tensor:
        """The result times `scale` [1], if given. The weights are scaled instead of the result, which is cheaper."""
        weight, bias = self.weight.squeeze(-1), self.bias
        if scale is not None:
            weight, bias = weight * scale, bias * scale
        return F.conv2d(x, weight, bias, padding=(1, 0))


class Upsample(nn.Layer):
    """Nearest-neighbour x2, then a 3x3 convolution, in 4/9 of the arithmetic.

    Two of the three taps of an output row read the same input row: an even row 2i is w0 x[i-1] + (w1 + w2) x[i], an odd
    one is (w0 + w1) x[i] + w2 x[i+1]. Columns are alike. So each of the output's four phases is a 2x2 convolution of
    the input. Zero padding stays zero padding.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2D(channels, channels, 3, padding=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        channels, height, width = x.shape[1], x.shape[2], x.shape[3]
        phases = [
            # The 2x2 kernel reaches up (left) in the even phase, and down (right) in the odd one.
            F.conv2d(x, kernel, self.conv.bias, padding=[1 - row, row, 1 - column, column])
            for row, kernels in enumerate(_halves(self.conv.weight, axis=2))
            for column, kernel in enumerate(_halves(kernels, axis=3))
        ]
        stacked = paddle.stack(phases, axis=2).reshape([-1, 4 * channels, height, width])
        return F.pixel_shuffle(stacked, 2)


def _halves(weight: paddle.Tensor, axis: int) -> tuple[paddle.Tensor, paddle.Tensor]:
    """The kernel with two taps instead of three along `axis`: for the even outputs, and for the odd ones."""
    first, middle, last = paddle.split(weight, 3, axis=axis)
    return paddle.concat([first, middle + last], axis=axis), paddle.concat([first + middle, last], axis=axis)
