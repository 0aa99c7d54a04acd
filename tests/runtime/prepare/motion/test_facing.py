"""From the front or from behind."""

import numpy as np
import pytest
from prepare_data import person

from sa.runtime.prepare.motion.facing import facing, from_behind
from sa.runtime.prepare.whole_body import Pose, to_pose


def people(behind: list[bool]) -> Pose:
    everybody = np.stack([person() for _ in behind])
    for one, back in zip(everybody, behind, strict=True):
        if back:
            one[:3, 2], one[23:91, 2] = 0.2, 0.1  # nose, eyes and face
    return to_pose(everybody, 512, 512)


def test_who_shows_no_face_is_seen_from_behind():
    assert from_behind(people([False, True])).tolist() == [0, 1]
    hidden = people([True])
    hidden.scores[:, [2, 5]] = 0.1  # the shoulders
    assert np.isnan(from_behind(hidden)).all()


@pytest.mark.parametrize(
    ("driving", "reference", "said"),
    [
        ([False] * 10, False, ""),
        ([True] * 10, True, ""),
        ([False] * 8 + [True] * 2, False, ""),
        ([False] * 5 + [True] * 5, False, "seen from behind in 50% of the frames, but the reference from the front"),
        ([False] * 10, True, "the reference is seen from behind, but the driving person from the front in 100%"),
    ],
)
def test_a_difference_is_said(driving, reference, said):
    report, warnings = facing(people(driving), people([reference]))
    assert report == {"reference_from_behind": reference, "frames_from_behind": sum(driving) / 10}
    assert len(warnings) == bool(said) and said in "".join(warnings)
