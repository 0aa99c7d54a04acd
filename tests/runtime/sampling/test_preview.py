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


def test_colours_that_are_too_bright_or_too_dark_do_not_wrap():
    latents = np.random.default_rng(1).normal(0, 1, (1, 4, 4, 4)).astype(np.float32)
    colours = np.clip(128 + 30 * latents[0, 0], 0, 255).round().astype(np.uint8)
    reference = Image.fromarray(np.repeat(np.repeat(colours, 8, 0), 8, 1)).convert("RGB")
    extreme = np.zeros((1, 2, 4, 4, 4), np.float32)
    extreme[0, 0, 0], extreme[0, 1, 0] = 100, -100
    shown = LatentColours(reference, latents, SCALING)(extreme)
    assert (shown[0] == 255).all() and (shown[1] == 0).all()
