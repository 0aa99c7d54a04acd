"""The Euler loop (docs/model.md, section 5). A denoiser is any function of x and sigma."""

import itertools
from collections.abc import Callable

import numpy as np

Denoiser = Callable[[np.ndarray, float], np.ndarray]  # x [1, T, 4, h, w], sigma -> denoised, same shape


def timestep(sigma: float) -> np.float32:
    """The UNet's continuous timestep, 0.25 ln sigma."""
    return np.float32(0.25 * np.log(np.float64(sigma)))


def initial_latents(draw: np.ndarray, frames: int, sigma_max: float) -> np.ndarray:
    """The drawn tile [1, tile, 4, h, w], scaled to sigma_max and repeated over all frames -> [1, T, 4, h, w].

    Frames k and k + tile start from the same noise, as in the published code (docs/model.md, section 4).
    """
    scale = np.float32(np.sqrt(np.float64(sigma_max) ** 2 + 1.0))
    repeats = frames // draw.shape[1] + 1
    return np.tile(draw * scale, (1, repeats, 1, 1, 1))[:, :frames]


def sample_euler(
    denoise: Denoiser,
    x: np.ndarray,
    sigmas: np.ndarray,
    on_step: Callable[[int, np.ndarray, np.ndarray], None] | None = None,
    start: int = 0,
) -> np.ndarray:
    """Euler's method from sigmas[0] to 0 (Karras et al. 2022, algorithm 1 without churn); float32 throughout.

    A step is written as denoised + (x - denoised) * sigma_next / sigma. It has the same value as the usual form, which
    loses five digits to cancellation when steps are large. `on_step(i, x, denoised)` is called after each
    step.
    `start`: the first step to take, for x that was kept after the steps before it.
    """
    for i, (sigma, sigma_next) in itertools.islice(enumerate(itertools.pairwise(sigmas)), start, None):
        denoised = denoise(x, float(sigma))
        x = denoised + (x - denoised) * np.float32(sigma_next / sigma)
        if on_step is not None:
            on_step(i, x, denoised)
    return x
