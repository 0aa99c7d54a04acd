"""Boxes of the generated faces."""

import numpy as np
import pytest
from prepare_data import person

from sa.runtime.prepare.draw.face_boxes import draw_mask, face_box
from sa.runtime.prepare.whole_body import FACE, to_pose
from sa.runtime.refinement.crops import Box

W, H = 576, 1024


def box_of(keypoints: np.ndarray, width: int = W, height: int = H) -> Box | None:
    pose = to_pose(keypoints[None], width, height)
    return face_box(pose.points[0], pose.scores[0], width, height)


def test_the_box_holds_all_points_with_a_margin():
    someone = person()
    points = someone[23:91, :2]
    box = box_of(someone)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    assert box.left < left and box.right > right and box.bottom > bottom
    assert 0.25 < (top - box.top) / (bottom - top) < 0.35  # the forehead
    assert (box.right - box.left) / (right - left) < 1.3


def test_points_that_are_not_seen_do_not_count():
    someone = person()
    expected = box_of(someone)
    someone[23, :2], someone[23, 2] = (0, 0), 0.2  # the jaw's first point, which is not the outermost
    found = box_of(someone)
    assert abs(found.left - expected.left) < 15 and abs(found.top - expected.top) < 15


def test_no_face_is_no_box():
    someone = person()
    someone[23:91, 2] = 0.3
    assert box_of(someone) is None
    someone[23:39, 2] = 0.9  # 16 of 68
    assert box_of(someone) is None


@pytest.mark.parametrize(("x", "y"), [(-1000, 0), (1000, 0), (0, -600), (0, 2000)])
def test_a_face_outside_the_picture_is_no_box(x, y):
    assert box_of(person(1, x, y)) is None


def test_a_face_at_the_border_is_cut():
    someone = person()
    middle = someone[23:91, 0].mean()
    box = box_of(person(1, -middle))
    assert box.left == 0 and box.right > 8


def test_never_the_whole_picture():
    someone = person(20)
    centre = someone[23:91, :2].mean(axis=0)
    assert box_of(person(20, *(np.array([64, 64]) - centre)), 128, 128) is None
    someone = person(2)
    low, high = someone[23:91, :2].min(axis=0), someone[23:91, :2].max(axis=0)
    side = int((high - low).max()) + 4  # the points fit, the margin does not
    box = box_of(person(2, *(2 - low)), side, side)
    assert box is not None and not draw_mask([box], side, side).all()


def test_masks_are_white_in_the_boxes_ends_included():
    mask = draw_mask([Box(1, 2, 3, 5), Box(0, 0, 0, 0)], 7, 4)
    assert mask.shape == (4, 7) and mask.dtype == np.uint8
    expected = np.zeros((4, 7))
    expected[1:3, 3:6] = expected[0, 0] = 255
    np.testing.assert_array_equal(mask, expected)
    assert not draw_mask([], 7, 4).any()
    assert FACE.stop - FACE.start == 68
