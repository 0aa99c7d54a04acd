"""Puppets: the same number is the same video, splits are apart, and the pose lies on the puppet."""

import numpy as np
import pytest

from sa.benchmarks.puppet.draw.clips import SIZE, clip, puppet
from sa.benchmarks.puppet.draw.identity import HAIR_STYLES, PATTERNS
from sa.benchmarks.puppet.draw.motion import JOINTS
from sa.benchmarks.puppet.draw.picture import FINGER_WIDTH, INK, WHITE
from sa.benchmarks.puppet.draw.skeleton import whole_body
from sa.runtime.prepare.whole_body import BODY, LEFT_HAND, RIGHT_HAND

NUMBERS = range(40)


def test_a_number_is_a_video():
    puppet.cache_clear()
    first = np.asarray(clip("held-out", 3).picture(5))
    puppet.cache_clear()
    assert np.array_equal(first, np.asarray(clip("held-out", 3).picture(5)))
    assert first.shape == (SIZE, SIZE, 3)
    assert not np.array_equal(first, np.asarray(clip("held-out", 4).picture(5)))


def test_takes_move_the_same_puppet_differently():
    one, other = clip("train", 7, take=0), clip("train", 7, take=1)
    assert one.identity == other.identity
    assert one.motion != other.motion


def test_splits_share_no_puppet_and_no_motion():
    seen = [
        (repr(one.identity), repr(one.motion))
        for split in ("train", "judges", "held-out")
        for one in (clip(split, number) for number in NUMBERS)
    ]
    assert len({identity for identity, _ in seen}) == len({motion for _, motion in seen}) == len(seen)


def test_every_style_occurs():
    identities = [puppet("train", number) for number in range(200)]
    assert {one.hair_style for one in identities} == set(HAIR_STYLES)
    assert {one.pattern for one in identities} == set(PATTERNS)


@pytest.mark.parametrize("number", NUMBERS)
def test_motion_is_smooth_and_not_still(number):
    one = clip("held-out", number)
    joints = np.array([list(one.posture(frame).body.values()) for frame in range(40)]) * SIZE
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
    assert steps.max() < 16  # pixels from one frame to the next
    assert np.ptp(joints, axis=0).max() > 6


@pytest.mark.parametrize("number", NUMBERS)
def test_bones_keep_their_length(number):
    one = clip("held-out", number)
    for a, b in (("right shoulder", "right elbow"), ("left elbow", "left wrist"), ("left hip", "left knee")):
        lengths = [np.linalg.norm(p.body[a] - p.body[b]) for p in map(one.posture, range(0, 40, 5))]
        assert np.ptp(lengths) < 1e-9


@pytest.mark.parametrize("number", range(8))
def test_the_pose_lies_on_the_puppet(number):
    one = clip("train", number)
    posture, picture, pose = one.posture(2), np.asarray(one.picture(2)), np.asarray(one.pose(2))
    for name, colour in (("right wrist", (255, 255, 0)), ("left elbow", (85, 255, 0))):
        x, y = posture.body[name]
        if 0.02 < x < 0.98 and 0.02 < y < 0.98:
            scale = pose.shape[0]
            patch = pose[int(y * scale) - 2 : int(y * scale) + 3, int(x * scale) - 2 : int(x * scale) + 3]
            hue = np.array(colour) / 255
            # Shrunk without antialiasing a joint of four pixels may be dark, but it has no colour but its own and
            # those of the limbs and of the hand that end in it.
            assert patch.any(), name
            assert (patch.reshape(-1, 3) @ hue).max() > 60
    eye = posture.face[36:42].mean(axis=0) * SIZE
    near = picture[int(eye[1]) - 3 : int(eye[1]) + 4, int(eye[0]) - 3 : int(eye[0]) + 4].reshape(-1, 3).astype(int)
    assert min(np.abs(near - INK).sum(axis=1).min(), np.abs(near - WHITE).sum(axis=1).min()) < 200


@pytest.mark.parametrize("number", NUMBERS)
def test_the_box_holds_the_face_and_the_mask_is_the_box(number):
    one = clip("held-out", number)
    left, top, right, bottom = one.face_box(0)
    assert 12 <= right - left <= 70 and 12 <= bottom - top <= 80
    mask = np.asarray(one.face_mask(0))
    assert set(np.unique(mask)) == {0, 255}
    assert (mask == 255).sum() == (right - left + 1) * (bottom - top + 1)
    for eye in ("right eye", "left eye"):
        x, y = one.posture(0).body[eye] * SIZE
        assert left <= x <= right and top <= y <= bottom


@pytest.mark.parametrize("number", range(4))
def test_fingers_stand_apart(number):
    posture = clip("held-out", number).posture(0)
    tips = posture.hands[:, 4::4] * SIZE
    apart = np.linalg.norm(np.diff(tips, axis=1), axis=-1)
    assert apart.min() > FINGER_WIDTH * posture.zoom * SIZE + 2  # pixels of backdrop between two fingers


def test_boxes_hold_the_hands():
    for number in range(12):
        one = clip("train", number)
        for (left, top, right, bottom), points in zip(one.hand_boxes(0), one.posture(0).hands * SIZE, strict=True):
            within = points[((points >= 0) & (points < SIZE)).all(axis=1)].round()
            assert ((within >= [left, top]) & (within <= [right, bottom])).all()
            assert right - left <= 30 and bottom - top <= 30
    left, _, right, _ = clip("train", 22).hand_boxes(110)[0]  # a hand that has left the picture on the right
    assert SIZE - 3 < left < right == SIZE


def test_an_extractors_view_of_the_puppet():
    one = clip("train", 1)
    posture = one.posture(0)
    pose = whole_body(posture)
    body = pose.points[0, BODY]
    assert np.allclose(body[1], (body[2] + body[5]) / 2)  # the neck
    assert np.allclose(body[JOINTS.index("left wrist")], pose.points[0, LEFT_HAND][0])
    assert np.allclose(body[JOINTS.index("right wrist")], pose.points[0, RIGHT_HAND][0])
    outside = ((body < 0) | (body >= 1)).any(axis=-1)
    assert outside.any() and not pose.seen[0, BODY][outside].any() and pose.seen[0, BODY][~outside].all()
