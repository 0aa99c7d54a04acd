"""sa-prepare from its files to a case, and that case through sa-run."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from audio_data import heard, video_with_audio
from command_lines import replaced
from PIL import Image
from prepare_data import (
    face_detector,
    face_recogniser,
    person,
    picture_file,
    write_keypoints,
)
from prepared_cases import FILES, FRAMES, arguments, not_glintr, pixels, prepared

from sa.runtime import cli as run_cli
from sa.runtime.case.audio import RATE, read_audio
from sa.runtime.case.case import Case
from sa.runtime.case.notes import without_padding
from sa.runtime.errors import import_failed
from sa.runtime.prepare import preparation
from sa.runtime.prepare.cli import main
from sa.runtime.prepare.draw.reduced import draw_reduced
from sa.runtime.prepare.whole_body import to_pose


def test_a_case_is_made(place):
    case = prepared(place)
    folder = place / "case"
    assert {path.name for path in folder.iterdir()} == FILES
    assert sorted(path.name for path in (folder / "poses").iterdir()) == [f"frame_{i}.png" for i in range(FRAMES)]
    assert case["names"] == {f"frame_{i}.png": f"f{i}.png" for i in range(FRAMES)}
    assert case["frames"] == FRAMES and case["frames_without_person"] == case["frames_without_face"] == []
    assert case["alignment"]["quality"]["aligned"]
    np.testing.assert_allclose(case["alignment"]["scale"], [1.25 * 2, 1.25], rtol=1e-6)
    assert pixels(folder / "reference.png").shape == (64, 64, 3)
    middle = to_pose(person(0.25)[None], 128, 128)  # the pose most in the middle lies on the reference's
    found = pixels(folder / "poses" / "frame_3.png").astype(int)
    assert np.abs(found - draw_reduced(middle, 64, 64)).mean() < 12
    for i in range(FRAMES):
        mask = pixels(folder / "faces" / f"frame_{i}.png")
        assert mask.shape == (64, 64) and 0 < (mask == 255).mean() < 0.2 and set(np.unique(mask)) == {0, 255}
    assert not list(place.glob(".case*"))


def test_poses_are_drawn_where_the_alignment_puts_them(place):
    case = prepared(place)
    scale, offset = (np.array(case["alignment"][of]) for of in ("scale", "offset"))
    for i in (0, 5):
        pose = to_pose(person(0.2, 40 + 4 * i, 10)[None], 256, 128).moved(scale, offset)
        np.testing.assert_array_equal(pixels(place / "case" / "poses" / f"frame_{i}.png"), draw_reduced(pose, 64, 64))


def test_the_preview_shows_every_frame(place):
    prepared(place)
    with av.open(str(place / "case" / "preview.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == FRAMES and (frames[0].width, frames[0].height) == (4 * 64, 64)
    reference = pixels(place / "case" / "reference.png").astype(int)
    for frame in frames:
        assert np.abs(frame.to_ndarray(format="rgb24")[:, :64] - reference).mean() < 10


def test_sources_and_parameters_are_noted(place):
    case = prepared(place)
    assert set(case["sources"]) == {"reference", "driving", "keypoints"}
    assert all(len(source["sha256"]) == 64 for source in case["sources"].values())
    assert case["parameters"] == {
        "size": "64x64",
        "frames": {"start": 0, "stop": None, "step": 1, "seconds": False},
        "person": "largest",
        "fps": None,
        "anchor": "none",
        "retarget": "body",
        "fill": True,
        "smooth": False,
        "fit": "crop",
        "reference_person": "largest",
        "identity": None,
        "background": "#ffffff",
        "device": "cpu",
        "compat": None,
    }
    assert "no identity.npy was made" in case["warnings"][0]


def test_selected_frames_take_their_own_keypoints(place):
    case = prepared(place, "--frames", "1:6:2")
    assert case["names"] == {"frame_0.png": "f1.png", "frame_1.png": "f3.png", "frame_2.png": "f5.png"}
    scale, offset = (np.array(case["alignment"][of]) for of in ("scale", "offset"))
    pose = to_pose(person(0.2, 52, 10)[None], 256, 128).moved(scale, offset)
    np.testing.assert_array_equal(pixels(place / "case" / "poses" / "frame_1.png"), draw_reduced(pose, 64, 64))


def test_a_frame_without_the_person_is_black_and_said(place):
    driving = [person(0.2, 40, 10) for _ in range(FRAMES)]
    driving[2] = np.full((133, 3), np.nan)
    driving[4][23:91, 2] = 0.1  # no face
    write_keypoints(place / "poses.npz", driving, person(0.25))
    case = prepared(place, "--no-fill")
    assert case["frames_black"] == [2]
    assert case["frames_without_person"] == [2] and case["frames_without_face"] == [2, 4]
    assert not pixels(place / "case" / "poses" / "frame_2.png").any()
    assert not pixels(place / "case" / "faces" / "frame_4.png").any()
    assert pixels(place / "case" / "poses" / "frame_4.png").any()
    assert "1 of 6 driving frames show nobody to follow" in " ".join(case["warnings"])
    assert "2 of 6 frames show no face: their masks are black." in case["warnings"]


def test_everybody_or_one(place):
    two = np.stack([[person(0.2, 40, 10), person(0.12, 105, 20)]] * FRAMES)
    np.savez(place / "poses.npz", driving=two, reference=person(0.25)[None])
    prepared(place)
    one = pixels(place / "case" / "poses" / "frame_0.png")
    prepared(place, "--overwrite", "--person", "all")
    both = pixels(place / "case" / "poses" / "frame_0.png")
    assert (both != one).any() and both.astype(bool).sum() > one.astype(bool).sum()
    case = prepared(place, "--overwrite", "--person", "1")
    np.testing.assert_allclose(case["alignment"]["scale"][1], 0.25 / 0.12, rtol=1e-6)


def test_the_photo_is_cut_around_its_person_and_turned_upright(place):
    upright = np.zeros((128, 256, 3), np.uint8)
    upright[:, 192:] = (200, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright).copy()).save(place / "photo.jpg", exif=exif, quality=95)
    write_keypoints(place / "poses.npz", [person(0.2, 40, 10)] * FRAMES, person(0.25, 128))
    case = prepared(place, "--reference", place / "photo.jpg")
    assert case["reference"]["photo_size"] == [256, 128]
    left, top, right, bottom = case["reference"]["cut"]
    assert (top, right - left, bottom - top) == (0, 128, 128) and left > 100
    reference = pixels(place / "case" / "reference.png").astype(int)
    assert reference[32, -2, 0] > 150 > reference[32, 2, 0]


def test_a_padded_photo_is_whole_and_sa_run_takes_the_padding_off(place):
    picture_file(place / "photo.png", 64, 128)
    write_keypoints(place / "poses.npz", [person(0.2, 40 + 4 * i, 10) for i in range(FRAMES)], person(0.2, -15))
    case = prepared(place, "--fit", "pad", "--background", "#102030")
    assert case["reference"]["cut"] == [-32, 0, 96, 128] and case["reference"]["padding"] == [16, 0, 16, 0]
    reference = pixels(place / "case" / "reference.png")
    assert (reference[:, :12] == (16, 32, 48)).all() and (reference[:, -12:] == (16, 32, 48)).all()
    read = Case.read(place / "case")
    assert read.padding == (16, 0, 16, 0)
    assert without_padding(read.padding, (64, 64), 64, 64) == (slice(0, 64), slice(16, 48))
    assert without_padding(read.padding, (64, 64), 96, 100) == (slice(0, 96), slice(25, 75))
    content = json.loads((place / "case" / "case.json").read_text())
    content["reference"]["padding"] = [40, 0, 40, 0]
    (place / "case" / "case.json").write_text(json.dumps(content))
    read = Case.read(place / "case")
    assert read.padding == (0, 0, 0, 0) and "says a padding that the reference of 64x64 cannot have" in read.warnings[0]


def test_a_mount_point_is_refused_before_anything_is_done(place, monkeypatch, capsys):
    """Nothing can be put in its place."""
    (place / "case").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == place / "case")
    assert main(arguments(place, "--quiet")) == 2
    assert f"{place}/case is a mount point, in whose place no case can be put" in capsys.readouterr().err


def test_the_folder_one_is_in_is_refused(place, monkeypatch, capsys):
    (place / "case").mkdir()
    monkeypatch.chdir(place / "case")
    for out in (".", "..", str(place / "case")):
        assert main([*replaced(arguments(place, "--quiet"), ["--out"]), "--out", out]) == 2
    assert capsys.readouterr().err.count("the folder you are in") == 2  # the one above is not empty


def test_a_source_in_the_case_that_is_replaced_is_refused(place, capsys):
    prepared(place)
    (place / "frames").rename(place / "case" / "dance")
    again = ["--driving", f"{place}/case/dance", "--overwrite"]
    assert main([*replaced(arguments(place, "--quiet"), again), *again]) == 2
    assert f"{place}/case/dance lies in {place}/case, which the case would replace" in capsys.readouterr().err
    assert (place / "case" / "dance").is_dir()


def test_the_poses_of_the_case_that_is_replaced_can_be_taken(place):
    prepared(place)
    prepared(place, "--keypoints", f"{place}/case", "--overwrite")


def test_files_that_came_meanwhile_stay_and_the_case_is_kept(place, monkeypatch, capsys):
    def beside(*of: object) -> None:
        (place / "case").mkdir()
        (place / "case" / "notes.txt").write_text("mine")

    monkeypatch.setattr(preparation, "write_kept", beside)
    assert main(arguments(place, "--quiet")) == 2
    assert "came to hold files while the case was made: move them away, and the same command" in capsys.readouterr().err
    assert (place / "case" / "notes.txt").read_text() == "mine"
    monkeypatch.undo()
    (place / "case" / "notes.txt").unlink()
    prepared(place)
    assert not list(place.glob(".case*"))


def test_the_size_fits_the_photo(place):
    picture_file(place / "photo.png", 90, 160)
    write_keypoints(place / "poses.npz", [person(0.2, 40, 10)] * FRAMES, person(0.2, -10))
    assert prepared(place, "--size", "auto", "--frames", "0:1")["parameters"]["size"] == "576x1024"
    assert pixels(place / "case" / "reference.png").shape == (1024, 576, 3)


def test_a_person_of_the_photo_is_chosen_from_the_left(place, capsys):
    driving = np.stack([[person(0.2, 40, 10)]] * FRAMES)
    np.savez(place / "poses.npz", driving=driving, reference=np.stack([person(0.2, 60), person(0.1, 0)]))
    scales = [
        prepared(place, "--overwrite", "--reference-person", which)["alignment"]["scale"][1]
        for which in ("largest", "1", "0")
    ]
    assert scales == pytest.approx([1, 1, 0.5], rel=1e-6)
    assert main([*arguments(place), "--overwrite", "--quiet", "--reference-person", "2"]) == 2
    assert "--reference-person 2: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), "needs cv2, which is not installed: `pip install"),
        (
            ImportError("libGL.so.1: cannot open shared object file", name="cv2"),
            "is installed (libGL.so.1: cannot open",
        ),
    ],
)
def test_a_library_that_does_not_load_is_not_called_missing(error, said):
    assert said in str(import_failed("sa-prepare", error, "prepare"))


def test_sa_run_animates_the_case(place, engines):
    """With an identity made from the reference, as this case has none; with the face refinement."""
    prepared(place)
    models = place / "models"
    face_recogniser(models)
    face_detector(models, np.array([[300.0, 200], [340, 200], [320, 220], [305, 245], [335, 245]]))
    run = ["--engines", engines("recipe_hjb", "onnxruntime", "--refine"), "--case", place / "case"]
    run += ["--out", place / "result", "--steps", 2, "--models", models, "--quiet", "--no-gif"]
    run += ["--refine", "--refine-end", 0, "--refine-iters", 1]
    assert run_cli.main([str(word) for word in run]) == 0
    assert len(list((place / "result" / "frames").iterdir())) == FRAMES
    assert (place / "result" / "animation.mp4").exists() and not (place / "result" / "animation.gif").exists()
    report = json.loads((place / "result" / "run.json").read_text())
    assert report["warnings"] == [
        f"{place}/case has no identity.npy: the identity is made from the reference, by networks in {models}.",
        not_glintr(place),
    ]


def test_the_case_gets_the_driving_videos_audio(place):
    """Five frames from the second on, so the clicks at whole half seconds come 0.2 seconds earlier."""
    video_with_audio(place / "dance.mp4", FRAMES, 5)
    case = prepared(place, "--driving", place / "dance.mp4", "--frames", "1:6")
    assert case["audio"] == "audio.flac" and case["fps"] == 5
    samples = np.concatenate(list(read_audio(place / "case" / "audio.flac", 0, 9)))
    assert len(samples) == RATE and heard(samples, RATE) == [0.3, 0.8]
    assert prepared(place, "--overwrite")["audio"] is None  # a folder of frames has none
    assert not (place / "case" / "audio.flac").exists()
