"""Schedules against the published ones, and Euler's step against its textbook form."""

import numpy as np
import pytest
from shared import GOLDEN

from sa.runtime.sampling.sampler import initial_latents, sample_euler, timestep
from sa.runtime.sampling.schedule import karras_sigmas


@pytest.fixture(scope="module")
def schedules():
    with np.load(GOLDEN / "units" / "schedules.npz") as archive:
        return dict(archive)


@pytest.mark.parametrize("steps", [1, 2, 4, 10, 20, 25, 30, 50])
def test_sigmas_and_timesteps_are_the_published_ones(schedules, steps):
    sigmas = karras_sigmas(steps, 0.002, 700.0)
    assert sigmas.dtype == np.float32
    np.testing.assert_allclose(sigmas, schedules[f"sigmas_{steps}"], rtol=2e-7)
    times = [timestep(sigma) for sigma in sigmas[:-1]]
    np.testing.assert_allclose(times, schedules[f"timesteps_{steps}"], rtol=1e-6, atol=1e-6)


def test_initial_latents_repeat_the_tile_and_are_scaled(schedules):
    draw = np.random.default_rng(0).standard_normal((1, 3, 4, 2, 2), np.float32)
    latents = initial_latents(draw, 7, 700.0)
    assert latents.shape == (1, 7, 4, 2, 2)
    scale = schedules["init_25"]
    for frame in range(7):
        np.testing.assert_allclose(latents[0, frame], draw[0, frame % 3] * scale, rtol=1e-6)


def test_euler_follows_its_textbook_form():
    def denoise(x, sigma):
        return np.tanh(x) * sigma / (sigma + 1)

    sigmas = karras_sigmas(9, 0.002, 700.0)
    x = np.random.default_rng(1).standard_normal((1, 2, 4, 3, 3)) * 700
    expected = x.copy()
    for sigma, following in zip(sigmas[:-1].astype(float), sigmas[1:].astype(float), strict=True):
        expected = expected + (expected - denoise(expected, sigma)) / sigma * (following - sigma)
    seen = []
    result = sample_euler(denoise, x.astype(np.float32), sigmas, lambda i, latents, denoised: seen.append(i))
    assert seen == list(range(9))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)


def test_one_large_step_keeps_its_digits():
    """700 -> 0.002 in one step: x + (x - x0) / 700 * (0.002 - 700) would lose five digits in float32."""
    x0, x = np.float32(0.3), np.float32(123.4)
    result = sample_euler(
        lambda latents, sigma: np.full_like(latents, x0), np.full((1,), x), np.array([700, 0.002], np.float32)
    )
    expected = 0.3 + (float(x) - 0.3) * float(np.float32(0.002)) / 700
    assert abs(float(result[0]) - expected) < 3e-8
