"""Bones get the reference's lengths and keep their angles."""

import numpy as np
import pytest
from prepare_data import person

from sa.benchmarks.fixtures.moving_people import Build, Stance, figure
from sa.runtime.prepare.motion.retargeting import HIPS, NECK, common_root, retarget, root_path
from sa.runtime.prepare.whole_body import BODY, FACE, LEFT_HAND, Pose, to_pose

SHORT, LONG = Build(thigh=0.16, shin=0.15, arm=0.12), Build()
STANCES = [Stance(bend=0.1 * i, arms=(0.2 * i, 1.0), elbows=(0.1 * i, 0.5)) for i in range(8)]


def pose_of(build: Build, stances: list[Stance], hidden: tuple[int, ...] = ()) -> Pose:
    """In a picture of 600x600 pixels."""
    points = np.stack([figure(build, stance, (300, 550), 500) for stance in stances])
    keypoints = np.dstack([points, np.ones(points.shape[:2])])
    keypoints[:, list(hidden), 2] = 0
    return to_pose(keypoints, 600, 600)


def test_the_same_angles_in_another_body():
    reference = pose_of(LONG, [Stance()])
    shaped, wanted = retarget(pose_of(SHORT, STANCES), reference, 1, 1, 1), pose_of(LONG, STANCES)
    shift = (wanted.points[0, 8] - shaped.points[0, 8]) * [1, 1]
    np.testing.assert_allclose(shaped.points[:, BODY] + shift, wanted.points[:, BODY], atol=2e-4)
    np.testing.assert_allclose(
        shaped.points[:, LEFT_HAND, 0].mean() + shift[0], wanted.points[:, LEFT_HAND, 0].mean(), atol=0.02
    )


def test_bones_that_are_not_seen_in_both_are_scaled():
    reference = pose_of(LONG, [Stance()], hidden=(13, 14, 15, 16))  # no legs below the hips
    pose = pose_of(SHORT, STANCES)
    shaped = retarget(pose, reference, 2, 1, 1)
    shins = [np.linalg.norm(one.points[:, 10] - one.points[:, 9], axis=-1) for one in (shaped, pose)]
    np.testing.assert_allclose(shins[0], 2 * shins[1])


def test_a_hidden_elbow_does_not_lose_the_hand():
    pose = pose_of(SHORT, STANCES, hidden=(7,))  # the left elbow
    shaped = retarget(pose, pose_of(LONG, [Stance()]), 1, 1, 1)
    apart = np.linalg.norm(shaped.points[:, 7] - shaped.points[:, 5], axis=-1)  # wrist and shoulder
    assert (apart < 0.35).all() and (apart > 0.1).all()
    assert (np.abs(shaped.points[:, FACE] - shaped.points[:, [0]]) < 0.1).all()


def test_the_root_moves_on_where_it_is_not_seen():
    moving = np.stack([person(0.5, 10 * i) for i in range(5)])
    moving[2, [11, 12], 2] = 0  # the hips
    pose = to_pose(moving, 512, 512)
    assert common_root(pose, pose) == HIPS
    np.testing.assert_allclose(np.diff(root_path(pose, HIPS)[:, 0]), 10 / 512)
    moving[2] = 0  # nobody
    np.testing.assert_allclose(np.diff(root_path(to_pose(moving, 512, 512), HIPS)[:, 0]), 10 / 512)


@pytest.mark.parametrize("who", ["driving", "reference"])
def test_without_hips_the_neck_is_the_root(who):
    whole, bust = np.stack([person()] * 3), np.stack([person()] * 3)
    bust[:, 11:17, 2] = 0
    poses = [to_pose(one, 512, 512) for one in ((bust, whole) if who == "driving" else (whole, bust))]
    assert common_root(*poses) == NECK
    np.testing.assert_allclose(root_path(poses[0], NECK), poses[0].points[:, 1])
    bust[:, :, 2] = 0
    assert common_root(to_pose(bust, 512, 512), poses[1]) is None
