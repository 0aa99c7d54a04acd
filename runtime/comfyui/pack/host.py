"""ComfyUI as a node's host, and its tensors."""

import numpy as np
import torch
from comfy_api.v0_0_2 import ComfyAPISync
from PIL import Image

UNITS = 1000  # of the progress bar


class ComfyUI:
    """Implements sa.runtime.comfyui.host.Host, for the node that is being executed."""

    def __init__(self) -> None:
        # The only name the pack takes from outside comfy_api, which tells of no interrupt.
        from comfy.model_management import throw_exception_if_processing_interrupted

        self._check = throw_exception_if_processing_interrupted
        self._api = ComfyAPISync()

    def check(self) -> None:
        self._check()

    def progress(self, share: float, picture: Image.Image | None = None) -> None:
        self._api.execution.set_progress(round(share * UNITS), UNITS, preview_image=picture)


def array(tensor: torch.Tensor) -> np.ndarray:
    """The same numbers, not copied unless they are on a GPU."""
    return tensor.cpu().numpy()


def tensor(array: np.ndarray) -> torch.Tensor:
    """The same numbers, not copied."""
    return torch.from_numpy(array)
