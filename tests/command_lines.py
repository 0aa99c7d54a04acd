"""Runs command lines that must fail: what they say, and that they add and change nothing."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sa.export import cli as export_cli
from sa.runtime import cli as run_cli
from sa.runtime.prepare import cli as prepare_cli

CASE = "recipe_hjb"  # the smaller golden case: 64x64 pixels, tiles of 5 frames, 5 poses
MAINS = {"sa-export": export_cli.main, "sa-prepare": prepare_cli.main, "sa-run": run_cli.main}


def export_arguments(place: Path, backend: str = "onnxruntime") -> list[str]:
    shapes = ["--height", "64", "--width", "64", "--tile-size", "5", "--decode-chunk", "4"]
    return ["--checkpoint", f"{place}/checkpoint", "--out", f"{place}/out", "--backend", backend, *shapes]


def run_arguments(place: Path) -> list[str]:
    return ["--engines", f"{place}/engines", "--case", f"{place}/case", "--out", f"{place}/out", "--steps", "1"]


def replaced(arguments: list[str], flags: list[str]) -> list[str]:
    """The arguments without those flags, of one value each, that `flags` gives anew."""
    anew = {at for at, word in enumerate(arguments) if word.startswith("--") and word in flags}
    return [word for at, word in enumerate(arguments) if at not in anew and at - 1 not in anew]


def everything_in(folder: Path) -> dict[str, str]:
    """All that lies below a folder: the hash of a file, the target of a link."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            state = f"link to {os.readlink(path)}"
        else:
            state = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = state
    return found


@contextmanager
def nothing_changes_in(folder: Path) -> Iterator[None]:
    before = everything_in(folder)
    yield
    assert everything_in(folder) == before


def fails(
    command: str, arguments: list[str], place: Path, code: int, message: str, capsys: pytest.CaptureFixture
) -> None:
    """The command says exactly this, ends with this exit code, and nothing in `place` is added or changed."""
    capsys.readouterr()
    with nothing_changes_in(place):
        assert MAINS[command]([*arguments, "--quiet"]) == code
    said = capsys.readouterr()
    assert said.err == f"{command}: {message}\n"
    assert said.out == ""


def copied(place: Path, **sources: Path) -> Path:
    """`place`, with copies of these folders, which may be changed."""
    for name, source in sources.items():
        shutil.copytree(source, place / name)
    return place
