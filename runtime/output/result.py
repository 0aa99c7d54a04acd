"""The output folder of a run: what it may hold before, and how results get there."""

import json
import re
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from sa.runtime import PROJECT
from sa.runtime.errors import InputError
from sa.runtime.output.staging import RESUMABLE_LOCK, replace_entry, resumable_folder

RUN_FILE = "run.json"
RESULTS = ("frames", "animation.mp4", "animation.gif", RUN_FILE)  # in this order


def check_output(out: Path) -> None:
    """InputError if results in `out` would mix with files that are not from an earlier run."""
    if out.is_dir():
        # A command that was killed may have left an unfinished result.
        others = [path for path in out.iterdir() if not re.fullmatch(r"\..*\.partial", path.name)]
        # One that was killed while it moved a finished result has left that result's run.json there.
        unmoved = resumable_folder(out, within=True) / RUN_FILE
        if others and not _is_earlier_run(out) and not unmoved.is_file():
            raise InputError(
                f"{out} is not empty and holds no earlier run's {RUN_FILE}: give --out a new or empty folder."
            )
    elif out.exists():
        raise InputError(f"{out} is a file: give --out a folder.")


def _is_earlier_run(out: Path) -> bool:
    if not (out / RUN_FILE).is_file():
        return False
    try:
        run = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(run, dict) and run.get("project") == PROJECT


def deliver(staging: Path, out: Path) -> None:
    """Move the finished results into `out`. Frames of an earlier run are removed; all other files there stay."""
    out.mkdir(exist_ok=True)
    earlier = out / "frames"
    if earlier.is_dir():
        for path in earlier.iterdir():
            if not re.fullmatch(r"frame_\d+\.png", path.name):
                shutil.move(path, staging / "frames" / path.name)
    for name in RESULTS:
        if not (staging / name).exists():  # a GIF that was too long, while the earlier run had one
            (out / name).unlink(missing_ok=True)
    _move(staging, out)


def finish_delivery(out: Path) -> None:
    """Deliver what a killed command had finished in `out`, an existing folder, and did not move there whole.

    Nothing is done to a folder that a command is at work on.
    """
    staging = resumable_folder(out, within=True)
    if not (staging / RUN_FILE).exists():  # written last
        return
    lock = FileLock(staging / RESUMABLE_LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return
    try:
        if (staging / "frames").exists():  # moved first
            deliver(staging, out)
        else:
            _move(staging, out)
    finally:
        lock.release()  # before the folder is removed: Windows cannot remove an open file
    shutil.rmtree(staging)


def _move(staging: Path, out: Path) -> None:
    for name in RESULTS:
        if (staging / name).exists():
            replace_entry(staging / name, out / name)
