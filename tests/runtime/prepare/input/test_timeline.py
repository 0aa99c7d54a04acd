"""Which frames are taken at which rate, in plain numbers."""

import numpy as np
import pytest

from sa.runtime.prepare.input.timeline import Selection, Timeline, plan_frames

EVEN = Timeline([i / 25 for i in range(100)], 4.0)
# Five seconds at 5 frames a second, then five at 1.
UNEVEN = Timeline([i / 5 for i in range(25)] + [5.0 + i for i in range(5)], 10.0)


def test_a_steady_rate_is_kept():
    assert not EVEN.varies and EVEN.fps == pytest.approx(25)
    for selection in (Selection(), Selection(3, 50, 7), Selection(90, 200), Selection(99)):
        chosen, fps = plan_frames(EVEN, selection, None, False)
        assert chosen == list(range(100))[slice(int(selection.start), selection.stop, selection.step)]
        assert fps == pytest.approx(25 / selection.step)


def test_times_that_are_rounded_are_steady():
    assert not Timeline([round(i / 30, 3) for i in range(90)], 3).varies
    assert not Timeline([0.0], 0.04).varies and Timeline([0.0], 0.04).fps is None


def test_a_varying_rate_becomes_even():
    assert UNEVEN.varies and UNEVEN.common_fps == pytest.approx(5)
    chosen, fps = plan_frames(UNEVEN, Selection(), None, False)
    assert fps == pytest.approx(5) and len(chosen) == 50  # ten seconds
    assert chosen[:25] == list(range(25))
    for at, number in enumerate(chosen):
        assert abs(UNEVEN.times[number] - at / 5) == min(abs(time - at / 5) for time in UNEVEN.times)
    assert plan_frames(UNEVEN, Selection(), None, True)[0] == list(range(30))


@pytest.mark.parametrize("fps", [1, 10, 12.5, 24, 30, 60])
def test_another_rate_takes_the_nearest_frames(fps):
    chosen, rate = plan_frames(EVEN, Selection(), fps, False)
    assert rate == fps and len(chosen) == round(4 * fps)
    apart = np.abs(np.array(EVEN.times)[:, None] - np.arange(len(chosen)) / fps)
    np.testing.assert_allclose(apart[chosen, np.arange(len(chosen))], apart.min(axis=0), atol=1e-4)


def test_a_step_counts_after_resampling():
    assert plan_frames(EVEN, Selection(0, None, 2), 10, False) == (plan_frames(EVEN, Selection(), 10, False)[0][::2], 5)


def test_frames_between_two_times():
    assert plan_frames(EVEN, Selection(1.0, 2.0, 1, True), None, False)[0] == list(range(25, 50))
    assert plan_frames(EVEN, Selection(3.9, None, 1, True), None, False)[0] == [98, 99]
    assert plan_frames(EVEN, Selection(9, 12, 1, True), None, False)[0] == []
    chosen, fps = plan_frames(EVEN, Selection(1.0, 2.0, 1, True), 5, False)
    assert chosen == [25, 30, 35, 40, 45] and fps == 5
    thirds = Timeline([round(i / 30, 3) for i in range(90)], 3)
    assert plan_frames(thirds, Selection(1, 2, 1, True), None, False)[0] == list(range(30, 60))
