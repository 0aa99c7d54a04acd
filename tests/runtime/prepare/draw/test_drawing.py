"""Skeleton pictures, to the pixel as the published code draws them."""

import cv2
import numpy as np
import pytest
from prepare_data import DRAWN, golden_file, golden_picture, recorded_keypoints, recorded_pose

from sa.runtime.prepare.draw.drawing import draw_canvas, draw_pose
from sa.runtime.prepare.whole_body import Pose, to_pose

CASES = (
    *("p1_full_512", "p2_full_576x1024", "p3_lowconf_512"),
    *("p4_outofframe_576x1024", "p5_two_persons_512", "p6_odd_535x713"),
)


@pytest.mark.parametrize("case", CASES)
def test_a_pose_is_drawn_as_published(case):
    keypoints, (width, height) = recorded_keypoints(case)
    drawn = draw_pose(to_pose(keypoints, width, height), width, height)
    expected = golden_picture(case)
    assert drawn.shape == expected.shape and drawn.dtype == np.uint8
    assert np.count_nonzero(drawn != expected) == 0, f"OpenCV {cv2.__version__}"


def test_the_canvas_is_drawn_as_published():
    keypoints, size = recorded_keypoints("p1_full_512")
    pose = to_pose(keypoints, *size)
    np.testing.assert_array_equal(draw_canvas(pose, *size), golden_picture("p1_canvas_full"))
    pose.points[:, 18:] = -1  # hands and faces lie outside
    np.testing.assert_array_equal(draw_canvas(pose, *size), golden_picture("p1_canvas_body"))


def test_nobody_is_black():
    nobody = Pose(np.zeros((0, 134, 2)), np.zeros((0, 134)))
    assert draw_pose(nobody, 576, 1024).shape == (1024, 576, 3)
    assert not draw_pose(nobody, 64, 64).any()


def test_a_canvas_of_2160_is_not_scaled():
    assert draw_canvas(Pose(np.zeros((0, 134, 2)), np.zeros((0, 134))), 2160, 3000).shape == (3000, 2160, 3)


@pytest.mark.parametrize("case", CASES)
def test_keypoints_become_the_published_pose(case):
    keypoints, size = recorded_keypoints(case)
    pose, expected = to_pose(keypoints, *size), recorded_pose(golden_file("draw_poses"), f"{case}/")
    np.testing.assert_array_equal(pose.points[:, DRAWN], expected.points[:, DRAWN])
    np.testing.assert_array_equal(pose.scores[:, DRAWN], expected.scores[:, DRAWN])


def test_the_order_of_134_points():
    arrays = golden_file("reorder")
    height, width = arrays["HW"]
    keypoints = np.concatenate([arrays["kpts133"], arrays["scores133"][..., None]], axis=-1)
    pose, expected = to_pose(keypoints, width, height), recorded_pose(arrays, "pose/")
    np.testing.assert_array_equal(pose.points[:, DRAWN], expected.points[:, DRAWN])
    np.testing.assert_array_equal(pose.scores, arrays["scores134"])
    np.testing.assert_allclose(pose.points * [width, height], arrays["kpts134"], rtol=1e-15)
