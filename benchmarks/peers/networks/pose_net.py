"""PoseNet (docs/model.md, section 3.1)."""

import torch
from torch import nn

# Output channels of the eight convolutions; those that halve the size have kernels of 4, the others of 3.
CHANNELS = (3, 16, 16, 32, 32, 64, 64, 128)
HALVING = (1, 3, 5)


class PoseNet(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for i, channels in enumerate(CHANNELS):
            kernel, stride = (4, 2) if i in HALVING else (3, 1)
            layers += [nn.Conv2d(before, channels, kernel, stride, padding=1), nn.SiLU()]
            before = channels
        self.conv_layers = nn.Sequential(*layers)
        self.final_proj = nn.Conv2d(before, width, 1)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, pose: torch.Tensor) -> torch.Tensor:
        """pose [n, 3, H, W], RGB in -1..1 -> pose_latents [n, C0, H/8, W/8]."""
        return self.final_proj(self.conv_layers(pose)) * self.scale
