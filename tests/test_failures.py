"""When something goes wrong in the middle of the work, nothing new is left behind, and what was there is unchanged."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from command_lines import CASE, MAINS, copied, everything_in, export_arguments, fails, nothing_changes_in, run_arguments
from PIL import Image

from sa.export import certificates, certified_engine, output
from sa.export.targets.paddle.target import PaddleTarget
from sa.runtime import PROJECT
from sa.runtime.case.case import Case, check_case
from sa.runtime.case.images import read_image
from sa.runtime.contract import Shapes
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import EngineSetError
from sa.runtime.output import video
from sa.runtime.output.staging import staged
from sa.runtime.pipeline import run
from sa.runtime.sampling import conditioning, denoiser

INTERRUPTED = "interrupted; nothing was written."
FULL = "{out} cannot be written (No space left on device): make room or choose another --out."

# A function of each stage of a run, in their order.
STAGES = [
    (conditioning, "pose_pixels"),
    (denoiser, "tile_weights"),
    (denoiser.TiledDenoiser, "velocity"),
    (video, "write_frame"),
    (video, "write_mp4"),
    (video, "write_gif"),
    (run, "run_report"),
]


def raising(error: BaseException, after: int = 0) -> Callable:
    """A function that does nothing in its first `after` calls, and then raises the error."""
    calls = iter(range(after))

    def function(*arguments: object, **named: object) -> None:
        if next(calls, None) is None:
            raise error

    return function


@pytest.fixture
def place(tmp_path, engines, case_folder):
    """A folder with an engine set (a link, as it is large and nothing is written there) and a case."""
    (tmp_path / "engines").symlink_to(engines(CASE, "onnxruntime"))
    return copied(tmp_path, case=case_folder(CASE))


@pytest.fixture
def earlier_run(place):
    """What an earlier run left in --out, and with it a file of the user's."""
    (place / "out" / "frames").mkdir(parents=True)
    (place / "out" / "frames" / "frame_9.png").write_bytes(b"an earlier frame")
    (place / "out" / "notes.txt").write_text("mine")
    (place / "out" / "run.json").write_text(json.dumps({"project": PROJECT}))


# -- sa-run ----------------------------------------------------------------------------------------------------


def goes_on(folder: Path) -> str:
    return f"interrupted; the same command goes on from here, or remove {folder}."


@pytest.mark.parametrize(("where", "name"), STAGES, ids=[name for _, name in STAGES])
def test_an_interrupted_run_goes_on(place, monkeypatch, capsys, where, name):
    deep, kept = f"{place}/new/deeper/out", place / "new" / "deeper" / ".out.partial"
    arguments = [*run_arguments(place), "--out", deep, "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(where, name, raising(KeyboardInterrupt()))
        assert MAINS["sa-run"](arguments) == 130
    assert capsys.readouterr().err == f"sa-run: {goes_on(kept)}\n"
    assert os.listdir(kept.parent) == [kept.name]
    assert MAINS["sa-run"](arguments) == 0
    assert os.listdir(kept.parent) == ["out"]
    # An interrupt after the step finds it done.
    done = json.loads((place / "new" / "deeper" / "out" / "run.json").read_text())["resumed_after_step"]
    assert done == (0 if name in ("pose_pixels", "tile_weights", "velocity") else 1)
    assert MAINS["sa-run"]([*run_arguments(place), "--out", f"{place}/whole", "--quiet"]) == 0
    for path in (place / "whole" / "frames").iterdir():
        assert path.read_bytes() == (Path(deep) / "frames" / path.name).read_bytes()


def test_an_interrupted_run_leaves_the_earlier_one(place, earlier_run, monkeypatch, capsys):
    before = everything_in(place / "out")
    where, last = STAGES[-1]
    monkeypatch.setattr(where, last, raising(KeyboardInterrupt()))
    assert MAINS["sa-run"]([*run_arguments(place), "--quiet"]) == 130
    kept = place / "out" / ".out.partial"
    assert capsys.readouterr().err == f"sa-run: {goes_on(kept)}\n"
    after = everything_in(place / "out")
    assert {name: state for name, state in after.items() if not name.startswith(kept.name)} == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(place, monkeypatch, capsys, number):
    monkeypatch.setattr(video, "write_frame", raising(OSError(number, os.strerror(number)), after=3))
    message = f"{place}/out cannot be written ({os.strerror(number)}): make room or choose another --out."
    fails("sa-run", run_arguments(place), place, 1, message, capsys)


def test_another_error_of_the_system_is_told_as_it_is(place, monkeypatch, capsys):
    monkeypatch.setattr(conditioning, "pose_pixels", raising(OSError(errno.EIO, "Input/output error", "/dev/disk")))
    message = "/dev/disk: Input/output error; nothing was written."
    fails("sa-run", run_arguments(place), place, 1, message, capsys)


def test_an_output_that_may_not_be_written(place, monkeypatch, capsys):
    make = Path.mkdir

    def refuse(path: Path, *arguments: object, **named: object) -> None:
        if path.suffix == ".partial":
            raise PermissionError(errno.EACCES, "Permission denied")
        make(path, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", refuse)
    message = f"{place}/new/out cannot be written (Permission denied): choose another --out."
    fails("sa-run", [*run_arguments(place), "--out", f"{place}/new/out"], place, 2, message, capsys)


def test_a_bug_is_told_in_one_line(place, monkeypatch, capsys):
    monkeypatch.setattr(conditioning, "pose_pixels", raising(RuntimeError("first line\nsecond \x1b[31mline")))
    message = "unexpected RuntimeError: first line second \\x1b[31mline; run again with SA_DEBUG=1 and report it."
    fails("sa-run", run_arguments(place), place, 1, message, capsys)


def test_a_bug_keeps_its_traceback_for_who_asks(place, monkeypatch):
    monkeypatch.setenv("SA_DEBUG", "1")
    monkeypatch.setattr(conditioning, "pose_pixels", raising(RuntimeError("a bug")))
    with nothing_changes_in(place), pytest.raises(RuntimeError, match="a bug"):
        MAINS["sa-run"]([*run_arguments(place), "--quiet"])


def test_too_little_memory(place, monkeypatch, capsys):
    monkeypatch.setattr(denoiser.TiledDenoiser, "velocity", raising(MemoryError()))
    message = (
        "out of memory; give --low-memory or fewer --frames, or an engine set that sa-export made with a smaller "
        "--height, --width or --tile-size."
    )
    fails("sa-run", run_arguments(place), place, 1, message, capsys)


def test_a_signal_while_results_are_moved_waits_for_them(place, earlier_run, monkeypatch, capsys):
    replace = os.replace

    def replace_and_signal(source: Path, target: Path) -> None:
        replace(source, target)
        if Path(target).parent in (place, place / "out"):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(os, "replace", replace_and_signal)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert MAINS["sa-run"]([*run_arguments(place), "--quiet"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    frames = [f"frames/frame_{i}.png" for i in range(5)]
    assert sorted(everything_in(place / "out")) == sorted(
        ["animation.gif", "animation.mp4", "frames", *frames, "notes.txt", "run.json"]
    )
    assert capsys.readouterr().err == ""


def only_within(mount: Path) -> Callable[[Path, Path], None]:
    """os.replace as if `mount` were a file system of its own: nothing can be moved into it or out of it."""
    replace = os.replace

    def within(source: Path, target: Path) -> None:
        if len({Path(path).parent.resolve().is_relative_to(mount) for path in (source, target)}) == 2:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    return within


def test_the_output_may_be_a_link_to_another_file_system(place, monkeypatch):
    (place / "elsewhere").mkdir()
    (place / "out").symlink_to(place / "elsewhere")
    monkeypatch.setattr(os, "replace", only_within(place / "elsewhere"))
    assert MAINS["sa-run"]([*run_arguments(place), "--quiet"]) == 0
    assert (place / "out").is_symlink()
    assert sorted(os.listdir(place / "elsewhere")) == ["animation.gif", "animation.mp4", "frames", "run.json"]


# -- sa-export -------------------------------------------------------------------------------------------------


@pytest.fixture
def export_place(tmp_path, checkpoint):
    """A folder with a checkpoint (a link, as nothing is written there)."""
    (tmp_path / "checkpoint").symlink_to(checkpoint(CASE))
    return tmp_path


def test_an_export_that_fails_leaves_nothing(export_place, monkeypatch, capsys):
    monkeypatch.setattr(PaddleTarget, "write", failing_at("pose_net", RuntimeError("broken")))
    message = "unexpected RuntimeError: broken; run again with SA_DEBUG=1 and report it."
    arguments = [*export_arguments(export_place, "paddle"), "--out", f"{export_place}/new/deeper/out"]
    fails("sa-export", arguments, export_place, 1, message, capsys)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RuntimeError("broken"), 1, "unexpected RuntimeError: broken; run again with SA_DEBUG=1 and report it."),
        (KeyboardInterrupt(), 130, INTERRUPTED),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1, FULL),
    ],
)
def test_an_export_that_fails_leaves_the_earlier_engine_set(
    export_place, engines, monkeypatch, capsys, error, code, message
):
    copied(export_place, out=engines(CASE, "onnxruntime"))
    monkeypatch.setattr(PaddleTarget, "write", failing_at("face_encoder", error))
    message = message.format(out=export_place / "out")
    fails("sa-export", export_arguments(export_place, "paddle"), export_place, code, message, capsys)
    assert EngineSet.open(export_place / "out", verify=True).manifest.backend == "onnxruntime"


def failing_at(role: str, error: BaseException) -> Callable:
    """PaddleTarget.write, but at the engine of this role it writes a part and then fails."""

    whole = PaddleTarget.write

    def write(target, network, folder, stem):
        if stem == role:
            (folder / f"{stem}.json").write_text("{")
            raise error
        return whole(target, network, folder, stem)

    return write


def test_an_engine_beyond_its_tolerance_fails_the_export(export_place, monkeypatch, capsys):
    results = []

    def certificate(*arguments):
        results.append(certificates.certificate(*arguments))
        return results[-1]

    monkeypatch.setitem(certificates.TOLERANCE, "fp32", 0.0)
    monkeypatch.setattr(certified_engine, "certificate", certificate)
    (export_place / "out").mkdir()
    before = everything_in(export_place)
    assert MAINS["sa-export"]([*export_arguments(export_place), "--quiet"]) == 1
    (result,) = results
    assert 0 < result.relative < 1e-4
    assert capsys.readouterr().err == (
        f"sa-export: the image_encoder engine differs from the float32 network by {result.relative:.2e} relative "
        f"({result.max_abs:.2e} absolute), more than the tolerance 0e+00; nothing was written, please report this "
        "with your library versions.\n"
    )
    assert everything_in(export_place) == before


def test_a_new_engine_set_takes_the_place_of_the_earlier_one_across_a_link(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    for name in ("old.onnx", "old.weights", "manifest.json"):
        (tmp_path / "elsewhere" / name).write_text("old")
    listed = {"engines": [{"files": [{"name": "old.onnx"}, {"name": "old.weights"}]}]}
    (tmp_path / "elsewhere" / "manifest.json").write_text(json.dumps(listed))
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(os, "replace", only_within(tmp_path / "elsewhere"))
    with staged(tmp_path / "out") as folder:
        for name in ("new.onnx", "manifest.json"):
            (folder / name).write_text("new")
        output.deliver(folder, tmp_path / "out")
    assert {path.name: path.read_text() for path in (tmp_path / "elsewhere").iterdir()} == {
        "new.onnx": "new",
        "manifest.json": "new",
    }
    assert (tmp_path / "out").is_symlink()


def test_paddle_must_be_installed_to_export(export_place, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "sa.export.exporter")
    monkeypatch.setitem(sys.modules, "paddle", None)
    message = "sa-export needs paddle, which is not installed: `pip install 'stableanimator-deploy[export]'`."
    fails("sa-export", export_arguments(export_place), export_place, 2, message, capsys)


# -- commands in a process of their own ------------------------------------------------------------------------


def start(command: str, arguments: list[str]) -> subprocess.Popen:
    module = {"sa-run": "sa.runtime.cli", "sa-export": "sa.export.cli"}[command]
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background may ignore Ctrl-C, and its child processes would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def signalled_at(stage: str, number: signal.Signals, process: subprocess.Popen) -> tuple[int, list[str]]:
    """Send the signal shortly after `stage` has begun; the exit code, and the lines written from then on."""
    try:
        for line in process.stderr:
            if line.startswith(stage):
                break
        time.sleep(0.3)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    return process.returncode, said.splitlines()


@pytest.mark.parametrize(
    ("backend", "number"),
    [("onnxruntime", signal.SIGTERM), ("onnxruntime", signal.SIGINT), ("paddle", signal.SIGTERM)],
)
def test_a_signal_ends_a_run(place, engines, backend, number):
    arguments = [*run_arguments(place), "--engines", str(engines(CASE, backend)), "--steps", "1000"]
    code, said = signalled_at("denoising", number, start("sa-run", arguments))
    assert (code, said) == (130, [f"sa-run: {goes_on(place / '.out.partial')}"])
    assert sorted(os.listdir(place)) == [".out.partial", "case", "engines"]


def test_a_signal_ends_an_export(export_place):
    with nothing_changes_in(export_place):
        process = start("sa-export", export_arguments(export_place, "paddle"))
        code, said = signalled_at("face_encoder: convert", signal.SIGTERM, process)
    assert (code, said[-1]) == (130, f"sa-export: {INTERRUPTED}")


def test_an_export_says_nothing_beside_its_error(tmp_path, checkpoint):
    copied(tmp_path, checkpoint=checkpoint(CASE))
    weights = tmp_path / "checkpoint" / "SVD" / "image_encoder" / "model.safetensors"
    arrays = safetensors.numpy.load_file(weights)
    arrays["visual_projection.weight"][0, 0] = np.inf
    safetensors.numpy.save_file(arrays, weights)
    with nothing_changes_in(tmp_path):
        process = start("sa-export", [*export_arguments(tmp_path), "--quiet"])
        out, error = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert error == (
        f"sa-export: {weights}: tensor visual_projection.weight holds NaN or infinite values, so the file is damaged; "
        "take a fresh copy of it.\n"
    )


# -- flags that argparse refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "arguments", "error"),
    [
        ("sa-run", "", "the following arguments are required: --engines, --case, --out"),
        ("sa-run", "--case c --out o", "the following arguments are required: --engines"),
        ("sa-run", "--engines e --case c --out o --speed 9", "unrecognized arguments: --speed 9"),
        ("sa-run", "--engines e --case c --out o --steps many", "argument --steps: invalid int value: 'many'"),
        ("sa-run", "--engines e --case c --out o --guidance 3,5", "argument --guidance: invalid float value: '3,5'"),
        ("sa-run", "--engines e --case c --out o --compat old", "argument --compat: invalid choice: 'old'"),
        ("sa-export", "", "one of the arguments --checkpoint --inspect is required"),
        ("sa-export", "--checkpoint c --out o --precision fp8", "argument --precision: invalid choice: 'fp8'"),
        ("sa-export", "--checkpoint c --out o --backend torch", "argument --backend: invalid choice: 'torch'"),
        ("sa-export", "--checkpoint c --out o --height 5.5", "argument --height: invalid int value: '5.5'"),
    ],
)
def test_flags_that_do_not_exist_or_do_not_parse(tmp_path, monkeypatch, capsys, command, arguments, error):
    monkeypatch.chdir(tmp_path)
    with nothing_changes_in(tmp_path), pytest.raises(SystemExit) as ended:
        MAINS[command](arguments.split())
    assert ended.value.code == 2
    said = capsys.readouterr()
    usage, *_, last = said.err.splitlines()
    assert usage.startswith(f"usage: {command} ")
    assert last.startswith(f"{command}: error: {error}")  # after a wrong choice, Python adds its list of choices
    assert said.out == ""


def test_a_second_case_is_not_the_one_that_counts(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        MAINS["sa-run"]([*run_arguments(tmp_path), "--case", str(tmp_path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("sa-run: error: --case was given twice: give it once\n")


# -- input that is unusual, but good ---------------------------------------------------------------------------


def test_a_pinned_and_verified_engine_set_is_opened(engines):
    folder = engines(CASE, "onnxruntime")
    digest = EngineSet.open(folder).digest
    assert EngineSet.open(folder, verify=True, digest=digest.upper()).digest == digest
    with pytest.raises(EngineSetError, match="asks for"):
        EngineSet.open(folder, digest=digest[:-1])


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (200, 100, 50, 0), (255, 255, 255)),  # no colour that nobody sees: white is behind
        ("LA", (120, 3), (253, 253, 253)),
        ("L", 7, (7, 7, 7)),
        ("1", 1, (255, 255, 255)),
        ("P", 5, (5, 5, 5)),
        ("I;16", 200 * 256 + 9, (200, 200, 200)),
    ],
)
def test_images_of_all_kinds_are_read(tmp_path, mode, color, expected):
    image = Image.new(mode, (3, 2), color)
    if mode == "P":
        image.putpalette([level for grey in range(256) for level in (grey,) * 3])
    image.save(tmp_path / "image.png")
    assert np.asarray(read_image(tmp_path / "image.png")).tolist() == [[list(expected)] * 3] * 2


def test_poses_of_all_sizes_and_hidden_files_are_taken(place):
    poses = place / "case" / "poses"
    Image.new("RGB", (300, 200)).save(poses / "frame_2.png")
    Image.new("RGB", (9, 9)).save(poses / "frame_10.webp")
    shutil.rmtree(place / "case" / "faces")
    (poses / "frame_3.png").rename(poses / "frame_0003.PNG")
    (poses / "._frame_3.png").write_bytes(b"what a copy from another system leaves")
    (poses / "Thumbs.db").write_bytes(b"")
    shapes = Shapes(height=64, width=64, tile_size=5, decode_chunk=4)
    case = Case.read(place / "case")
    assert [path.name for path in case.poses] == [
        *("frame_0.png", "frame_1.png", "frame_2.png", "frame_0003.PNG", "frame_4.png", "frame_10.webp")
    ]
    gap, black, reference, pose = check_case(case, shapes, "sa-export ...")
    assert gap.startswith(f"{poses} lacks frames between its first and last number (5-9): ")
    assert reference.startswith(f"{place}/case/reference.png is 240x256 and will be stretched by 7% to 64x64;")
    assert pose.startswith(f"{poses}/frame_2.png (1 of 6 poses) is 300x200 and will be stretched by 50% to 64x64;")
    assert black.startswith("2 of 6 poses are black and show nobody: ")
