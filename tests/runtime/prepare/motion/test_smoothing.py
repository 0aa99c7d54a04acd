"""The One Euro filter calms what rests and follows what moves."""

import numpy as np
import pytest
from prepare_data import person

from sa.runtime.prepare.motion.smoothing import smooth

FPS, NOISE = 25.0, 1.5  # pixels


def swinging(frames: int, pixels: float) -> np.ndarray:
    """[frames, 133, 3] someone who sways once a second."""
    return np.stack([person(0.5, pixels * np.sin(2 * np.pi * i / FPS)) for i in range(frames)])


def noisy(truth: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, NOISE, truth.shape)
    noise[..., 2] = 0
    return truth + noise


def error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - truth)[..., :2] ** 2)))


@pytest.mark.parametrize(("sway", "better"), [(0, 0.5), (20, 0.8), (80, 0.97)])
def test_it_is_nearer_to_the_truth(sway, better):
    truth = swinging(75, sway)
    calm = smooth(noisy(truth), FPS, [])
    assert error(calm, truth) < better * error(noisy(truth), truth)
    np.testing.assert_array_equal(calm[..., 2], truth[..., 2])


def test_it_does_not_lag_behind():
    """Forwards and backwards in time the filter does the same."""
    points = noisy(swinging(40, 60))
    np.testing.assert_allclose(smooth(points[::-1], FPS, [])[::-1], smooth(points, FPS, []))


def test_it_begins_anew_after_a_gap_and_at_a_cut():
    points = np.concatenate([swinging(10, 0), swinging(10, 0) + np.array([300, 0, 0])])
    np.testing.assert_allclose(smooth(points, FPS, [10]), points)
    assert np.abs(smooth(points, FPS, []) - points).max() > 1
    points[9] = 0
    np.testing.assert_allclose(smooth(points, FPS, []), points)
