"""Pictures as tensors and back."""

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image

from sa.runtime.case.images import frames_to_bytes


def to_tensor(pictures: Iterable[Image.Image]) -> torch.Tensor:
    """RGB pictures of one size -> [n, 3, H, W] float32 in -1..1."""
    stacked = np.stack([np.asarray(picture) for picture in pictures])
    return bytes_to_tensor(stacked)


def bytes_to_tensor(pictures: np.ndarray | torch.Tensor) -> torch.Tensor:
    """[n, H, W, 3] uint8 -> [n, 3, H, W] float32 in -1..1, on the device it is on."""
    levels = torch.as_tensor(pictures)
    return levels.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def from_tensor(pictures: torch.Tensor) -> list[Image.Image]:
    return [Image.fromarray(levels) for levels in frames_to_bytes(pictures.detach().float().cpu().numpy())]
