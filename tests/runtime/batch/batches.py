"""Eight cases for sa-batch, one of them broken, what sa-run makes of them, and how to look at a batch at work."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sa.runtime.cli import main as sa_run

FLAGS = ("--steps", "8", "--tile-overlap", "2", "--threads", "2", "--quiet")
BROKEN = 5
COMMAND = (sys.executable, "-m", "sa.runtime.batch.cli")


@pytest.fixture(scope="module")
def place(engines, case_folder, tmp_path_factory) -> Path:
    """Eight cases, one of them broken, and what sa-run makes of the others."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "engines").symlink_to(engines("recipe_basic", "onnxruntime"))
    for number in range(1, 9):
        case = folder / "cases" / f"case-{number}"
        shutil.copytree(case_folder("recipe_basic"), case)
        shutil.copy(case / "poses" / f"frame_{number % 6 + 1}.png", case / "poses" / "frame_0.png")
        if number == BROKEN:
            (case / "poses" / "frame_3.png").write_bytes(b"no picture")
        else:
            flags = ("--engines", f"{folder}/engines", "--case", str(case), "--out", f"{folder}/single/case-{number}")
            assert sa_run([*flags, *FLAGS]) == 0
    return folder


def arguments(place: Path, out: Path, *further: str) -> list[str]:
    files = ("--engines", f"{place}/engines", "--cases", f"{place}/cases", "--out", str(out))
    return [*files, *FLAGS, *further]


def results(out: Path) -> dict[str, bytes]:
    """Every file of every case but run.json, which has times."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.glob("case-*/**/*")
        if path.is_file() and path.name != "run.json"
    }


def cases(out: Path) -> dict[str, dict]:
    return {case["name"]: case for case in json.loads((out / "batch.json").read_text())["cases"]}


def worker_with(batch: psutil.Process, lock: Path) -> psutil.Process | None:
    for child in batch.children():
        if any(file.path == str(lock) for file in child.open_files()):
            return child
    return None


def begun(out: Path, case: str, steps: int, process: subprocess.Popen) -> bool:
    """Wait until so many steps of a case are kept."""
    state, deadline, seen = out / case / f".{case}.partial" / "state.npz", time.monotonic() + 120, set()
    while len(seen) < steps and process.poll() is None and time.monotonic() < deadline:
        if state.exists():
            seen.add(state.stat().st_mtime_ns)
        time.sleep(0.002)
    return len(seen) >= steps
