"""The two halves of diffusers' temporal VAE (docs/model.md, sections 2.3 and 3.5)."""

import torch
from diffusers import AutoencoderKLTemporalDecoder
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import nn


class VaeEncoder(nn.Module):
    def __init__(self, vae: AutoencoderKLTemporalDecoder):
        super().__init__()
        self.encoder = vae.encoder
        self.quant_conv = vae.quant_conv

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image [1, 3, H, W] in -1..1 -> the posterior's mode [1, 4, H/8, W/8], not scaled."""
        return DiagonalGaussianDistribution(self.quant_conv(self.encoder(image))).mode()


class VaeDecoder(nn.Module):
    def __init__(self, vae: AutoencoderKLTemporalDecoder):
        super().__init__()
        self.scaling_factor = vae.config.scaling_factor
        self.decoder = vae.decoder

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """latents [F, 4, h, w] as the sampler holds them -> frames [F, 3, 8h, 8w], nominally -1..1, not clamped."""
        frames = latents.shape[0]
        video = latents.new_zeros(1, frames)  # zeros: every frame belongs to a video, none is a single image
        return self.decoder(latents / self.scaling_factor, image_only_indicator=video, num_frames=frames)


def build(config: dict) -> AutoencoderKLTemporalDecoder:
    """The whole VAE of a config.json. Its parameters have the published file's names."""
    # The published config names its blocks; diffusers' default would be a single one, whatever the widths.
    blocks = ["DownEncoderBlock2D"] * len(config["block_out_channels"])
    return AutoencoderKLTemporalDecoder.from_config({"down_block_types": blocks, **config})
