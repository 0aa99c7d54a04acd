"""Processors and memory within a container's limits, and a run where only what every system has can be used."""

import os
import subprocess
import sys

import psutil
import pytest

from sa.runtime.system import memory
from sa.runtime.system import processors as system
from sa.runtime.system.processors import usable_cores


@pytest.fixture
def group(tmp_path, monkeypatch):
    """group(files): this process is in a control group of version 2 that has these files, its parents none."""
    monkeypatch.setattr(system, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(system, "OWN_GROUP", tmp_path / "own")
    (tmp_path / "own").write_text("1:name=systemd:/\n0::/pod/container\n")
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: list(range(8)), raising=False)

    def write(files, where="pod/container"):
        for name, text in files.items():
            path = tmp_path / "cgroup" / where / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("1600000 100000", 8)],
)
def test_cores_respect_a_containers_quota(group, quota, cores):
    group({"cpu.max": quota})
    assert usable_cores() == cores


def test_the_least_of_all_groups_counts(group):
    group({"cpu.max": "600000 100000"})
    group({"cpu.max": "300000 100000"}, "pod")
    assert usable_cores() == 3


def test_the_older_control_groups_count_too(group):
    group({"cpu.cfs_quota_us": "400000", "cpu.cfs_period_us": "100000"}, "cpu")
    assert usable_cores() == 4
    group({"cpu.cfs_quota_us": "-1"}, "cpu")
    assert usable_cores() == 8


def test_a_system_without_affinity_has_all_its_cores(monkeypatch):
    monkeypatch.setattr(psutil.Process, "cpu_affinity", property(lambda self: (_ for _ in ()).throw(AttributeError)))
    monkeypatch.setattr(psutil, "cpu_count", lambda: 6)
    monkeypatch.setattr(system, "_cpu_quotas", lambda: iter(()))
    assert usable_cores() == 6


def test_memory_respects_a_containers_limit(group):
    group({"memory.max": str(3 << 20), "memory.current": str(1 << 20)})
    assert memory.available_memory() == 2 << 20
    group({"memory.max": "max"})
    assert memory.available_memory() > 2 << 20


# What Windows lacks: modules, names of os and signal, and the files in which Linux tells of itself.
ELSEWHERE = """
import builtins, os, pathlib, signal, sys
import filelock, psutil, numpy, onnxruntime, rich.console, av, PIL.Image  # libraries, which mind this themselves

POSIX = {"fcntl", "grp", "posix", "pwd", "resource", "termios"}
plain_import = builtins.__import__

def imported(name, globals=None, *rest):
    if name in POSIX and (globals or {}).get("__name__", "").startswith("sa."):
        raise ImportError(f"{name} is not there")
    return plain_import(name, globals, *rest)

builtins.__import__ = imported
for name in ("sched_getaffinity", "sysconf", "getuid", "fork", "killpg"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGALRM"):
    delattr(signal, name)
plain_open = pathlib.Path.open

def opened(path, *rest, **named):
    if str(path).startswith(("/proc", "/sys")):
        raise FileNotFoundError(str(path))
    return plain_open(path, *rest, **named)

pathlib.Path.open = opened
for kind in ("text", "bytes"):
    mode = "" if kind == "text" else "b"
    def read(path, *rest, mode=mode, **named):
        with path.open("r" + mode, **named) as file:
            return file.read()
    def write(path, content, *rest, mode=mode, **named):
        with path.open("w" + mode, **named) as file:
            return file.write(content)
    setattr(pathlib.Path, f"read_{kind}", read)
    setattr(pathlib.Path, f"write_{kind}", write)

from sa.runtime.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("flags", [(), ("--refine", "--refine-end", "0", "--refine-iters", "1"), ("--low-memory",)])
def test_sa_run_needs_nothing_that_only_posix_has(flags, engines, case_folder, tmp_path):
    plan = ("--refine", "--refine-plan", "segmented") if "--refine" in flags else ()
    words = ["--engines", engines("recipe_hjb", "onnxruntime", *plan), "--case", case_folder("recipe_hjb")]
    words = [*map(str, [*words, "--out", tmp_path / "out", "--steps", 2, *flags])]
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(os.listdir(tmp_path / "out" / "frames")) == 5
