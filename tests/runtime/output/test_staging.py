"""Temporary folders: whole results or none, and nothing is left of a command that was killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from sa.export.output import check_output, deliver
from sa.runtime.contract import MANIFEST
from sa.runtime.output.staging import is_staging, staged

WORK = """
import sys, time
from pathlib import Path
from sa.runtime.output.staging import staged
with staged(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("done")
    print(folder.parent, flush=True)
    time.sleep(600)
"""


@contextmanager
def at_work(place: Path) -> Iterator[tuple[subprocess.Popen, Path]]:
    """A command that is making the contents of `place`, and its temporary folder."""
    with subprocess.Popen([sys.executable, "-c", WORK, place], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def left_by_a_killed_command(place: Path) -> Path:
    with at_work(place) as (process, folder):
        process.kill()
        process.wait()
    assert (folder / "content" / "half").read_text() == "done"
    return folder


@pytest.fixture(params=["a new place", "a folder that is there"])
def place(request, tmp_path):
    if request.param == "a folder that is there":
        (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_what_a_killed_command_left_is_removed(place):
    left = left_by_a_killed_command(place)
    assert is_staging(left, place)
    with staged(place) as folder:
        assert not left.exists()
        assert list(folder.iterdir()) == []
    assert [path.name for path in place.parent.rglob("*")] == (["out"] if place.exists() else [])


def test_it_is_removed_too_if_the_place_was_made_since(tmp_path):
    left = left_by_a_killed_command(tmp_path / "out")
    (tmp_path / "out").mkdir()
    with staged(tmp_path / "out"):
        assert not left.exists()


def test_the_folder_of_a_living_command_stays(place):
    with at_work(place) as (process, folder):
        with staged(place):
            assert (folder / "content" / "half").exists()
        assert process.poll() is None
        assert (folder / "content" / "half").exists()


def test_the_lock_is_held_as_long_as_the_folder_is_used(place):
    with staged(place) as folder:
        (lock,) = [path for path in folder.parent.iterdir() if path != folder]
        with pytest.raises(Timeout):
            FileLock(lock, timeout=0).acquire()
        with staged(place):
            assert lock.exists()
    assert not folder.parent.exists()


def test_folders_of_other_places_stay(place):
    kept = place.parent / ".out.prepared.partial"  # of sa-prepare --out out.prepared, which can go on from there
    kept.mkdir()
    for name in ("lock", "key.json"):
        (kept / name).write_text("")
    other = left_by_a_killed_command(place.parent / "out.v2")
    mine = place.parent / ".out.mine.partial"
    mine.mkdir()
    with staged(place):
        pass
    assert (kept / "key.json").exists() and other.exists() and mine.exists()


def test_a_left_over_folder_is_nobodys_file(tmp_path):
    """It may lie in --out, which would otherwise be refused before it is removed."""
    out = tmp_path / "out"
    out.mkdir()
    left = left_by_a_killed_command(out)
    assert left.parent == out
    check_output(out)


def test_an_engine_set_is_delivered_without_its_lock_and_beside_another_command(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / MANIFEST).write_text("old")
    with at_work(out) as (_, other), staged(out) as folder:
        for name in ("new.onnx", MANIFEST):
            (folder / name).write_text("new")
        deliver(folder, out)
        assert {path.name for path in out.iterdir()} == {"new.onnx", MANIFEST, other.name, folder.parent.name}
    assert (out / MANIFEST).read_text() == "new"
