"""The temporal VAE (docs/model.md, sections 2.3 and 3.5)."""

import torch
from torch import nn
from torch.nn import functional as F

from sa.benchmarks.puppet.networks.layers import GROUPS, SpatialResBlock, SpatioTemporalResBlock, Upsample, attend

EPS, TEMPORAL_EPS = 1e-6, 1e-5


class MidAttention(nn.Module):
    """Attention of one head over the pixels of each frame, with its residual: x [n, C, H, W]."""

    def __init__(self, dim: int):
        super().__init__()
        self.group_norm = nn.GroupNorm(GROUPS, dim, EPS)
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)
        mixed = attend(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens), heads=1)
        return x + self.to_out[0](mixed).transpose(1, 2).unflatten(2, x.shape[2:])


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # right and bottom only


class EncoderLevel(nn.Module):
    def __init__(self, channels: int, width: int, layers: int, down: bool):
        super().__init__()
        self.resnets = nn.ModuleList(SpatialResBlock(channels if i == 0 else width, width, EPS) for i in range(layers))
        if down:
            self.downsamplers = nn.ModuleList([Downsample(width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        return self.downsamplers[0](x) if hasattr(self, "downsamplers") else x


class EncoderMiddle(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.attentions = nn.ModuleList([MidAttention(width)])
        self.resnets = nn.ModuleList(SpatialResBlock(width, width, EPS) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        widths, layers = config["block_out_channels"], config["layers_per_block"]
        self.conv_in = nn.Conv2d(config["in_channels"], widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            EncoderLevel(widths[max(i - 1, 0)], width, layers, i < len(widths) - 1) for i, width in enumerate(widths)
        )
        self.mid_block = EncoderMiddle(widths[-1])
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config["latent_channels"], 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


def _block(channels: int, width: int) -> SpatioTemporalResBlock:
    return SpatioTemporalResBlock(channels, width, EPS, TEMPORAL_EPS, switched=True)


class DecoderMiddle(nn.Module):
    """The attention belongs to the second block; a single one runs without it, and a third never runs."""

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.resnets = nn.ModuleList(_block(width, width) for _ in range(layers))
        self.attentions = nn.ModuleList([MidAttention(width)])

    def forward(self, x: torch.Tensor, frames: int | None) -> torch.Tensor:
        x = self.resnets[0](x, frames)
        return self.resnets[1](self.attentions[0](x), frames) if len(self.resnets) > 1 else x


class DecoderLevel(nn.Module):
    def __init__(self, channels: int, width: int, layers: int, up: bool):
        super().__init__()
        self.resnets = nn.ModuleList(_block(channels if i == 0 else width, width) for i in range(layers))
        if up:
            self.upsamplers = nn.ModuleList([Upsample(width)])

    def forward(self, x: torch.Tensor, frames: int | None) -> torch.Tensor:
        for resnet in self.resnets:
            x = resnet(x, frames)
        return self.upsamplers[0](x) if hasattr(self, "upsamplers") else x


class Decoder(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        widths, layers = config["block_out_channels"][::-1], config["layers_per_block"]
        self.conv_in = nn.Conv2d(config["latent_channels"], widths[0], 3, padding=1)
        self.mid_block = DecoderMiddle(widths[0], layers)
        self.up_blocks = nn.ModuleList(
            DecoderLevel(widths[max(i - 1, 0)], width, layers + 1, i < len(widths) - 1)
            for i, width in enumerate(widths)
        )
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], config["out_channels"], 3, padding=1)
        self.time_conv_out = nn.Conv3d(config["out_channels"], config["out_channels"], (3, 1, 1), padding=(1, 0, 0))

    def forward(self, latents: torch.Tensor, frames: int | None) -> torch.Tensor:
        """Unscaled latents [n, 4, h, w], `frames` of a video after each other -> [n, 3, 8h, 8w].

        Without `frames` the temporal blocks are left out, and each picture is a video of one frame.
        """
        x = self.mid_block(self.conv_in(latents), frames)
        for level in self.up_blocks:
            x = level(x, frames)
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        clips = x.unflatten(0, (-1, frames or 1)).transpose(1, 2)
        return self.time_conv_out(clips).transpose(1, 2).flatten(0, 1)


class Vae(nn.Module):
    """The whole VAE of a config.json."""

    def __init__(self, config: dict):
        super().__init__()
        self.scaling_factor = config["scaling_factor"]
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * config["latent_channels"], 2 * config["latent_channels"], 1)

    def encode(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures [n, 3, H, W] in -1..1 -> mean and log-variance of the latents, [n, 4, H/8, W/8] each, not scaled."""
        mean, log_variance = self.quant_conv(self.encoder(pictures)).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def forward(self, pictures: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pictures and the latents' noise -> decoded pictures, mean and log-variance of the latents."""
        mean, log_variance = self.encode(pictures)
        return self.decoder(mean + (log_variance / 2).exp() * noise, None), mean, log_variance
