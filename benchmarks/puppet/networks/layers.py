"""Layers of several networks. Parameters have the names and shapes of StableAnimator's files (docs/model.md)."""

import math

import torch
from torch import nn
from torch.nn import functional as F

GROUPS = 32  # of every GroupNorm


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of `heads` heads: query [n, N, C], key and value [n, M, C] -> [n, N, C]."""
    split = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


def sinusoid(position: torch.Tensor, dim: int) -> torch.Tensor:
    """Sinusoidal embedding, cosines first: position [n] float32 -> [n, dim]."""
    half = dim // 2
    rates = torch.exp(torch.arange(half, device=position.device) * (-math.log(10000.0) / half))
    angles = position[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimestepEmbedding(nn.Module):
    """Linear, SiLU, Linear."""

    def __init__(self, in_dim: int, inner: int, out_dim: int):
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, inner)
        self.linear_2 = nn.Linear(inner, out_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class Attention(nn.Module):
    """Attention of x [n, N, C] to a context [n, M, X], or to x itself."""

    def __init__(self, dim: int, heads: int, context_dim: int | None = None):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        seen = x if context is None else context
        return self.to_out[0](attend(self.to_q(x), self.to_k(seen), self.to_v(seen), self.heads))


class GatedLinear(nn.Module):
    """A Linear to twice the width, of which the second half, through the exact GELU, gates the first."""

    def __init__(self, dim: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """To four times the width and back. `net.1` is a dropout in the published model."""

    def __init__(self, dim: int):
        super().__init__()
        self.net = nn.ModuleList([GatedLinear(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net[2](self.net[0](x))


class TimeMixer(nn.Module):
    """How much of a temporal layer's result is taken; `switched` as in the VAE."""

    def __init__(self, switched: bool = False):
        super().__init__()
        self.switched = switched
        self.mix_factor = nn.Parameter(torch.full((1,), 0.0 if switched else 0.5))

    def temporal_weight(self) -> torch.Tensor:
        """[1]: one minus the sigmoid of the factor, or the sigmoid if `switched`."""
        return torch.sigmoid(self.mix_factor if self.switched else -self.mix_factor)


class Upsample(nn.Module):
    """Nearest-neighbour x2, then a 3x3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class SpatialResBlock(nn.Module):
    """Two 3x3 convolutions per frame: x [n, C, H, W], time [n, E] or None -> [n, C', H, W].

    An `idle` block leaves them out, which is exact while the second one's weights are zero.
    """

    idle = False

    def __init__(self, channels: int, out_channels: int, eps: float, time_dim: int | None = None):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels, eps)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        if time_dim is not None:
            self.time_emb_proj = nn.Linear(time_dim, out_channels)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else None

    def forward(self, x: torch.Tensor, time: torch.Tensor | None = None) -> torch.Tensor:
        past = x if self.conv_shortcut is None else self.conv_shortcut(x)
        if self.idle:
            return past
        y = self.conv1(F.silu(self.norm1(x)))
        if time is not None:
            y = y + self.time_emb_proj(time)[:, :, None, None]
        return past + self.conv2(F.silu(self.norm2(y)))


class TemporalResBlock(nn.Module):
    """Two convolutions over time, without the residual: x [B, C, T, H, W], time [B, E] or None -> the same shape."""

    def __init__(self, channels: int, eps: float, time_dim: int | None = None):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels, eps)
        self.conv1 = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
        if time_dim is not None:
            self.time_emb_proj = nn.Linear(time_dim, channels)
        self.norm2 = nn.GroupNorm(GROUPS, channels, eps)
        self.conv2 = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: torch.Tensor, time: torch.Tensor | None = None) -> torch.Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        if time is not None:
            y = y + self.time_emb_proj(time)[:, :, None, None, None]
        return self.conv2(F.silu(self.norm2(y)))


class SpatioTemporalResBlock(nn.Module):
    """A spatial block, and what a temporal block adds to it: x [B T, C, H, W] -> [B T, C', H, W].

    Time [B, E]. Without `frames` the temporal block is left out, which is what a silent one (temporal.py) does.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        eps: float,
        temporal_eps: float | None = None,
        time_dim: int | None = None,
        switched: bool = False,
    ):
        super().__init__()
        self.spatial_res_block = SpatialResBlock(channels, out_channels, eps, time_dim)
        self.temporal_res_block = TemporalResBlock(out_channels, temporal_eps or eps, time_dim)
        self.time_mixer = TimeMixer(switched)

    def forward(self, x: torch.Tensor, frames: int | None, time: torch.Tensor | None = None) -> torch.Tensor:
        each = time if time is None else time.repeat_interleave(len(x) // len(time), 0)
        x = self.spatial_res_block(x, each)
        if frames is None:
            return x
        clips = x.unflatten(0, (-1, frames)).transpose(1, 2)
        added = self.temporal_res_block(clips, time) * self.time_mixer.temporal_weight()
        return x + added.transpose(1, 2).flatten(0, 1)
