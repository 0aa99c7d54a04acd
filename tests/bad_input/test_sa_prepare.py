"""Whatever is wrong with what sa-prepare is given: one exact sentence, the right exit code, nothing left behind."""

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
from test_bad_input import Row, both, rows, write

from sa.runtime.prepare import preparation
from sa.runtime.prepare.draw import rendering

TAKES = "an .npz with driving [frames, persons, 133, 3] and reference [persons, 133, 3]: x and y in pixels, score"
DWPOSE = "it lies in DWPose/ of StableAnimator's published weights"
ANTELOPE = "it is part of insightface's model pack antelopev2"
YOLOX = "YOLOX, [1, 3, 640, 640] to [1, 8400, 85]"
SIMCC = "133 points by SimCC, [1, 3, 384, 288] to [1, 133, 576], [1, 133, 768]"
ARCFACE = "ArcFace, [1, 3, 112, 112] to [1, 512]"
SCRFD = "SCRFD with five points per face, 9 outputs"
MODELS = ("--models", "{place}/models")


@pytest.fixture
def place(tmp_path):
    """A photo, two driving frames, where the person is in each, and models that see a person and a face."""
    picture_file(tmp_path / "photo.png", 128, 128)
    for i in range(2):
        picture_file(tmp_path / "frames" / f"f{i}.png", 128, 128, seed=i)
    write_keypoints(tmp_path / "poses.npz", [person(0.25)] * 2, person(0.25))
    return tmp_path


def arguments(place: Path) -> list[str]:
    files = {"--reference": "photo.png", "--driving": "frames", "--out": "out", "--keypoints": "poses.npz"}
    return [word for flag, name in files.items() for word in (flag, f"{place}/{name}")] + ["--size", "64x64"]


def networks(place: Path) -> None:
    models = pose_networks(place / "models", golden_file("chain"))
    face_detector(models, None)
    face_recogniser(models)


def without(name: str):
    def spoil(place: Path) -> None:
        networks(place)
        (place / "models" / name).unlink()

    return spoil


def wrong(name: str, gives: list[np.ndarray], takes: tuple = (1, 3, 64, 64)):
    def spoil(place: Path) -> None:
        networks(place)
        constant_network(place / "models" / name, list(takes), gives)

    return spoil


def keypoints(**arrays: np.ndarray):
    return lambda place: np.savez(place / "poses.npz", **arrays)


def people(count: int = 2) -> np.ndarray:
    """[count, 1, 133, 3]."""
    return np.stack([person(0.25)] * count)[:, None]


def hidden(array: np.ndarray) -> np.ndarray:
    array[..., 2] = 0.2
    return array


def sound_only(place: Path) -> None:
    with av.open(str(place / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())


def photo(width: int, height: int):
    return lambda place: Image.new("RGB", (width, height)).save(place / "photo.png")


def earlier_case(place: Path) -> None:
    write("out/case.json", '{"project": "another"}')(place)


TABLE = [
    Row("no photo", "{place}/absent.png cannot be read (No such file or directory); expected an image file, "
        "replace it.",
        flags=("--reference", "{place}/absent.png")),
    Row("a photo that is none", "{place}/photo.png is not an image that can be read; expected a PNG, JPEG, WebP "
        "or BMP.",
        write("photo.png", "hello")),
    Row("a photo too narrow",
        "the reference of 1x300 pixels has no part of the shape 4096x64: give a less narrow photo or another --size.",
        photo(1, 300), ("--size", "4096x64")),
    Row("no driving", "{place}/absent.mp4 does not exist: give --driving a video or a folder of frames.",
        flags=("--driving", "{place}/absent.mp4")),
    Row("an empty folder", "{place}/none holds no image: give --driving a folder of PNG, JPEG, WebP or BMP frames.",
        lambda place: (place / "none").mkdir(), ("--driving", "{place}/none")),
    Row("no video", "{place}/note.mp4 is not a video that can be read: give --driving a video or a folder of frames.",
        write("note.mp4", "hello"), ("--driving", "{place}/note.mp4")),
    Row("an empty video", "{place}/empty.mp4 is not a video that can be read: give --driving a video or a "
        "folder of frames.",
        write("empty.mp4"), ("--driving", "{place}/empty.mp4")),
    Row("sound only", "{place}/sound.mp4 holds only sound: give --driving a video or a folder of frames.",
        sound_only, ("--driving", "{place}/sound.mp4")),
    Row("a damaged frame", "{place}/frames/f1.png is not an image that can be read; expected a PNG, JPEG, WebP or BMP.",
        write("frames/f1.png", "hello")),
    Row("frames of two sizes",
        "f1.png of {place}/frames is 130x128, the frames before are 128x128: give driving frames of one size.",
        lambda place: picture_file(place / "frames" / "f1.png", 130, 128) and None),
    Row("frames that are not there", "--frames 5::1 selects none of the 2 frames of {place}/frames: give others.",
        flags=("--frames", "5:")),
    Row("frames backwards",
        "--frames must be START:STOP:STEP, START less than STOP and STEP at least 1, such as 0:64:1, not 9:3.",
        flags=("--frames", "9:3")),
    Row("a step of none",
        "--frames must be START:STOP:STEP, START less than STOP and STEP at least 1, such as 0:64:1, not 0:9:0.",
        flags=("--frames", "0:9:0")),
    Row("an odd size",
        "--size must be WIDTHxHEIGHT, both multiples of 64 from 64 to 4096, such as 512x512 or 576x1024, not 100x100.",
        flags=("--size", "100x100")),
    Row("a size of one number",
        "--size must be WIDTHxHEIGHT, both multiples of 64 from 64 to 4096, such as 512x512 or 576x1024, not 512.",
        flags=("--size", "512")),
    Row("a person by name", "--person must be largest, all, or a number from 0, not Anna.", flags=("--person", "Anna")),
    Row("a person who is not there", "--person 3: no driving frame shows so many persons, at most 1, counted from 0.",
        flags=("--person", "3")),
    Row("whom upstream does not follow",
        "--person chooses whom to follow, --compat upstream follows nobody: give one of them.",
        flags=("--person", "1", "--compat", "upstream")),
    Row("keypoints that are not there",
        f"{{place}}/absent.npz cannot be read (No such file or directory): --keypoints takes {TAKES}.",
        flags=("--keypoints", "{place}/absent.npz")),
    Row("keypoints that are none", f"{{place}}/poses.npz is not a whole .npz of plain arrays: --keypoints takes "
        f"{TAKES}.",
        write("poses.npz", "hello")),
    Row("keypoints without driving", f"{{place}}/poses.npz has no array driving: --keypoints takes {TAKES}.",
        keypoints(reference=people(1)[0])),
    Row("keypoints without a reference",
        "{place}/poses.npz has no array reference: add the reference's keypoints, or give --models DIR.",
        keypoints(driving=people())),
    Row("17 keypoints",
        f"{{place}}/poses.npz: driving is float64 [2, 1, 17, 3]: --keypoints takes {TAKES}, as floats.",
        keypoints(driving=people()[:, :, :17], reference=people(1)[0])),
    Row("integers for keypoints",
        f"{{place}}/poses.npz: driving is int64 [2, 1, 133, 3]: --keypoints takes {TAKES}, as floats.",
        keypoints(driving=people().astype(int), reference=people(1)[0])),
    Row("keypoints beyond everything",
        "{place}/poses.npz: reference has points farther than 1e+05 pixels from the picture: "
        "give pixels, and NaN for what was not found.",
        keypoints(driving=people(), reference=people(1)[0] * 1e6)),
    Row("keypoints of fewer frames",
        "{place}/poses.npz: driving is 1 long, but --driving has more frames: give one entry per frame of the whole "
        "source; "
        "--frames takes the same ones of both.",
        keypoints(driving=people(1), reference=people(1)[0])),
    Row("keypoints of more frames",
        "{place}/poses.npz: driving is 3 long, but {place}/frames has 2 frames: give one entry per frame of the "
        "whole source.",
        keypoints(driving=people(3), reference=people(1)[0])),
    Row("nobody in the reference",
        "{place}/photo.png shows no person: no body point was found in it; give --reference a photo of a person, "
        "best from head to foot.",
        keypoints(driving=people(), reference=hidden(people(1)[0]))),
    Row("an empty reference",
        "{place}/photo.png shows no person: no body point was found in it; give --reference a photo of a person, "
        "best from head to foot.",
        keypoints(driving=people(), reference=np.zeros((0, 133, 3)))),
    Row("nobody in the video",
        "no driving frame shows a person: give --driving a video of a person, best from head to foot.",
        keypoints(driving=hidden(people()), reference=people(1)[0])),
    Row("always two persons, as published",
        "no driving frame has exactly one person, which the published alignment needs: "
        "give another --driving, or run without --compat upstream.",
        keypoints(driving=np.concatenate([people()] * 2, axis=1), reference=people(1)[0]), ("--compat", "upstream")),
    Row("no folder of models", "{place}/absent is not a folder: give --models the folder with the networks' "
        "ONNX files.",
        flags=("--models", "{place}/absent")),
    Row("no recogniser",
        f"{{place}}/models holds no face recogniser: expected glintr100.onnx or another ONNX file that is one "
        f"({ARCFACE}); "
        f"{ANTELOPE}; any ArcFace of 512 features will do.",
        without("antelopev2/glintr100.onnx"), MODELS),
    Row("no face detector, as published",
        f"{{place}}/models holds no face detector: expected scrfd_10g_bnkps.onnx or another ONNX file that is "
        f"one ({SCRFD}); "
        f"{ANTELOPE}.",
        without("antelopev2/scrfd_10g_bnkps.onnx"), (*MODELS, "--compat", "upstream")),
    Row("a recogniser of the wrong kind",
        "{place}/models/antelopev2/glintr100.onnx is no face recogniser: "
        f"expected {ARCFACE}, found [1, 3, 64, 64] to [1, 7]; {ANTELOPE}; any ArcFace of 512 features will do.",
        wrong("antelopev2/glintr100.onnx", [np.zeros((1, 7))]), MODELS),
    Row("two recognisers",
        "{place}/models holds several networks that could be the face recogniser: antelopev2/a.onnx, "
        "antelopev2/b.onnx; "
        "keep one of them.",
        both(without("antelopev2/glintr100.onnx"), lambda place: face_recogniser(place / "models", "a.onnx") and None,
             lambda place: face_recogniser(place / "models", "b.onnx") and None), MODELS),
    Row("no face in the reference",
        "{place}/photo.png shows no face: neither the face detector nor the pose found one; "
        "give --reference a photo whose face is visible.",
        both(networks, keypoints(driving=people(), reference=np.concatenate(
            [people(1)[0][:, :23], hidden(people(1)[0][:, 23:])], axis=1))), MODELS),
    Row("a folder in the way",
        "{place}/out is not empty: give --out a new folder, or --overwrite to replace an earlier case.",
        write("out/notes.txt", "mine")),
    Row("an earlier case in the way",
        "{place}/out is not empty: give --out a new folder, or --overwrite to replace an earlier case.",
        write("out/case.json", '{"project": "stableanimator-deploy"}')),
    Row("no earlier case",
        "{place}/out holds no earlier case's case.json, so --overwrite leaves it: choose another --out.",
        earlier_case, ("--overwrite",)),
    Row("a file in the way", "{place}/out is a file: give --out a folder.", write("out", "mine")),
]  # fmt: skip


@rows(TABLE)
def test_bad_input(row, place, capsys):
    row.spoil(place)
    message = row.message.format(place=place)
    fails("sa-prepare", [*arguments(place), *row.flags_in(place)], place, 2, message, capsys)


# -- with the networks' poses, where --keypoints would be ------------------------------------------------------

NETWORKS = [
    Row("neither networks nor keypoints",
        "poses come from networks or from a file: give --models DIR, or --keypoints FILE.npz."),
    Row("no person detector",
        f"{{place}}/models holds no person detector: expected yolox_l.onnx or another ONNX file that is one ({YOLOX}); "
        f"{DWPOSE}.",
        without("DWPose/yolox_l.onnx"), MODELS),
    Row("no pose network",
        "{place}/models holds no pose network: expected dw-ll_ucoco_384.onnx or another ONNX file that is one "
        f"({SIMCC}); {DWPOSE}; any RTMPose or RTMW of 133 points will do.",
        without("DWPose/dw-ll_ucoco_384.onnx"), MODELS),
    Row("a pose network of 17 points",
        "{place}/models/DWPose/dw-ll_ucoco_384.onnx is no pose network: "
        f"expected {SIMCC}, found [1, 3, 256, 192] to [1, 17, 384], [1, 17, 512]; {DWPOSE}; "
        "any RTMPose or RTMW of 133 points will do.",
        wrong("DWPose/dw-ll_ucoco_384.onnx", [np.zeros((1, 17, 384)), np.zeros((1, 17, 512))], (1, 3, 256, 192)),
        MODELS),
    Row("a detector that is none",
        "{place}/models/DWPose/yolox_l.onnx is no person detector: "
        f"expected {YOLOX}, found [1, 3, 640, 640] to [1, 84, 8400]; {DWPOSE}.",
        wrong("DWPose/yolox_l.onnx", [np.zeros((1, 84, 8400))], (1, 3, 640, 640)), MODELS),
    Row("nobody detected in the reference",
        "{place}/photo.png shows no person: no body point was found in it; give --reference a photo of a person, "
        "best from head to foot.",
        wrong("DWPose/yolox_l.onnx", [golden_file("yolox")["nothing/raw"]], (1, 3, 640, 640)), MODELS),
]  # fmt: skip


def without_keypoints(place: Path) -> list[str]:
    words = arguments(place)
    at = words.index("--keypoints")
    return words[:at] + words[at + 2 :]


@rows(NETWORKS)
def test_bad_networks(row, place, capsys):
    row.spoil(place)
    message = row.message.format(place=place)
    fails("sa-prepare", [*without_keypoints(place), *row.flags_in(place)], place, 2, message, capsys)


def test_a_file_that_is_no_network(place, capsys):
    networks(place)
    (place / "models" / "DWPose" / "yolox_l.onnx").write_bytes(b"hello")
    capsys.readouterr()
    assert MAINS["sa-prepare"]([*without_keypoints(place), "--models", f"{place}/models", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sa-prepare: {place}/models/DWPose/yolox_l.onnx cannot be loaded as an ONNX file (")
    assert said.endswith(f"): get it again; {DWPOSE}.\n") and said.count("\n") == 1


def test_cuda_without_cuda(place, capsys):
    message = "--device cuda needs onnxruntime-gpu in place of onnxruntime: install it, or take cpu."
    fails("sa-prepare", [*arguments(place), "--device", "cuda"], place, 2, message, capsys)


# -- a full disk -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "name"), [(rendering, "_save"), (preparation, "encode_mp4"), (np, "save")])
def test_a_full_disk_leaves_nothing(where, name, place, monkeypatch, capsys):
    def full(*of: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    networks(place)
    monkeypatch.setattr(where, name, full)
    message = f"{place}/out cannot be written (No space left on device): make room or choose another --out."
    fails("sa-prepare", [*arguments(place), "--models", f"{place}/models"], place, 1, message, capsys)


def test_two_commands_do_not_write_the_same_case(place, capsys):
    (place / ".out.partial").mkdir()
    with FileLock(place / ".out.partial" / "lock"):
        message = f"another command is writing {place}/out: wait for it, or choose another --out."
        fails("sa-prepare", arguments(place), place, 2, message, capsys)
