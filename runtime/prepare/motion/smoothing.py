"""The One Euro filter (Casiez, Roussel and Vogel, CHI 2012): calm where a point rests, quick where it moves.

A low-pass filter whose cutoff grows with speed. It lags behind, so it runs forwards and backwards in time, and the mean
of both is taken.
"""

from collections.abc import Sequence

import numpy as np

from sa.runtime.prepare.whole_body import COCO_BODY, VISIBLE

# Chosen on people who sway at several speeds (tests/runtime/prepare/motion/test_smoothing.py). Speeds are in diagonals
# of the person's box a second.
MINIMUM_CUTOFF = 1.0  # Hz, of a point at rest
SLOPE = 6.0  # Hz for each unit of speed
SPEED_CUTOFF = 3.0  # Hz, of the filter of the speed itself


def smooth(keypoints: np.ndarray, fps: float, breaks: Sequence[int]) -> np.ndarray:
    """keypoints [frames, 133, 3] of one person in pixels -> the same with calmer points; scores stay.

    breaks: frames at which the filter begins anew, as another scene or another person may begin there.
    """
    size = _size(keypoints)
    if not size:
        return keypoints
    seen = keypoints[..., 2] > VISIBLE
    forwards = _filtered(keypoints[..., :2] / size, seen, fps, set(breaks))
    last = len(keypoints)
    backwards = _filtered(keypoints[::-1, :, :2] / size, seen[::-1], fps, {last - at for at in breaks})[::-1]
    calm = keypoints.copy()
    calm[..., :2] = np.where(seen[..., None], (forwards + backwards) / 2 * size, keypoints[..., :2])
    return calm


def _filtered(points: np.ndarray, seen: np.ndarray, fps: float, breaks: set[int]) -> np.ndarray:
    """[frames, n, 2] -> the same. Each point begins anew when it reappears."""
    result = points.copy()
    speed = np.zeros(points.shape[1:])
    for frame in range(1, len(points)):
        going_on = (seen[frame] & seen[frame - 1])[:, None] & (frame not in breaks)
        step = (points[frame] - result[frame - 1]) * fps
        speed = np.where(going_on, speed + _alpha(SPEED_CUTOFF, fps) * (step - speed), 0)
        cutoff = MINIMUM_CUTOFF + SLOPE * np.linalg.norm(speed, axis=-1, keepdims=True)
        calm = result[frame - 1] + _alpha(cutoff, fps) * (points[frame] - result[frame - 1])
        result[frame] = np.where(going_on, calm, points[frame])
    return result


def _alpha(cutoff: np.ndarray | float, fps: float) -> np.ndarray:
    """The weight of a new value in a low-pass filter of this cutoff in Hz."""
    return 1 / (1 + fps / (2 * np.pi * np.asarray(cutoff)))


def _size(keypoints: np.ndarray) -> float:
    """The median diagonal of the person's box in pixels; 0 if it is never seen."""
    body = keypoints[:, COCO_BODY]
    points = np.where(body[..., 2:] > VISIBLE, body[..., :2], np.nan)
    some = points[~np.isnan(points[..., 0]).all(axis=1)]
    if not len(some):
        return 0.0
    return float(np.median(np.linalg.norm(np.nanmax(some, axis=1) - np.nanmin(some, axis=1), axis=1)))
