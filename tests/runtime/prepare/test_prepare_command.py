"""sa-prepare from its files to a case, and that case through sa-run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
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
    golden_file,
    person,
    picture_file,
    pose_networks,
    recorded_keypoints,
    write_keypoints,
)

from sa.runtime import cli as run_cli
from sa.runtime.case.audio import RATE, read_audio
from sa.runtime.case.case import Case
from sa.runtime.case.notes import without_padding
from sa.runtime.errors import import_failed
from sa.runtime.prepare import preparation
from sa.runtime.prepare.cli import main
from sa.runtime.prepare.draw.reduced import draw_reduced
from sa.runtime.prepare.estimate.estimator import PoseEstimator
from sa.runtime.prepare.pose_log import PoseLog
from sa.runtime.prepare.whole_body import to_pose

FRAMES = 6
FILES = {"reference.png", "poses", "faces", "reference_mask.png", "case.json", "keypoints.npz", "preview.mp4"}


@pytest.fixture
def place(tmp_path) -> Path:
    """A photo of 128x128 pixels, six driving frames of 256x128 pixels, and where the person is in each."""
    picture_file(tmp_path / "photo.png", 128, 128)
    for i in range(FRAMES):
        picture_file(tmp_path / "frames" / f"f{i}.png", 256, 128, seed=i)
    write_keypoints(tmp_path / "poses.npz", [person(0.2, 40 + 4 * i, 10) for i in range(FRAMES)], person(0.25))
    return tmp_path


def arguments(place: Path, *further: object) -> list[str]:
    files = ["--reference", f"{place}/photo.png", "--driving", f"{place}/frames", "--out", f"{place}/case"]
    return [*files, "--keypoints", f"{place}/poses.npz", "--size", "64x64", *map(str, further)]


def prepared(place: Path, *further: object) -> dict:
    anew = list(map(str, further))
    assert main([*replaced(arguments(place, "--quiet"), anew), *anew]) == 0
    return json.loads((place / "case" / "case.json").read_text())


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def contents(folder: Path) -> dict[str, bytes]:
    """All but case.json, which has times."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.[pn][np][gy]")}


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


# -- networks --------------------------------------------------------------------------------------------------


def with_networks(place: Path, *, face: bool = True) -> list[str]:
    """The golden chain's picture as photo and driving frames, networks that see its person, and a face."""
    arrays = golden_file("chain")
    for name in ("photo.png", "frames/f0.png", "frames/f1.png"):
        Image.fromarray(arrays["image"]).save(place / name)
    for i in range(2, FRAMES):
        (place / "frames" / f"f{i}.png").unlink(missing_ok=True)
    models = pose_networks(place / "models", arrays)
    face_recogniser(models)
    points = np.array([[300.0, 200], [340, 200], [320, 220], [305, 245], [335, 245]])
    face_detector(models, points if face else None)
    flags = {"--reference": "photo.png", "--driving": "frames", "--out": "case", "--models": "models"}
    return [word for flag, name in flags.items() for word in (flag, f"{place}/{name}")] + [
        "--size",
        "192x256",
        "--quiet",
    ]


def not_glintr(place: Path) -> str:
    """What is said of the stand-in for the recogniser."""
    return (
        f"{place}/models/antelopev2/glintr100.onnx is not glintr100 as published: the face encoder knows its "
        "embeddings alone, those of another recogniser give another face."
    )


def test_networks_make_everything(place):
    assert main(with_networks(place)) == 0
    case = json.loads((place / "case" / "case.json").read_text())
    assert {path.name for path in (place / "case").iterdir()} == FILES | {"identity.npy"}
    identity = np.load(place / "case" / "identity.npy")
    assert identity.shape == (512,) and identity.dtype == np.float32 and identity.any()
    assert case["reference"]["face_from"] == "face detector" and len(case["sources"]["models"]) == 4
    np.testing.assert_allclose(case["alignment"]["scale"], 1, rtol=1e-9)
    assert case["warnings"] == [not_glintr(place)]
    mask = pixels(place / "case" / "reference_mask.png") == 255
    # the photo of 300x400 pixels was seen at 480x640, and its reference has 192x256
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert [columns[0], rows[0], columns[-1], rows[-1]] == [int(x * 0.4) for x in (290, 190, 350, 255)]


def test_without_a_detected_face_the_poses_points_serve(place):
    assert main(with_networks(place, face=False)) == 0
    case = json.loads((place / "case" / "case.json").read_text())
    assert case["reference"]["face_from"] == "the pose's face points"
    assert case["warnings"] == [
        not_glintr(place),
        "the face detector found no face: reference_mask.png and identity.npy were made from the pose's face points "
        "instead.",
    ]
    assert np.load(place / "case" / "identity.npy").any()
    assert main([*with_networks(place, face=False), "--identity", "none", "--overwrite"]) == 0
    assert json.loads((place / "case" / "case.json").read_text())["warnings"] == [
        "the face detector found no face: reference_mask.png was made from the pose's face points instead.",
        "--identity none: no identity.npy was made, so the person's face will not be kept.",
    ]


def test_without_a_recogniser_there_is_no_identity_but_a_case(place):
    flags = [*with_networks(place), "--identity", "none"]
    (place / "models" / "antelopev2" / "glintr100.onnx").unlink()
    assert main(flags) == 0
    case = json.loads((place / "case" / "case.json").read_text())
    assert not (place / "case" / "identity.npy").exists() and (place / "case" / "reference_mask.png").exists()
    assert case["warnings"] == ["--identity none: no identity.npy was made, so the person's face will not be kept."]
    assert case["parameters"]["identity"] == "none" and case["reference"]["face_from"] == "face detector"


def test_a_face_at_the_back_of_a_head_is_none(place, capsys):
    """The networks see a face there, and face points; the pose has neither nose nor eyes."""
    flags = [word for word in with_networks(place) if word != "--quiet"]
    back = recorded_keypoints("p1_full_512")[0][:1] * (300 / 512, 400 / 512, 1)
    back[..., 2] = 0.9
    back[..., :3, 2] = 0.1
    np.savez(place / "poses.npz", driving=np.stack([back, back]), reference=back)
    flags += ["--keypoints", f"{place}/poses.npz"]
    assert main(flags) == 2
    assert "shows the person from behind, as its pose has shoulders, but neither nose" in capsys.readouterr().err
    assert main([*flags, "--identity", "none"]) == 0  # as advised
    assert not {"identity.npy", "reference_mask.png"} & {path.name for path in (place / "case").iterdir()}


def test_upstreams_masks_identity_and_alignment(place):
    assert main([*with_networks(place), "--compat", "upstream"]) == 0
    case = json.loads((place / "case" / "case.json").read_text())
    assert case["alignment"]["method"] == "published" and case["parameters"]["compat"] == "upstream"
    mask = pixels(place / "case" / "faces" / "frame_0.png")
    assert mask.shape == (400, 300)  # of the driving frame
    assert mask[int(220 / 1.6), int(320 / 1.6)] == 255 and not mask[:50].any()
    identity = np.load(place / "case" / "identity.npy")
    assert main([*with_networks(place), "--overwrite"]) == 0
    assert np.abs(identity - np.load(place / "case" / "identity.npy")).max() > 1e-3  # swapped channels
    assert main([*with_networks(place, face=False), "--compat", "upstream", "--overwrite"]) == 0
    case = json.loads((place / "case" / "case.json").read_text())
    assert not np.load(place / "case" / "identity.npy").any() and "identity.npy is zeros" in case["warnings"][1]
    assert pixels(place / "case" / "reference_mask.png").min() == 255
    assert pixels(place / "case" / "faces" / "frame_1.png").min() == 255 and case["frames_without_face"] == [0, 1]


# -- keypoints kept, and taken again ---------------------------------------------------------------------------


def test_a_case_keeps_its_poses_and_another_takes_them(place):
    """For the same photo with its pose; for another photo, whose pose then must come from elsewhere."""
    driving = [person(0.2, 40 + 4 * i, 10) for i in range(FRAMES)]
    driving[3] = np.full((133, 3), np.nan)
    write_keypoints(place / "poses.npz", driving, person(0.25))
    prepared(place, "--frames", "1:6")
    first = contents(place / "case")
    with np.load(place / "case" / "keypoints.npz") as kept:
        assert kept["driving"].shape == (5, 1, 133, 3) and kept["frames"].tolist() == [1, 2, 3, 4, 5]
        np.testing.assert_array_equal(kept["driving"][0, 0], driving[1])
        assert np.isnan(kept["driving"][2]).all()
        assert kept["size"].tolist() == [256, 128] and kept["reference_size"].tolist() == [128, 128]
    from_case = ["--quiet", "--frames", "1:6", "--keypoints", f"{place}/case", "--out", f"{place}/again"]
    again = [*replaced(arguments(place), from_case), *from_case]
    assert main(again) == 0
    assert contents(place / "again") == first
    picture_file(place / "other.png", 128, 128, seed=9)
    other = ["--reference", f"{place}/other.png", "--overwrite"]
    again = [*replaced(again, other), *other]
    assert main(again) == 2  # another photo, without its pose
    np.savez(place / "other.npz", reference=person(0.25)[None])
    assert main([*again, "--reference-keypoints", f"{place}/other.npz"]) == 0


def test_frames_that_the_kept_poses_lack_are_named(place, capsys):
    prepared(place, "--frames", "0:6:2")
    again = arguments(place, "--quiet", "--overwrite", "--keypoints", place / "case", "--out", place / "again")
    assert main([*again, "--frames", "2:5:2"]) == 0
    capsys.readouterr()
    assert main([*again, "--frames", "0:3"]) == 2
    assert "has no entry for frame 1, as it was made with other --frames" in capsys.readouterr().err


def test_several_photos_are_estimated_once(place, monkeypatch, capsys):
    """And a command that was interrupted goes on with the cases that are missing."""
    flags = with_networks(place)
    Image.open(place / "photo.png").save(place / "second.png", compress_level=1)  # other bytes
    flags += ["--reference", str(place / "second.png")]
    seen = []
    estimate = PoseEstimator.__call__
    monkeypatch.setattr(PoseEstimator, "__call__", lambda self, picture: seen.append(1) or estimate(self, picture))
    assert main(flags) == 0
    assert len(seen) == 2 + 2  # two photos, and two frames once
    first, second = (contents(place / "case" / name) for name in ("photo", "second"))
    assert first == second and len(first) == 2 + 2 + 3
    assert main(flags) == 0 and len(seen) == 4  # made already
    shutil.rmtree(place / "case" / "second")
    assert main(flags) == 0 and len(seen) == 5
    assert contents(place / "case" / "second") == second
    by_time = [*replaced(flags, ["--out"]), "--out", str(place / "timed"), "--fps", "10", "--frames", "0.1s:0.2s"]
    assert main(by_time) == 0 and (place / "timed" / "second").is_dir()
    assert main([*by_time, "--keypoints", str(place / "case" / "photo")]) == 2  # made of other poses
    assert "timed/photo is a case that was made with other --keypoints: give --overwrite" in capsys.readouterr().err
    (place / "more").mkdir()
    shutil.copy(place / "photo.png", place / "more" / "photo.png")
    assert main([*flags, "--reference", str(place / "more" / "photo.png")]) == 2
    assert "would both become" in capsys.readouterr().err


def test_cases_made_with_other_networks_or_flags_are_told(place, capsys):
    """Of several photos, what an earlier command made is kept only if this one would make the same."""
    flags = with_networks(place)
    Image.open(place / "photo.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(place / "second.png")
    flags += ["--reference", str(place / "second.png"), "--frames", "0:1"]
    assert main(flags) == 0
    (place / "models").rename(place / "same")  # the same networks elsewhere
    same = [*replaced(flags, ["--models"]), "--models", str(place / "same")]
    made = (place / "case" / "second" / "case.json").stat().st_mtime_ns
    assert main(same) == 0 and (place / "case" / "second" / "case.json").stat().st_mtime_ns == made
    capsys.readouterr()
    for other in ("--identity", "none"), ("--anchor", "hips"):
        assert main([*same, *other]) == 2
        assert "case/photo is a case that was made with other flags" in capsys.readouterr().err
    for source, cause in (
        (place / "second.png", "case/second is a case that was made with another photo"),
        (min((place / "frames").iterdir()), "case/photo is a case that was made with another --driving"),
    ):
        kept = source.read_bytes()
        Image.new("RGB", (128, 128), "red").save(source)
        assert main(same) == 2 and cause in capsys.readouterr().err
        source.write_bytes(kept)
    (place / "same" / "antelopev2" / "scrfd_10g_bnkps.onnx").unlink()
    assert main(same) == 2
    assert "case/photo is a case that was made with other --models" in capsys.readouterr().err
    assert main([*same, "--overwrite"]) == 0 and main(same) == 0
    for photo in ("photo", "second"):
        case = json.loads((place / "case" / photo / "case.json").read_text())
        assert len(case["sources"]["models"]) == 3 and case["reference"]["face_from"] == "the pose's face points"


# -- interrupted, killed, gone on with -------------------------------------------------------------------------


class Killed(BaseException):
    """Ends a command as a kill would: nothing is cleaned up."""


def stop_after(monkeypatch: pytest.MonkeyPatch, where: object, name: str, calls: int, error: BaseException) -> None:
    original, left = getattr(where, name), iter(range(calls))

    def stopping(*of: object, **named: object) -> object:
        if next(left, None) is None:
            raise error
        return original(*of, **named)

    monkeypatch.setattr(where, name, stopping)


@pytest.mark.parametrize(("where", "name"), [(PoseLog, "append"), (preparation.Renderer, "_render")])
def test_an_interrupted_command_goes_on(place, monkeypatch, capsys, where, name):
    prepared(place)
    expected = contents(place / "case")
    subprocess.run(["rm", "-r", place / "case"], check=True)
    with monkeypatch.context() as patch:
        stop_after(patch, where, name, 3, KeyboardInterrupt())
        assert main(arguments(place, "--quiet")) == 130
    said = capsys.readouterr().err
    assert said == (f"sa-prepare: interrupted; the same command goes on from here, or remove {place}/.case.partial.\n")
    assert not (place / "case").exists()
    calls = []
    original = getattr(where, name)
    monkeypatch.setattr(where, name, lambda *of: calls.append(of) or original(*of))
    if name == "append":
        prepared(place)
        assert len(calls) == FRAMES - 3
    else:
        drawn = []
        draw = sys.modules["sa.runtime.prepare.draw.rendering"].draw_reduced
        monkeypatch.setattr("sa.runtime.prepare.draw.rendering.draw_reduced", lambda *of: drawn.append(of) or draw(*of))
        prepared(place)
        assert len(drawn) == FRAMES - 3
    assert contents(place / "case") == expected
    assert not list(place.glob(".case*"))


def test_another_commands_leftovers_are_not_used(place, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, PoseLog, "append", 3, KeyboardInterrupt())
        assert main(arguments(place, "--quiet")) == 130
    write_keypoints(place / "poses.npz", [person(0.1, 40, 10) for i in range(FRAMES)], person(0.25))
    case = prepared(place)
    np.testing.assert_allclose(case["alignment"]["scale"][1], 2.5, rtol=1e-6)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_command_goes_on(place, number):
    command = [sys.executable, "-m", "sa.runtime.prepare.cli", *arguments(place, "--quiet")]
    slow = "import time; from sa.runtime.prepare.draw import rendering as r; d = r.draw_reduced\n"
    slow += "r.draw_reduced = lambda *of: time.sleep(0.3) or d(*of)\n"
    slow += "import sys; from sa.runtime.prepare.cli import main; raise SystemExit(main(sys.argv[1:]))"
    running = subprocess.Popen([sys.executable, "-c", slow, *command[3:]], stderr=subprocess.DEVNULL)
    poses = place / ".case.partial" / "case" / "poses"
    for _ in range(600):
        if all((poses / f"frame_{i}.png").exists() for i in (0, 1)):  # threads draw, in any order
            break
        time.sleep(0.05)
    running.send_signal(number)
    assert running.wait(30) == (-9 if number == signal.SIGKILL else 130)
    assert not (place / "case").exists()
    early = (poses / "frame_0.png").stat()
    prepared(place)
    late = (place / "case" / "poses" / "frame_0.png").stat()
    assert (early.st_ino, early.st_mtime_ns) == (late.st_ino, late.st_mtime_ns)
    assert len(list((place / "case" / "poses").iterdir())) == FRAMES


def test_a_record_cut_short_is_taken_off(tmp_path):
    numbers = np.random.default_rng(0)
    frames = [numbers.normal(size=(i, 133, 3)) for i in range(4)]
    faces = [numbers.normal(size=(i, 512)).astype(np.float32) for i in range(4)]
    glances = [np.full((18, 32, 3), i, np.uint8) for i in range(4)]
    with PoseLog(tmp_path / "log") as log:
        for record in zip(frames, glances, faces, strict=True):
            log.append((7, 5), *record)
    os.truncate(tmp_path / "log", (tmp_path / "log").stat().st_size - 1)
    with PoseLog(tmp_path / "log") as log:
        assert log.frames == 3 and log.size == (7, 5) and log.persons == 2
        log.append((7, 5), frames[3], glances[3], faces[3])
    with PoseLog(tmp_path / "log") as log:
        for found, *expected in zip(log.sightings(), frames, faces, strict=True):
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(np.stack(list(log.glances())), np.stack(glances))


# -- and on to sa-run ------------------------------------------------------------------------------------------


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
