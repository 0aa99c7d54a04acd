"""Fingers: seen in the truth, not in a blot, and nothing is counted that the truth does not show."""

import numpy as np
import pytest

from sa.benchmarks.puppet.draw.clips import clip
from sa.benchmarks.puppet.fingers import fingers_seen, gaps_shown

SKIN, WALL = (230, 180, 150), (40, 60, 120)


def hand(middle: tuple[float, float]) -> np.ndarray:
    """The 21 points of a hand whose tips are 8 pixels of 128 from each other, in a row."""
    points = np.tile(np.array(middle), (21, 1))
    points[4::4, 0] += np.arange(-2, 3) * 8 / 128
    return points


def drawn(hands: np.ndarray) -> np.ndarray:
    """A frame of 128x128: a wall, and discs of skin at the tips."""
    frame = np.full((128, 128, 3), WALL, np.uint8)
    rows, columns = np.mgrid[:128, :128]
    for x, y in hands[:, 4::4].reshape(-1, 2) * 128:
        frame[(columns - x) ** 2 + (rows - y) ** 2 < 9] = SKIN
    return frame


HANDS = np.stack([hand((0.3, 0.5)), hand((0.7, 0.5))])
TRUTH = drawn(HANDS)
BLOT = np.where((np.abs(np.arange(128) - 64) < 8)[:, None, None], np.array(SKIN, np.uint8), TRUTH)


def seen(result: np.ndarray, truth: np.ndarray = TRUTH, hands: np.ndarray = HANDS) -> float:
    return fingers_seen(result[None], truth[None], hands[None])


def test_the_truth_shows_all_and_a_blot_none():
    assert seen(TRUTH) == 1
    assert seen(BLOT) == 0


def test_fingers_between_the_true_ones_are_not_the_true_ones():
    assert seen(np.roll(TRUTH, 4, axis=1)) == 0


@pytest.mark.parametrize(("share", "wanted"), [(0.4, 0), (0.6, 1)])
def test_half_the_contrast_is_enough(share, wanted):
    assert seen((BLOT + share * (TRUTH.astype(float) - BLOT)).astype(np.uint8)) == wanted


def test_one_hand_of_two_is_half():
    half = TRUTH.copy()
    half[:, :64] = BLOT[:, :64]
    assert seen(half) == 0.5


def test_a_gap_that_the_truth_does_not_show_does_not_count():
    assert np.isnan(seen(TRUTH, truth=BLOT))
    assert np.isnan(seen(TRUTH, hands=HANDS + 1))  # beside the picture
    partly = np.stack([hand((0.3, 0.5)), hand((0.99, 0.5))])
    assert seen(TRUTH, truth=drawn(partly), hands=partly) == pytest.approx(4 / 6)  # two of the right hand's gaps


def test_a_drawn_puppet_shows_its_fingers():
    puppets = [clip("held-out", number) for number in range(12)]
    frames = np.stack([np.asarray(one.picture(0)) for one in puppets])
    hands = np.stack([one.posture(0).hands for one in puppets])
    within = ((hands > 0.02) & (hands < 0.98)).all(axis=(2, 3))  # hands that are wholly in the picture
    assert gaps_shown(frames, hands)[within].mean() > 0.7  # the others are on clothes, faces or walls of their colour
    assert fingers_seen(np.roll(frames, 6, axis=2), frames, hands) < 0.5
