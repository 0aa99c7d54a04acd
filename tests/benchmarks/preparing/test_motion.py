"""What sa-prepare makes of drawn people whose truth is known."""

import numpy as np
import pytest

from sa.benchmarks.fixtures.moving_people import sprint, squat, street
from sa.benchmarks.preparing.motion import prepared


@pytest.mark.parametrize("seed", range(6))
def test_in_a_street_nobody_else_is_followed(seed):
    """The followed person is covered by another for eight frames, and leaves."""
    found = prepared(street(seed))
    assert found.meant == 0 and found.strangers == found.lost == 0 and not found.followed.unsure


def test_a_sprint_leaves_the_picture_and_it_is_told():
    run = prepared(sprint(1))
    assert run.black > 30 and run.told_share == pytest.approx(run.true_share, abs=0.02) and run.true_share < 0.5
    assert any("leaves the picture" in warning and "--anchor hips" in warning for warning in run.warnings)


def test_anchored_at_the_hips_it_stays():
    held = prepared(sprint(1), anchor="hips")
    assert held.black == 0 and held.told_share == held.true_share == 1
    assert not any("leaves the picture" in warning for warning in held.warnings)


def test_anchored_first_it_begins_at_the_references_hips():
    found = prepared(sprint(1), anchor="first")
    hips = found.placed.pose.points[:, [8, 11]].mean(axis=1)
    wanted = found.reference.points[0, [8, 11]].mean(axis=0)
    first = int(found.motion.there.argmax())
    np.testing.assert_allclose(hips[first], wanted, atol=1e-9)
    plain = prepared(sprint(1)).placed.pose.points
    moved = (found.placed.pose.points - plain)[found.motion.there]
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0, 0], moved.shape), atol=1e-9)  # one displacement


def test_other_proportions_are_told_and_taken_over():
    """Legs of two thirds the length: aligned by the torso, the feet hang in the air."""
    plain, limbs = prepared(squat(0)), prepared(squat(0), limbs=True)
    assert plain.placed.quality.limbs["legs"].proportion == pytest.approx(1.49, abs=0.05)
    assert plain.placed.quality.limbs["torso"].proportion == pytest.approx(1, abs=0.02)
    assert any("legs 1.4" in warning and "--retarget limbs" in warning for warning in plain.warnings)
    assert plain.feet_off > 40 and limbs.feet_off < 6
    assert limbs.body_off < 4 < plain.body_off
    assert not any("--retarget" in warning for warning in limbs.warnings)
    assert limbs.placed.quality.limbs["legs"].proportion == pytest.approx(1, abs=0.05)


def test_hands_that_blink_are_filled_and_points_are_calmed():
    plain, holes, calm = prepared(squat(0)), prepared(squat(0), fill=False), prepared(squat(0), smooth=True)
    assert holes.without_hand == 11 and plain.without_hand == 0
    assert calm.points_off < 0.75 * plain.points_off
