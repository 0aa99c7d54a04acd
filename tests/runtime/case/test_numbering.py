"""Which number in a name is the frame's."""

from pathlib import Path

import pytest
from PIL import Image

from sa.runtime.case.case import Case
from sa.runtime.case.numbering import number_names, numbered_images
from sa.runtime.errors import InputError


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (("frame_10.png", "frame_9.png"), {9: "frame_9.png", 10: "frame_10.png"}),
        (("pose_0_v2.png", "pose_10_v2.png"), {0: "pose_0_v2.png", 10: "pose_10_v2.png"}),
        (
            ("f_01_512x512.png", "f_02_512x512.png"),
            {1: "f_01_512x512.png", 2: "f_02_512x512.png"},
        ),
        (("f0_t000.png", "f1_t033.png", "f2_t067.png"), {0: "f0_t000.png", 1: "f1_t033.png", 2: "f2_t067.png"}),
        (("take2_7.png",), {7: "take2_7.png"}),
        (("0003.PNG", "frame_4.jpg"), {3: "0003.PNG", 4: "frame_4.jpg"}),
    ],
)
def test_the_number_that_differs_is_the_frames(names, numbers):
    found = number_names(map(Path, names), "poses")
    assert {number: path.name for number, path in found.items()} == numbers
    assert list(found) == sorted(numbers)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("frame_3.png", "frame_03.png"), "frame_3.png and frame_03.png carry the same number 3"),
        (("pose_0_v2.png", "pose_1.png"), "which one is the frame's is unclear"),
        (("frame.png",), "has no number in its name"),
    ],
)
def test_names_that_say_no_number_are_refused(names, words):
    with pytest.raises(InputError, match=words):
        number_names(sorted(map(Path, names)), "poses")


def test_a_frame_of_a_type_that_is_not_read_is_not_passed_over(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "frame_0.png")
    Image.new("L", (8, 8)).save(tmp_path / "frame_1.gif")
    with pytest.raises(InputError, match=r"frame_1.gif is a GIF, which is not read: convert it to PNG or JPEG"):
        numbered_images(tmp_path, "poses")


def test_masks_are_found_by_the_numbers_of_the_poses(tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "reference.png")
    for folder, names in (("poses", ("p_1.png", "p_4.png")), ("faces", ("1_mask.png", "4_mask.png", "5_mask.png"))):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("L", (8, 8)).save(tmp_path / folder / name)
    with pytest.raises(InputError, match=r"5_mask.png has no pose of its number 5"):
        Case.read(tmp_path).face_masks()
    (tmp_path / "faces" / "5_mask.png").unlink()
    assert [mask.name for mask in Case.read(tmp_path).face_masks()] == ["1_mask.png", "4_mask.png"]
    (tmp_path / "faces" / "1_mask.png").rename(tmp_path / "faces" / "0_mask.png")
    with pytest.raises(InputError, match=r"has no mask of number 1, the number of .*p_1.png"):
        Case.read(tmp_path).face_masks()
