"""Case from Images and Load Case, on stand-ins of ComfyUI's API."""

from pathlib import Path

import numpy as np
import pytest
from prepare_data import picture_file
from standin import Tensor, image

from sa.runtime.case.case import Case
from sa.runtime.errors import InputError


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def case_from_images(nodes, **changes) -> Case:
    given = {
        "reference": image(noise(1, 32, 24, 3)),
        "poses": image(noise(3, 16, 16, 3)),
        "fps": 12.5,
        "faces": image(noise(3, 16, 16)),
        "reference_face": image(noise(1, 32, 24)),
        "identity": "none",
    }
    (made,) = nodes["CaseFromImages"].execute(**given | changes).args
    return made.case


def test_a_case_has_the_pictures_to_the_level(nodes):
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    case = case_from_images(nodes, reference=image(levels), reference_face=image(levels[..., 0]))
    np.testing.assert_array_equal(np.asarray(case.reference), levels[0])
    np.testing.assert_array_equal(case.reference_mask, levels[0, ..., 0])
    np.testing.assert_array_equal(np.stack(list(case.poses)), noise(3, 16, 16, 3))
    np.testing.assert_array_equal(np.stack(list(case.part(1, 3).poses)), noise(3, 16, 16, 3)[1:])
    np.testing.assert_array_equal(np.stack(list(case.face_masks())), noise(3, 16, 16))
    assert case.fps == 12.5 and case.frames == 3


def test_what_lies_beyond_0_and_1_is_clipped(nodes):
    wide = np.full((1, 16, 16, 3), 1.5, np.float32)
    wide[..., 0] = -0.5
    case = case_from_images(nodes, poses=Tensor(wide), faces=None, reference_face=None)
    assert case.poses[0].tolist() == np.broadcast_to([0, 255, 255], (16, 16, 3)).tolist()


def test_poses_are_not_copied(nodes):
    poses = np.zeros((4, 16, 16, 3), np.float32)
    case = case_from_images(nodes, poses=Tensor(poses), faces=None, reference_face=None)
    poses[2] = 1
    assert [int(pose.max()) for pose in case.poses] == [0, 0, 255, 0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reference": image(noise(2, 32, 24, 3))}, "reference has 2 pictures: connect one"),
        (
            {"reference": image(noise(1, 32, 24, 4))},
            r"reference is \[1, 32, 24, 4\]: connect an IMAGE of three channels",
        ),
        ({"poses": image(noise(3, 16, 16, 1))}, r"poses is \[3, 16, 16, 1\]"),
        ({"poses": Tensor(np.full((3, 16, 16, 3), np.nan, np.float32))}, "poses has NaN .* in picture 0"),
        ({"faces": image(noise(2, 16, 16))}, "faces has 2 masks for 3 poses"),
        ({"faces": image(noise(3, 16, 16, 3))}, r"faces is \[3, 16, 16, 3\]: connect a MASK"),
        ({"faces": None}, "reference_face is connected without faces"),
        ({"reference_face": None}, "faces is connected without reference_face"),
        ({"reference_face": image(noise(2, 16, 16))}, "reference_face has 2 pictures"),
        ({"identity": " "}, "the case has no identity: set identity to a .npy file"),
    ],
)
def test_what_makes_no_case(changes, sentence, nodes):
    with pytest.raises(InputError, match=sentence):
        case_from_images(nodes, **changes)


@pytest.fixture
def folder(home) -> Path:
    """A case of three frames in ComfyUI's input folder."""
    case = home / "input" / "case"
    picture_file(case / "reference.png", 32, 32)
    for i in range(3):
        picture_file(case / "poses" / f"frame_{i}.png", 32, 32, seed=i)
    np.save(case / "identity.npy", np.ones(8, np.float32))
    return case


def test_load_case_takes_a_part(nodes, folder):
    def load(first: int, frames: int, **further: str):
        (made,) = nodes["LoadCase"].execute("case", first, frames, **further).args
        return made

    assert load(0, 0).case.frames == 3 and load(0, 0).identity is None
    assert [path.name for path in load(1, 2).case.poses] == ["frame_1.png", "frame_2.png"]
    assert load(2, 0).case.frames == 1
    assert load(0, 0, identity="none").identity == "none"
    assert load(0, 0, identity="case/identity.npy").identity == str(folder / "identity.npy")
    assert load(0, 0, models=str(folder)).models == folder
    with pytest.raises(InputError, match="is no part of the case"):
        load(2, 2)
    (folder / "identity.npy").unlink()
    with pytest.raises(InputError, match="has no identity"):
        load(0, 0)
    with pytest.raises(InputError, match="folder is empty"):
        nodes["LoadCase"].execute(" ", 0, 0)
    with pytest.raises(InputError, match="~nobody-of-that-name"):
        nodes["LoadCase"].execute("~nobody-of-that-name/case", 0, 0)


def test_a_changed_file_of_a_case_is_seen(nodes, folder):
    def fingerprint() -> str:
        return nodes["LoadCase"].fingerprint_inputs(folder="case", first=0, frames=0)

    first = fingerprint()
    assert fingerprint() == first
    picture_file(folder / "poses" / "frame_3.png", 32, 32)
    second = fingerprint()
    np.save(folder / "identity.npy", np.ones(9, np.float32))
    assert len({first, second, fingerprint()}) == 3
    nodes["LoadCase"].fingerprint_inputs(folder=None)  # as ComfyUI asks where another node gives it
    of_images = nodes["CaseFromImages"].fingerprint_inputs
    before = of_images(identity="case/identity.npy")
    np.save(folder / "identity.npy", np.ones(10, np.float32))
    assert of_images(identity="case/identity.npy") != before
