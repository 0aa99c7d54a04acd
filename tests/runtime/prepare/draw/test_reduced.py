"""Small outputs, in which no limb vanishes."""

import numpy as np
import pytest
from prepare_data import person

from sa.runtime.prepare.draw.drawing import draw_pose
from sa.runtime.prepare.draw.reduced import draw_reduced
from sa.runtime.prepare.whole_body import Pose, to_pose

SHINS = ((9, 10), (12, 13))  # knees and ankles


def upright(x: float) -> Pose:
    """Somebody whose shins are upright, at a fraction of a pixel."""
    keypoints = person()[None]
    keypoints[0, :, 2] = 1
    for knee, ankle in ((13, 15), (14, 16)):
        keypoints[0, ankle, 0] = keypoints[0, knee, 0] = keypoints[0, knee, 0] + x
    return to_pose(keypoints, 512, 512)


def along_shins(picture: np.ndarray, pose: Pose) -> np.ndarray:
    """[2, 9] the brightest channel near nine places along each shin."""
    size = picture.shape[0]
    found = []
    for knee, ankle in SHINS:
        for share in np.linspace(0.1, 0.9, 9):
            x, y = ((1 - share) * pose.points[0, knee] + share * pose.points[0, ankle]) * size
            found.append(picture[int(y), max(int(x) - 1, 0) : int(x) + 2].max())
    return np.reshape(found, (2, 9))


@pytest.mark.parametrize("size", [128, 192])
def test_shins_are_there_wherever_they_fall(size):
    places = np.linspace(0, 8, 17)
    published = [along_shins(draw_pose(upright(x), size, size), upright(x)).min() for x in places]
    reduced = [along_shins(draw_reduced(upright(x), size, size), upright(x)).min() for x in places]
    assert min(published) == 0  # what it is to beat
    assert min(reduced) > 20


@pytest.mark.parametrize("size", [(512, 512), (576, 1024)])
def test_larger_outputs_are_drawn_as_published(size):
    np.testing.assert_array_equal(draw_reduced(upright(0), *size), draw_pose(upright(0), *size))


def test_other_shapes():
    assert draw_reduced(upright(0), 192, 320).shape == (320, 192, 3)
    assert not draw_reduced(upright(0).of([]), 64, 64).any()
