"""Poses that are drawn already: recognised among driving frames, and taken as they are."""

import json

import numpy as np
import pytest
from PIL import Image
from prepare_data import face_detector, face_recogniser, golden_picture, person, picture_file, write_keypoints

from sa.runtime.prepare.cli import main
from sa.runtime.prepare.draw.drawing import draw_pose
from sa.runtime.prepare.input.drawn import is_skeleton
from sa.runtime.prepare.whole_body import to_pose


@pytest.fixture
def place(tmp_path):
    """A photo, and three poses of the same shape."""
    picture_file(tmp_path / "photo.png", 256, 256)
    (tmp_path / "poses").mkdir()
    for number in (1, 2, 3):
        drawn = draw_pose(to_pose(person(0.25, number)[None], 128, 128), 128, 128)
        Image.fromarray(drawn).save(tmp_path / "poses" / f"pose_{number}_v2.png")
    return tmp_path


def command(place, *further: object) -> list[str]:
    words = ["--reference", place / "photo.png", "--poses-ready", place / "poses", "--out", place / "case", *further]
    return [str(word) for word in (*words, "--quiet")]


def test_ready_poses_are_copied_to_the_pixel(place):
    face_recogniser(place / "models")
    points = np.array([[300.0, 200], [340, 200], [320, 220], [305, 245], [335, 245]])
    face_detector(place / "models", points)
    assert main(command(place, "--models", place / "models")) == 0
    case = json.loads((place / "case" / "case.json").read_text())
    assert case["names"] == {f"frame_{i}.png": f"pose_{i + 1}_v2.png" for i in range(3)}
    for number in range(3):
        copied, given = place / "case/poses" / f"frame_{number}.png", place / "poses" / f"pose_{number + 1}_v2.png"
        np.testing.assert_array_equal(np.asarray(Image.open(copied)), np.asarray(Image.open(given)))
    assert Image.open(place / "case" / "reference.png").size == (128, 128)
    assert np.load(place / "case" / "identity.npy").any()
    mask = np.asarray(Image.open(place / "case" / "reference_mask.png")) == 255
    # the photo of 256x256 was seen at 640x640; the reference has 128x128
    assert [np.flatnonzero(mask.any(axis=axis))[0] for axis in (0, 1)] == [290 // 5, 190 // 5]


def test_a_link_to_a_folder_is_followed(place):
    (place / "elsewhere").mkdir()
    (place / "case").symlink_to(place / "elsewhere")
    assert main(command(place)) == 0
    assert (place / "case").is_symlink() and (place / "elsewhere" / "case.json").is_file()


def test_ready_poses_that_do_not_fit_are_refused(place, capsys):
    def said(*further: object) -> str:
        assert main(command(place, *further)) == 2
        return capsys.readouterr().err

    assert "--poses-ready were drawn for one photo" in said("--reference", place / "photo.png")
    picture_file(place / "photo.png", 256, 128)
    assert "photo.png is 256x128, but the poses are 128x128, of another shape" in said()
    Image.new("RGB", (64, 64)).save(place / "poses" / "pose_4_v2.png")
    assert "pose_4_v2.png is 64x64, the poses before are 128x128: give poses of one size" in said()
    for number in (1, 2, 3, 4):
        picture_file(place / "poses" / f"pose_{number}_v2.png", 128, 128)
    assert "are pictures, not skeletons drawn on black" in said()


def test_skeletons_are_told_from_people():
    assert all(is_skeleton(golden_picture(name)) for name in ("p1_full_512", "p2_full_576x1024", "p5_two_persons_512"))
    dancer = np.zeros((256, 256, 3), np.uint8)  # on a black stage
    dancer[60:200, 110:146] = (200, 150, 120)
    assert not is_skeleton(dancer) and not is_skeleton(np.zeros((64, 64, 3), np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert not is_skeleton(noise)


def test_skeletons_for_driving_frames_are_told_and_the_advice_works(place):
    write_keypoints(place / "poses.npz", [person(0.25)] * 3, person(0.5))
    words = ["--reference", place / "photo.png", "--driving", place / "poses", "--keypoints", place / "poses.npz"]
    flags = [*map(str, words), "--out", str(place / "case"), "--size", "128x128"]
    assert main(flags) == 0
    said = json.loads((place / "case" / "case.json").read_text())["warnings"]
    assert any(f"{place}/poses shows skeletons drawn on black, not a person" in sentence for sentence in said)
    flags[flags.index("--driving")] = "--poses-ready"
    at = flags.index("--keypoints")
    assert main([*flags[:at], *flags[at + 2 :], "--overwrite"]) == 0
