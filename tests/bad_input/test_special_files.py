"""Pipes, sockets and devices in the place of files: every command refuses them; opening one might wait forever."""

import contextlib
import os
import socket
from pathlib import Path
from threading import Timer

import pytest
from command_lines import CASE, copied, export_arguments, run_arguments
from prepare_data import golden_file, person, picture_file, pose_networks, write_keypoints
from spoiling import Row, Spoil, all_of, check, each, remove, write

TIMEOUT = 20  # seconds
SAID = "expected a regular file: put a regular file in its place."


def pipe(name: str) -> Spoil:
    """A pipe that nobody writes to. What waits for it is set free after a while, and then says something else."""

    def spoil(place: Path) -> None:
        path = place / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)
        timer = Timer(TIMEOUT, set_free, [path])
        timer.daemon = True
        timer.start()

    return spoil


def set_free(path: Path) -> None:
    with contextlib.suppress(OSError):  # nobody waits
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def listen(name: str) -> Spoil:
    """A socket, by its name alone: the whole path may be longer than one may be."""

    def spoil(place: Path) -> None:
        with contextlib.chdir(place), socket.socket(socket.AF_UNIX) as made:
            made.bind(name)

    return spoil


RUN_ROWS = [
    Row("reference", f"{{place}}/case/reference.png is a pipe, {SAID}", pipe("case/reference.png")),
    Row("pose", f"{{place}}/case/poses/frame_3.png is a pipe, {SAID}", pipe("case/poses/frame_3.png")),
    Row("identity", f"{{place}}/case/identity.npy is a pipe, {SAID}", pipe("case/identity.npy")),
    Row("--identity", f"{{place}}/me is a pipe, {SAID}", pipe("me"), ("--identity", "{place}/me")),
    Row("--noise", f"{{place}}/noise is a pipe, {SAID}", pipe("noise"), ("--noise", "{place}/noise")),
    Row(
        "a link to a pipe",
        f"{{place}}/link is a pipe, {SAID}",
        all_of(pipe("noise"), lambda place: (place / "link").symlink_to("noise")),
        ("--noise", "{place}/link"),
    ),
    Row("a socket", f"{{place}}/noise is a socket, {SAID}", listen("noise"), ("--noise", "{place}/noise")),
    Row("a device", f"/dev/zero is a device, {SAID}", flags=("--noise", "/dev/zero")),
    Row(
        "--models",
        f"{{place}}/models/glintr100.onnx is a pipe, {SAID}",
        all_of(remove("case/identity.npy"), pipe("models/glintr100.onnx")),
        ("--models", "{place}/models"),
    ),
    Row(
        "--out",
        "{place}/out is not empty and holds no earlier run's run.json: give --out a new or empty folder.",
        pipe("out/run.json"),
    ),
]


@each(RUN_ROWS)
def test_sa_run(row, engines, case_folder, tmp_path, capsys):
    (tmp_path / "engines").symlink_to(engines(CASE, "onnxruntime"))
    copied(tmp_path, case=case_folder(CASE))
    check("sa-run", row, run_arguments(tmp_path), tmp_path, 2, capsys)


@pytest.mark.parametrize("name", ["manifest.json", "unet.weights"])
def test_an_engine_set(name, engines, case_folder, tmp_path, capsys):
    """Whatever is not a file is missing."""
    copied(tmp_path, engines=engines(CASE, "onnxruntime"), case=case_folder(CASE))
    messages = {
        "manifest.json": "{place}/engines holds no manifest.json, so it is no engine set (or its export did not "
        "finish); make one with `sa-export --checkpoint CHECKPOINT --out {place}/engines`.",
        "unet.weights": "{place}/engines/unet.weights is listed in the manifest but missing; rebuild the engine set "
        "with `sa-export --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime --precision fp32 --height 64 "
        "--width 64 --tile-size 5 --decode-chunk 4`.",
    }
    row = Row(name, messages[name], pipe(f"engines/{name}"))
    check("sa-run", row, run_arguments(tmp_path), tmp_path, 3, capsys)


PREPARE_ROWS = [
    Row("photo", f"{{place}}/photo.png is a pipe, {SAID}", pipe("photo.png")),
    Row("driving", f"{{place}}/dance.mp4 is a pipe, {SAID}", pipe("dance.mp4"), ("--driving", "{place}/dance.mp4")),
    Row("driving frame", f"{{place}}/frames/f1.png is a pipe, {SAID}", pipe("frames/f1.png")),
    Row("keypoints", f"{{place}}/poses.npz is a pipe, {SAID}", pipe("poses.npz")),
    Row(
        "a network by its name",
        f"{{place}}/models/glintr100.onnx is a pipe, {SAID}",
        pipe("models/glintr100.onnx"),
        ("--models", "{place}/models"),
    ),
    Row(
        "a network by its signature",
        f"{{place}}/models/mine.onnx is a pipe, {SAID}",
        all_of(lambda place: pose_networks(place / "models", golden_file("chain")), pipe("models/mine.onnx")),
        ("--models", "{place}/models"),
    ),
    Row(
        "--out",
        "{place}/out holds no earlier case's case.json, so --overwrite leaves it: choose another --out.",
        pipe("out/case.json"),
        ("--overwrite",),
    ),
]


@each(PREPARE_ROWS)
def test_sa_prepare(row, tmp_path, capsys):
    picture_file(tmp_path / "photo.png", 128, 128)
    for i in range(2):
        picture_file(tmp_path / "frames" / f"f{i}.png", 128, 128, seed=i)
    write_keypoints(tmp_path / "poses.npz", [person(0.25)] * 2, person(0.25))
    files = ["--reference", f"{tmp_path}/photo.png", "--driving", f"{tmp_path}/frames", "--out", f"{tmp_path}/out"]
    arguments = [*files, "--size", "64x64", "--keypoints", f"{tmp_path}/poses.npz"]
    check("sa-prepare", row, arguments, tmp_path, 2, capsys)


EXPORT_ROWS = [
    Row(
        "config", f"{{place}}/checkpoint/SVD/vae/config.json is a pipe, {SAID}", pipe("checkpoint/SVD/vae/config.json")
    ),
    Row(
        "first config",
        f"{{place}}/checkpoint/SVD/unet/config.json is a pipe, {SAID}",
        pipe("checkpoint/SVD/unet/config.json"),
    ),
    Row(
        "weights",
        f"{{place}}/checkpoint/Animation/pose_net.safetensors is a pipe, {SAID}",
        pipe("checkpoint/Animation/pose_net.safetensors"),
    ),
    Row(
        "weights of another kind",
        f"{{place}}/checkpoint/Animation/pose_net.pth is a pipe, {SAID}",
        all_of(remove("checkpoint/Animation/pose_net.safetensors"), pipe("checkpoint/Animation/pose_net.pth")),
    ),
    Row(
        "--out",
        "{place}/out is not empty and is no engine set: give --out a new or empty folder, or an engine set to replace.",
        all_of(write("out/notes.txt"), pipe("out/manifest.json")),
    ),
]


@each(EXPORT_ROWS)
def test_sa_export(row, checkpoint, tmp_path, capsys):
    copied(tmp_path, checkpoint=checkpoint(CASE))
    check("sa-export", row, export_arguments(tmp_path), tmp_path, 2, capsys)
