"""What latents show, without the decoder: colours at an eighth of the size, by a linear fit."""

import numpy as np
from PIL import Image


class LatentColours:
    """Turns latents into colours. Approximate: each latent becomes one colour, and none sees its neighbours.

    The fit is made on the reference: the colours of its 8x8 pixels by least squares from its own latents. So it suits
    the weights and the picture, whatever they are.
    """

    def __init__(self, reference: Image.Image, image_latents: np.ndarray, scaling_factor: float):
        """image_latents: [1, 4, h, w], the reference's, not scaled."""
        height, width = image_latents.shape[2:]
        colours = np.asarray(reference.resize((width, height), Image.Resampling.BOX), np.float32).reshape(-1, 3)
        rows = image_latents[0].reshape(4, -1).T * np.float32(scaling_factor)
        self._matrix, *_ = np.linalg.lstsq(_with_ones(rows), colours, rcond=None)  # [4 + 1, 3]

    def __call__(self, latents: np.ndarray) -> np.ndarray:
        """latents [1, T, 4, h, w], scaled -> [T, h, w, 3] uint8 RGB."""
        rows = np.moveaxis(latents[0], 1, -1)
        return np.clip(np.rint(_with_ones(rows) @ self._matrix), 0, 255).astype(np.uint8)


def _with_ones(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.ones_like(rows[..., :1])], axis=-1)
