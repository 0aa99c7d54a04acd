"""The preview of latents: colours by a linear fit on the reference."""

import numpy as np
from PIL import Image

from sa.runtime.sampling.preview import LatentColours

SCALING = 0.2


def test_colours_that_are_linear_in_latents_come_back():
    """With another order of channels, an offset, and a picture that was never seen."""
    generator = np.random.default_rng(0)
    matrix, offset = generator.normal(0, 30, (3, 4)), np.array([120.0, 130, 90])
    # Latents whose colours are whole numbers from 0 to 255.
    colours = generator.integers(0, 256, (2, 6, 5, 3)).astype(np.float64)
    free = generator.normal(0, 1, (2, 6, 5, 4))
    exact = np.linalg.lstsq(matrix, (colours - offset).reshape(-1, 3).T, rcond=None)[0].T.reshape(2, 6, 5, 4)
    null = np.linalg.svd(matrix)[2][3]
    latents = np.moveaxis(exact + (free @ null)[..., None] * null, -1, 1).astype(np.float32)  # [2, 4, h, w], unscaled
    reference = Image.fromarray(np.repeat(np.repeat(colours[0].astype(np.uint8), 8, 0), 8, 1))
    shown = LatentColours(reference, latents[:1], SCALING)(latents[None, 1:] * np.float32(SCALING))
    assert shown.dtype == np.uint8 and shown.shape == (1, 6, 5, 3)
    np.testing.assert_array_equal(shown[0], colours[1])


def test_colours_stay_in_range():
    latents = np.random.default_rng(1).normal(0, 1, (1, 4, 4, 4)).astype(np.float32)
    reference = Image.fromarray(np.random.default_rng(2).integers(0, 256, (32, 32, 3), np.uint8))
    shown = LatentColours(reference, latents, SCALING)(100 * latents[None])
    assert {shown.min(), shown.max()} <= set(range(256)) and shown.std() > 50
