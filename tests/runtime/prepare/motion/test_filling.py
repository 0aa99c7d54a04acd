"""Short gaps are filled, long ones and scene cuts are not."""

import numpy as np
from prepare_data import person

from sa.runtime.prepare.motion.filling import LONGEST, fill_gaps

HAND = slice(91, 112)


def walk(frames: int) -> np.ndarray:
    """[frames, 133, 3] someone who moves 6 pixels a frame."""
    return np.stack([person(0.5, 6 * i, 2 * i) for i in range(frames)])


def test_a_missing_person_is_put_back_where_it_was():
    truth = walk(20)
    holes = truth.copy()
    holes[5 : 5 + LONGEST] = 0
    filled = fill_gaps(holes, [])
    np.testing.assert_allclose(filled.keypoints, truth)
    assert filled.frames == LONGEST and filled.points == LONGEST * 133


def test_single_points_are_filled_and_keep_the_lower_score():
    holes = walk(10)
    holes[3:5, HAND, 2], holes[5, HAND, 2] = 0.1, 0.6
    filled = fill_gaps(holes, [])
    np.testing.assert_allclose(filled.keypoints[..., :2], walk(10)[..., :2])
    assert (filled.keypoints[3:5, HAND, 2] == 0.6).all() and filled.frames == 0 and filled.points == 2 * 21
    untouched = np.delete(np.arange(133), np.arange(91, 112))
    np.testing.assert_array_equal(filled.keypoints[:, untouched], holes[:, untouched])


def test_a_longer_gap_stays():
    holes = walk(20)
    holes[5 : 6 + LONGEST] = 0
    filled = fill_gaps(holes, [])
    np.testing.assert_array_equal(filled.keypoints, holes)
    assert filled.frames == filled.points == 0


def test_ends_and_cuts_are_not_bridged():
    holes = walk(12)
    holes[[0, 1, 5, 6, 11]] = 0
    for cut in (5, 6, 7):
        np.testing.assert_array_equal(fill_gaps(holes, [cut]).keypoints, holes)
    assert fill_gaps(holes, [4, 8]).frames == 2
