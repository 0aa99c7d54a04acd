"""Held-out puppets as cases: sa-run takes them, and the truth beside them is the truth."""

import numpy as np
import pytest
from PIL import Image

from sa.benchmarks.puppet.cases import APART, TRUTH, case_frames, read_hands, read_joints, write_case
from sa.benchmarks.puppet.draw.clips import SIZE, clip
from sa.benchmarks.puppet.draw.motion import JOINTS
from sa.runtime.case.case import Case, check_case
from sa.runtime.case.images import read_image
from sa.runtime.contract import Shapes
from sa.runtime.errors import InputError
from sa.runtime.refinement.faces import read_targets

FRAMES = 9
SHAPES = Shapes(height=SIZE, width=SIZE, tile_size=8, decode_chunk=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("puppet") / "case"
    write_case(made, "held-out", 5, FRAMES)
    return made


def test_sa_run_takes_the_case_as_it_is(folder):
    case = Case.read(folder)
    assert case.frames == FRAMES and not check_case(case, SHAPES, "sa-export")
    warnings: list[str] = []
    targets = read_targets(case.reference, case.reference_mask, case.face_masks(), SIZE, SIZE, False, warnings)
    one, times = clip("held-out", 5), case_frames("held-out", 5, FRAMES)
    assert not warnings
    for box, time in zip(targets.boxes, times[1:], strict=True):
        assert (box.left, box.top, box.right, box.bottom) == one.face_box(time)


def test_the_truth_is_the_puppet_in_the_poses_of_the_video(folder):
    one, times = clip("held-out", 5), case_frames("held-out", 5, FRAMES)
    assert APART[0] <= times[1] - times[0] < APART[1]
    assert np.array_equal(np.asarray(read_image(folder / "reference.png")), np.asarray(one.picture(times[0])))
    joints = read_joints(folder)
    assert len(joints) == FRAMES
    for index, time in enumerate(times[1:]):
        for part, drawn in ((TRUTH, one.picture(time)), ("poses", one.pose(time))):
            with Image.open(folder / part / f"frame_{index}.png") as image:
                assert np.array_equal(np.asarray(image), np.asarray(drawn))
        assert tuple(joints[index]) == JOINTS
        assert np.allclose(joints[index]["left wrist"], one.posture(time).body["left wrist"])


def test_the_case_knows_where_the_hands_are(folder, tmp_path):
    one, times, hands = clip("held-out", 5), case_frames("held-out", 5, FRAMES), read_hands(folder)
    assert hands.shape == (FRAMES, 2, 21, 2)
    assert all(np.allclose(found, one.posture(time).hands) for found, time in zip(hands, times[1:], strict=True))
    with pytest.raises(InputError, match=r"hands\.json is missing: .*; make the case .* anew"):
        read_hands(tmp_path)
    (tmp_path / TRUTH).mkdir()
    for strange in ("[[[0, 1, 2, 3], [4, 5, 6, 7]]]", "[[1], 2]", "[[", "{}"):  # boxes first, as they once were
        (tmp_path / TRUTH / "hands.json").write_text(strange)
        with pytest.raises(InputError, match=r"hands\.json was written by another version; make the case .* anew"):
            read_hands(tmp_path)
