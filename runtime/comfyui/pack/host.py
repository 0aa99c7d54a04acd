"""ComfyUI as a node's host, and its tensors."""

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from comfy_api.v0_0_2 import ComfyAPI
from PIL import Image

UNITS = 1000  # of the progress bar


class ComfyUI:
    """Implements sa.runtime.comfyui.host.Host, for the node that is being executed."""

    def __init__(self) -> None:
        # The only name the pack takes from outside comfy_api, which tells of no interrupt.
        from comfy.model_management import throw_exception_if_processing_interrupted

        self._check = throw_exception_if_processing_interrupted
        # By its class: on ComfyUI 0.3.64, neither ComfyAPI() nor ComfyAPISync() has the attribute `execution`.
        self._execution = ComfyAPI.Execution()

    def check(self) -> None:
        self._check()

    def progress(self, share: float, picture: Image.Image | None = None) -> None:
        told = self._execution.set_progress(round(share * UNITS), UNITS, preview_image=picture)
        context = contextvars.copy_context()  # knows the node
        with ThreadPoolExecutor(1) as thread:  # in this one, ComfyUI's event loop is running
            thread.submit(context.run, asyncio.run, told).result()


def array(tensor: torch.Tensor) -> np.ndarray:
    """The same numbers, not copied unless they are on a GPU."""
    return tensor.cpu().numpy()


def tensor(array: np.ndarray) -> torch.Tensor:
    """The same numbers, not copied."""
    return torch.from_numpy(array)
