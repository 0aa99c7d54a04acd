"""Engine sets that tests share, within a run and between runs: .cache/tests holds them by what they are made from.

An export is a pure function of the sources, the checkpoint, the flags and the libraries, so a set is exported anew when
one of these changes, and only then. It is made in a process of its own, in which no test has replaced anything. CI
begins without any. Read only: a test that spoils a set copies it first.
"""

import functools
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy
import onnx
import onnxruntime
from filelock import FileLock

from sa.runtime.backends.libraries import backend_version

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "tests"
# What decides how a set comes out; sa-prepare does not.
RECIPES = ("benchmarks/fixtures", "benchmarks/puppet/checkpoint", "tests/golden")
SOURCES = ("configs", "export", "runtime", *RECIPES)
APART = ("runtime/prepare", "tests/golden/prepare")
KEPT = 2  # earlier states of the sources: a test run that is under way may still read one


def exported(name: str, checkpoint: Path, flags: Iterable[object]) -> Path:
    """The folder of the engine set that sa-export makes with these flags, exported now unless it is there.

    `name` tells it from other sets for people, and must differ where the checkpoints do.
    """
    words = [str(flag) for flag in flags]
    key = hashlib.sha256(" ".join([_sources(), name, *words]).encode()).hexdigest()[:16]
    home = CACHE / _sources()
    home.mkdir(exist_ok=True)
    folder = home / f"{name}-{key}"
    with FileLock(home / f"{folder.name}.lock"):  # of two workers, one exports and the other waits
        if not (folder / "manifest.json").is_file():
            command = [sys.executable, "-m", "sa.export.cli", "--checkpoint", checkpoint, "--out", folder]
            done = subprocess.run([*map(str, command), *words, "--quiet"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return folder


@functools.cache
def _sources() -> str:
    """Names the state of the sources and libraries; sets of long ago are removed."""
    state = hashlib.sha256()
    for source in SOURCES:
        path = ROOT / source
        assert path.exists(), f"{source} was moved: sets would no longer follow its changes"
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            place = file.relative_to(ROOT).as_posix()
            if file.is_file() and "__pycache__" not in file.parts and not place.startswith(APART):
                state.update(place.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    for library in (numpy, onnx, onnxruntime):
        state.update(f"{library.__name__} {library.__version__}".encode())
    state.update(f"openvino {backend_version('openvino')}".encode())
    name = state.hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    others = sorted((other for other in CACHE.iterdir() if other.name != name), key=lambda one: one.stat().st_mtime)
    for other in others[:-KEPT]:
        shutil.rmtree(other, ignore_errors=True)
    return name
