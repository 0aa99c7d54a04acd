"""Where another scene begins."""

import numpy as np
import pytest

from sa.runtime.prepare.motion.scenes import GLANCE, find_cuts, glance


def scenery(seed: int, left: int = 0) -> np.ndarray:
    """[180, 320, 3] a picture of coarse noise, seen from `left` on."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 60, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((20, 20, 1), np.uint8))[:, left : left + 320]


def cuts(pictures: list[np.ndarray]) -> list[int]:
    return find_cuts([glance(picture) for picture in pictures])


def test_a_glance_is_a_small_picture():
    assert glance(scenery(0)).shape == (GLANCE[1], GLANCE[0], 3)


def test_another_scene_is_found():
    assert cuts([scenery(0, 2 * i) for i in range(8)] + [scenery(1, 2 * i) for i in range(9)]) == [8]
    assert cuts([scenery(i // 6) for i in range(18)]) == [6, 12]


@pytest.mark.parametrize("speed", [0, 5, 40])
def test_a_camera_that_moves_makes_no_cut(speed):
    assert cuts([scenery(0, speed * i) for i in range(20)]) == []


def test_a_flash_makes_no_cut():
    pictures = [scenery(0, i) for i in range(20)]
    pictures[9] = np.full_like(pictures[9], 255)
    assert cuts(pictures) == []


def test_frames_that_all_differ_are_no_cuts():
    """Such as few frames a second of a fast dance."""
    assert cuts([scenery(i) for i in range(10)]) == []


def test_two_frames_say_nothing():
    assert cuts([scenery(0), scenery(1)]) == cuts([scenery(0)]) == []
