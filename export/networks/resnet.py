"""Residual blocks: per frame, over time, and the two mixed (docs/model.md, section 3.4)."""

import paddle
from paddle import nn
from paddle.nn import functional as F

from sa.export.networks.layers import GroupNorm, Normalise, TemporalConv, TimeMixer, live


class SpatialResBlock(nn.Layer):
    """Two 3x3 convolutions per frame. x [B T, C, H, W]; time [1, E] or None (VAE) -> [B T, C_out, H, W]."""

    def __init__(self, channels: int, out_channels: int, eps: float, time_dim: int | None = None):
        super().__init__()
        self.norm1 = GroupNorm(channels, eps)
        self.conv1 = nn.Conv2D(channels, out_channels, 3, padding=1)
        if time_dim is not None:
            self.time_emb_proj = nn.Linear(time_dim, out_channels)
        self.norm2 = GroupNorm(out_channels, eps)
        self.conv2 = nn.Conv2D(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2D(channels, out_channels, 1) if channels != out_channels else None

    def forward(
        self, x: paddle.Tensor, time: paddle.Tensor | None = None, normalise: Normalise = live
    ) -> paddle.Tensor:
        y = self.conv1(F.silu(normalise(self.norm1, x)))
        if time is not None:
            y = y + self.time_emb_proj(time).unsqueeze(-1).unsqueeze(-1)
        y = self.conv2(F.silu(normalise(self.norm2, y)))
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class TemporalResBlock(nn.Layer):
    """Two convolutions over time, without the residual; GroupNorm spans (T, H, W). x [B, C, T, N] -> the same shape."""

    def __init__(self, channels: int, eps: float, time_dim: int | None = None):
        super().__init__()
        self.norm1 = GroupNorm(channels, eps)
        self.conv1 = TemporalConv(channels)
        if time_dim is not None:
            self.time_emb_proj = nn.Linear(time_dim, channels)
        self.norm2 = GroupNorm(channels, eps)
        self.conv2 = TemporalConv(channels)

    def forward(
        self,
        x: paddle.Tensor,
        scale: paddle.Tensor,
        time: paddle.Tensor | None = None,
        normalise: Normalise = live,
    ) -> paddle.Tensor:
        """The residual branch of x, times `scale` [1]."""
        y = self.conv1(F.silu(normalise(self.norm1, x)))
        if time is not None:
            y = y + self.time_emb_proj(time).unsqueeze(-1).unsqueeze(-1)
        return self.conv2(F.silu(normalise(self.norm2, y)), scale)


class SpatioTemporalResBlock(nn.Layer):
    """A spatial block, a temporal block on its result, and their learned mix. x [B T, C, H, W] -> [B T, C_out, H, W].

    The temporal block has a residual, t = s + branch(s), so the mix a s + (1 - a) t is s + (1 - a) branch(s).
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

    def forward(self, x: paddle.Tensor, time: paddle.Tensor | None = None, frames: int | None = None) -> paddle.Tensor:
        """time [1, E]: SiLU of the time embedding; frames: per clip, or None if all frames are one clip."""
        return self.over_time(self.spatial_res_block(x, time), time, frames)

    def over_time(
        self,
        spatial: paddle.Tensor,
        time: paddle.Tensor | None = None,
        frames: int | None = None,
        normalise: Normalise = live,
    ) -> paddle.Tensor:
        """The temporal half: the result of the spatial half, [B T, C, H, W] -> the block's result, the same shape."""
        channels, height, width = spatial.shape[1], spatial.shape[2], spatial.shape[3]
        clips = [1, -1] if frames is None else [-1, frames]
        flat = spatial.reshape([*clips, channels, height * width]).transpose([0, 2, 1, 3])
        branch = self.temporal_res_block(flat, self.time_mixer.temporal_weight(), time, normalise)
        return spatial + branch.transpose([0, 2, 1, 3]).reshape([-1, channels, height, width])
