"""What sa-prepare says of a photo, a video, networks or a flag that it cannot use; nothing is added or changed."""

import errno
import os
from pathlib import Path

import av
import numpy as np
import pytest
from command_lines import MAINS, fails
from filelock import FileLock
from PIL import Image
from prepare_data import (
    constant_network,
    face_detector,
    face_recogniser,
    golden_file,
    person,
    picture_file,
    pose_networks,
    write_keypoints,
)
from spoiling import Row, Spoil, all_of, check, each, write, write_image

from sa.runtime.prepare import preparation
from sa.runtime.prepare.draw import rendering


@pytest.fixture
def place(tmp_path):
    """A photo, two driving frames, and a file that says where the person is in each."""
    picture_file(tmp_path / "photo.png", 128, 128)
    for i in range(2):
        picture_file(tmp_path / "frames" / f"f{i}.png", 128, 128, seed=i)
    write_keypoints(tmp_path / "poses.npz", [person(0.25)] * 2, person(0.25))
    return tmp_path


def without_keypoints(place: Path) -> list[str]:
    files = ["--reference", f"{place}/photo.png", "--driving", f"{place}/frames", "--out", f"{place}/out"]
    return [*files, "--size", "64x64"]


def with_keypoints(place: Path) -> list[str]:
    return [*without_keypoints(place), "--keypoints", f"{place}/poses.npz"]


def write_networks(place: Path) -> None:
    """Networks that always see the same person, and no face."""
    models = pose_networks(place / "models", golden_file("chain"))
    face_detector(models, None)
    face_recogniser(models)


def networks_without(name: str) -> Spoil:
    def spoil(place: Path) -> None:
        write_networks(place)
        (place / "models" / name).unlink()

    return spoil


def networks_with_another(name: str, gives: list[np.ndarray], takes: tuple = (1, 3, 64, 64)) -> Spoil:
    """One of the networks takes and gives arrays of other shapes."""

    def spoil(place: Path) -> None:
        write_networks(place)
        constant_network(place / "models" / name, list(takes), gives)

    return spoil


def keypoints_file(**arrays: np.ndarray) -> Spoil:
    return lambda place: np.savez(place / "poses.npz", **arrays)


def driving(frames: int = 2) -> np.ndarray:
    """[frames, 1, 133, 3]: one person, all points seen."""
    return np.stack([person(0.25)] * frames)[:, None]


def reference() -> np.ndarray:
    """[1, 133, 3]: one person, all points seen."""
    return person(0.25)[None]


def unseen(keypoints: np.ndarray, first: int = 0) -> np.ndarray:
    """The same, with scores too low from the first of these points on."""
    keypoints[..., first:, 2] = 0.2
    return keypoints


def sound_only(place: Path) -> None:
    with av.open(str(place / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())


FRAMES_FORM = (
    "--frames must be START:STOP:STEP, START less than STOP and STEP at least 1, such as 0:64:1 or 2.5s:8s, "
    "not {given}."
)

ROWS = [
    Row(
        "no photo",
        "{place}/absent.png cannot be read (No such file or directory); expected an image file, replace it.",
        flags=("--reference", "{place}/absent.png"),
    ),
    Row(
        "a photo that is none",
        "{place}/photo.png is not an image that can be read; expected a PNG, JPEG, WebP, BMP, TIFF or AVIF.",
        write("photo.png", "hello"),
    ),
    Row(
        "an animated photo",
        "{place}/photo.png holds 2 pictures, as animations do; expected a single one, save it as a PNG.",
        lambda place: Image.new("L", (64, 64)).save(
            place / "photo.png", save_all=True, append_images=[Image.new("L", (64, 64), 255)]
        ),
    ),
    Row(
        "an HEIC photo",
        "{place}/photo.png is an HEIC photo, which is not read; convert it to PNG or JPEG.",
        write("photo.png", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
    ),
    Row(
        "a photo too narrow",
        "the reference of 1x300 pixels has no part of the shape 4096x64: give a less narrow photo or another --size.",
        write_image("photo.png", 1, 300),
        ("--size", "4096x64"),
    ),
    Row(
        "no driving",
        "{place}/absent.mp4 does not exist: give --driving a video or a folder of frames.",
        flags=("--driving", "{place}/absent.mp4"),
    ),
    Row(
        "an empty folder",
        "{place}/none holds no image: give --driving a folder of frames as PNG, JPEG or the like.",
        lambda place: (place / "none").mkdir(),
        ("--driving", "{place}/none"),
    ),
    Row(
        "no video",
        "{place}/note.mp4 is not a video that can be read: give --driving a video or a folder of frames.",
        write("note.mp4", "hello"),
        ("--driving", "{place}/note.mp4"),
    ),
    Row(
        "an empty video",
        "{place}/empty.mp4 is not a video that can be read: give --driving a video or a folder of frames.",
        write("empty.mp4"),
        ("--driving", "{place}/empty.mp4"),
    ),
    Row(
        "sound only",
        "{place}/sound.mp4 holds only sound: give --driving a video or a folder of frames.",
        sound_only,
        ("--driving", "{place}/sound.mp4"),
    ),
    Row(
        "a damaged frame",
        "{place}/frames/f1.png is not an image that can be read; expected a PNG, JPEG, WebP, BMP, TIFF or AVIF.",
        write("frames/f1.png", "hello"),
    ),
    Row(
        "frames of two sizes",
        "f1.png of {place}/frames is 130x128, the frames before are 128x128: give driving frames of one size.",
        write_image("frames/f1.png", 130, 128),
    ),
    Row(
        "frames that are not there",
        "--frames 5::1 selects none of the 2 frames of {place}/frames: give others.",
        flags=("--frames", "5:"),
    ),
    Row(
        "frames backwards",
        "--frames must be START:STOP:STEP, START less than STOP and STEP at least 1, such as 0:64:1 or "
        "2.5s:8s, not 9:3.",
        flags=("--frames", "9:3"),
    ),
    Row(
        "frames before the first",
        FRAMES_FORM.format(given="-10:"),
        flags=("--frames", "-10:"),
    ),
    Row(
        "a step of none",
        "--frames must be START:STOP:STEP, START less than STOP and STEP at least 1, such as 0:64:1 or "
        "2.5s:8s, not 0:9:0.",
        flags=("--frames", "0:9:0"),
    ),
    Row(
        "an odd size",
        "--size must be WIDTHxHEIGHT, both multiples of 64 from 64 to 4096, such as 512x512 or 576x1024, or "
        "auto, not 100x100.",
        flags=("--size", "100x100"),
    ),
    Row(
        "a size of one number",
        "--size must be WIDTHxHEIGHT, both multiples of 64 from 64 to 4096, such as 512x512 or 576x1024, or "
        "auto, not 512.",
        flags=("--size", "512"),
    ),
    Row(
        "seconds of a folder of frames",
        "--frames 1s:2s:1 counts seconds, but a folder of frames has no times: give the frames' rate with --fps, or "
        "count frames.",
        flags=("--frames", "1s:2s"),
    ),
    Row(
        "frames and seconds at once",
        "--frames must be START:STOP:STEP, START less than STOP and STEP at least 1, such as 0:64:1 or 2.5s:8s, not "
        "3:2s.",
        flags=("--frames", "3:2s"),
    ),
    Row("a rate that is no number", "--fps must be 0.1 to 240, not nan.", flags=("--fps", "nan")),
    Row(
        "an anchor upstream",
        "--anchor is not in the published code, which --compat upstream repeats: give one of them.",
        flags=("--anchor", "hips", "--compat", "upstream"),
    ),
    Row(
        "a background that is no colour",
        "--background must be a colour such as white or #30c040, not 'sky'.",
        flags=("--background", "sky"),
    ),
    Row("a person by name", "--person must be largest, all, or a number from 0, not Anna.", flags=("--person", "Anna")),
    Row(
        "a person who is not there",
        "--person 3: no driving frame shows so many persons, at most 1, counted from 0.",
        flags=("--person", "3"),
    ),
    Row(
        "whom upstream does not follow",
        "--person chooses whom to follow, --compat upstream follows nobody: give one of them.",
        flags=("--person", "1", "--compat", "upstream"),
    ),
    Row(
        "keypoints that are not there",
        "{place}/absent.npz cannot be read (No such file or directory): "
        "give an .npz or JSON of a known estimator (docs/prepare.md lists them).",
        flags=("--keypoints", "{place}/absent.npz"),
    ),
    Row(
        "keypoints that are none",
        "{place}/poses.npz is neither an .npz nor JSON: "
        "give an .npz or JSON of a known estimator (docs/prepare.md lists them).",
        write("poses.npz", "hello"),
    ),
    Row(
        "keypoints without driving",
        "{place}/poses.npz has no array driving: --keypoints takes an .npz with driving [frames, persons, 133, 3] and "
        "reference [persons, 133, 3]: x and y in pixels, score.",
        keypoints_file(reference=reference()),
    ),
    Row(
        "keypoints without a reference",
        "{place}/poses.npz has no poses of the reference: give --reference-keypoints, or --models DIR.",
        keypoints_file(driving=driving()),
    ),
    Row(
        "17 keypoints",
        "{place}/poses.npz: driving is float64 [2, 1, 17, 3]: --keypoints takes an .npz with driving "
        "[frames, persons, 133, 3] and reference [persons, 133, 3]: x and y in pixels, score, as floats.",
        keypoints_file(driving=driving()[:, :, :17], reference=reference()),
    ),
    Row(
        "integers for keypoints",
        "{place}/poses.npz: driving is int64 [2, 1, 133, 3]: --keypoints takes an .npz with driving "
        "[frames, persons, 133, 3] and reference [persons, 133, 3]: x and y in pixels, score, as floats.",
        keypoints_file(driving=driving().astype(int), reference=reference()),
    ),
    Row(
        "keypoints beyond everything",
        "{place}/poses.npz: reference has points farther than 1e+05 pixels from the picture: "
        "give pixels, and NaN for what was not found.",
        keypoints_file(driving=driving(), reference=reference() * 1e6),
    ),
    Row(
        "keypoints of fewer frames",
        "{place}/poses.npz: driving is 1 long, but --driving has more frames: "
        "give one entry per frame of the whole source; --frames takes the same ones of both.",
        keypoints_file(driving=driving(1), reference=reference()),
    ),
    Row(
        "keypoints of more frames",
        "{place}/poses.npz: driving is 3 long, but {place}/frames has 2 frames: "
        "give one entry per frame of the whole source.",
        keypoints_file(driving=driving(3), reference=reference()),
    ),
    Row(
        "nobody in the reference",
        "{place}/photo.png shows no person: no body point was found in it; "
        "give --reference a photo of a person, best from head to foot.",
        keypoints_file(driving=driving(), reference=unseen(reference())),
    ),
    Row(
        "an empty reference",
        "{place}/photo.png shows no person: no body point was found in it; "
        "give --reference a photo of a person, best from head to foot.",
        keypoints_file(driving=driving(), reference=np.zeros((0, 133, 3))),
    ),
    Row(
        "nobody in the video",
        "no driving frame shows a person: give --driving a video of a person, best from head to foot.",
        keypoints_file(driving=unseen(driving()), reference=reference()),
    ),
    Row(
        "always two persons, as published",
        "no driving frame has exactly one person, which the published alignment needs: "
        "give another --driving, or run without --compat upstream.",
        keypoints_file(driving=np.concatenate([driving()] * 2, axis=1), reference=reference()),
        ("--compat", "upstream"),
    ),
    Row(
        "no folder of models",
        "{place}/absent is not a folder: give --models the folder with the networks' ONNX files.",
        flags=("--models", "{place}/absent"),
    ),
    Row(
        "no recogniser",
        "{place}/models holds no face recogniser: "
        "expected glintr100.onnx or another ONNX file that is one (ArcFace, [1, 3, 112, 112] to [1, 512]); "
        "it is part of insightface's model pack antelopev2; or go without, by --identity none.",
        networks_without("antelopev2/glintr100.onnx"),
        ("--models", "{place}/models"),
    ),
    Row(
        "no face detector, as published",
        "{place}/models holds no face detector: expected scrfd_10g_bnkps.onnx or another ONNX file that is one (SCRFD "
        "with five points per face, 9 outputs); it is part of insightface's model pack antelopev2.",
        networks_without("antelopev2/scrfd_10g_bnkps.onnx"),
        ("--models", "{place}/models", "--compat", "upstream"),
    ),
    Row(
        "a recogniser of the wrong kind",
        "{place}/models/antelopev2/glintr100.onnx is no face recogniser: "
        "expected ArcFace, [1, 3, 112, 112] to [1, 512], found [1, 3, 64, 64] to [1, 7]; "
        "it is part of insightface's model pack antelopev2.",
        networks_with_another("antelopev2/glintr100.onnx", [np.zeros((1, 7))]),
        ("--models", "{place}/models"),
    ),
    Row(
        "two recognisers",
        "{place}/models holds several networks that could be the face recogniser: "
        "antelopev2/a.onnx, antelopev2/b.onnx; keep one of them.",
        all_of(
            networks_without("antelopev2/glintr100.onnx"),
            lambda place: face_recogniser(place / "models", "a.onnx"),
            lambda place: face_recogniser(place / "models", "b.onnx"),
        ),
        ("--models", "{place}/models"),
    ),
    Row(
        "no face in the reference",
        "{place}/photo.png shows no face: neither the face detector nor the pose found one; "
        "give --reference a photo whose face is visible, or --identity none.",
        all_of(write_networks, keypoints_file(driving=driving(), reference=unseen(reference(), 23))),
        ("--models", "{place}/models"),
    ),
    Row(
        "a folder in the way",
        "{place}/out is not empty: give --out a new folder, or --overwrite to replace an earlier case.",
        write("out/notes.txt", "mine"),
    ),
    Row(
        "an earlier case in the way",
        "{place}/out is not empty: give --out a new folder, or --overwrite to replace an earlier case.",
        write("out/case.json", '{"project": "stableanimator-deploy"}'),
    ),
    Row(
        "no earlier case",
        "{place}/out holds no earlier case's case.json, so --overwrite leaves it: choose another --out.",
        write("out/case.json", '{"project": "another"}'),
        ("--overwrite",),
    ),
    Row("a file in the way", "{place}/out is a file: give --out a folder.", write("out", "mine")),
]


@each(ROWS)
def test_bad_input(row, place, capsys):
    check("sa-prepare", row, with_keypoints(place), place, 2, capsys)


# -- with poses from networks, not from --keypoints ------------------------------------------------------------

NETWORK_ROWS = [
    Row(
        "neither networks nor keypoints",
        "poses come from networks or from files: give --models DIR, or --keypoints and --reference-keypoints.",
    ),
    Row(
        "no person detector",
        "{place}/models holds no person detector: expected yolox_l.onnx or another ONNX file that is one (YOLOX, "
        "[1, 3, 640, 640] to [1, 8400, 85]); it lies in DWPose/ of StableAnimator's published weights.",
        networks_without("DWPose/yolox_l.onnx"),
        ("--models", "{place}/models"),
    ),
    Row(
        "no pose network",
        "{place}/models holds no pose network: expected dw-ll_ucoco_384.onnx or another ONNX file that is one (133 "
        "points by SimCC, [1, 3, 384, 288] to [1, 133, 576], [1, 133, 768]); "
        "it lies in DWPose/ of StableAnimator's published weights; any RTMPose or RTMW of 133 points will do.",
        networks_without("DWPose/dw-ll_ucoco_384.onnx"),
        ("--models", "{place}/models"),
    ),
    Row(
        "a pose network of 17 points",
        "{place}/models/DWPose/dw-ll_ucoco_384.onnx is no pose network: expected 133 points by SimCC, "
        "[1, 3, 384, 288] to [1, 133, 576], [1, 133, 768], found [1, 3, 256, 192] to [1, 17, 384], [1, 17, 512]; "
        "it lies in DWPose/ of StableAnimator's published weights; any RTMPose or RTMW of 133 points will do.",
        networks_with_another(
            "DWPose/dw-ll_ucoco_384.onnx", [np.zeros((1, 17, 384)), np.zeros((1, 17, 512))], (1, 3, 256, 192)
        ),
        ("--models", "{place}/models"),
    ),
    Row(
        "a detector that is none",
        "{place}/models/DWPose/yolox_l.onnx is no person detector: expected YOLOX, [1, 3, 640, 640] to [1, 8400, 85], "
        "found [1, 3, 640, 640] to [1, 84, 8400]; it lies in DWPose/ of StableAnimator's published weights.",
        networks_with_another("DWPose/yolox_l.onnx", [np.zeros((1, 84, 8400))], (1, 3, 640, 640)),
        ("--models", "{place}/models"),
    ),
    Row(
        "nobody detected in the reference",
        "{place}/photo.png shows no person: no body point was found in it; "
        "give --reference a photo of a person, best from head to foot.",
        networks_with_another("DWPose/yolox_l.onnx", [golden_file("yolox")["nothing/raw"]], (1, 3, 640, 640)),
        ("--models", "{place}/models"),
    ),
]


@each(NETWORK_ROWS)
def test_bad_networks(row, place, capsys):
    check("sa-prepare", row, without_keypoints(place), place, 2, capsys)


def test_a_file_that_is_no_network(place, capsys):
    """What stands in the brackets is ONNX Runtime's own."""
    write_networks(place)
    (place / "models" / "DWPose" / "yolox_l.onnx").write_bytes(b"hello")
    capsys.readouterr()
    assert MAINS["sa-prepare"]([*without_keypoints(place), "--models", f"{place}/models", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sa-prepare: {place}/models/DWPose/yolox_l.onnx cannot be loaded as an ONNX file (")
    assert said.endswith("): get it again; it lies in DWPose/ of StableAnimator's published weights.\n")
    assert said.count("\n") == 1


def test_cuda_without_cuda(place, capsys):
    message = "--device cuda needs onnxruntime-gpu in place of onnxruntime: install it, or take cpu."
    fails("sa-prepare", [*with_keypoints(place), "--device", "cuda"], place, 2, message, capsys)


# -- what stops it on the way ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "name"), [(rendering, "_save"), (preparation, "encode_mp4"), (np, "save")])
def test_a_full_disk_leaves_nothing(where, name, place, monkeypatch, capsys):
    def full(*of: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_networks(place)
    monkeypatch.setattr(where, name, full)
    message = f"{place}/out cannot be written (No space left on device): make room or choose another --out."
    fails("sa-prepare", [*with_keypoints(place), "--models", f"{place}/models"], place, 1, message, capsys)


def test_two_commands_do_not_write_the_same_case(place, capsys):
    (place / ".out.partial").mkdir()
    with FileLock(place / ".out.partial" / "lock"):
        message = f"another command is writing {place}/out: wait for it, or choose another --out."
        fails("sa-prepare", with_keypoints(place), place, 2, message, capsys)
