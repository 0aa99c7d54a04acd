"""--device-id: every command shows its libraries one GPU alone, before any of them looks."""

import argparse
import os
import sys
from types import SimpleNamespace

import pytest

from sa.benchmarks.cli import main as sa_bench
from sa.benchmarks.measure.hardware import machine
from sa.export.cli import main as sa_export
from sa.runtime.batch.cli import main as sa_batch
from sa.runtime.cli import main as sa_run
from sa.runtime.console.device import ORDER, add_device_id, chosen_device
from sa.runtime.errors import InputError
from sa.runtime.prepare.cli import main as sa_prepare
from sa.runtime.system.child import VISIBLE


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """CUDA's variables are unset, and are as they were afterwards."""
    for name in (VISIBLE, ORDER):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def chosen(*flags: str) -> str | None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=["cpu", "cuda"])
    add_device_id(parser)
    return chosen_device(parser.parse_args(flags))


def test_the_chosen_gpu_is_the_only_one_seen(environment):
    assert chosen("--device-id", "2") == "cuda"
    assert (os.environ[VISIBLE], os.environ[ORDER]) == ("2", "PCI_BUS_ID")
    environment.setenv(VISIBLE, "4,GPU-abc")  # numbers are of those that may be used
    environment.setenv(ORDER, "FASTEST_FIRST")
    assert chosen("--device", "cuda", "--device-id", "1") == "cuda"
    assert (os.environ[VISIBLE], os.environ[ORDER]) == ("GPU-abc", "FASTEST_FIRST")


def test_without_it_nothing_changes():
    assert (chosen(), chosen("--device", "cpu"), chosen("--device", "cuda")) == (None, "cpu", "cuda")
    assert VISIBLE not in os.environ


@pytest.mark.parametrize("flags", ["--device cpu --device-id 0", "--device-id -1", "--device-id 1000"])
def test_what_is_no_gpu_is_refused(flags):
    with pytest.raises(InputError, match="--device-id"):
        chosen(*flags.split())


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (sa_run, ("--engines", "{0}/none", "--case", "{0}/none", "--out", "{0}/out")),
        (sa_batch, ("--engines", "{0}/none", "--cases", "{0}", "--out", "{0}/out")),
        (sa_prepare, ("--reference", "{0}/none", "--driving", "{0}/none", "--out", "{0}/out")),
        (sa_bench, ("run", "--engines", "{0}/none", "--out", "{0}/out")),
        (sa_export, ("--checkpoint", "{0}/none", "--out", "{0}/out", "--backend", "paddle", "--precision", "fp16")),
    ],
    ids=["sa-run", "sa-batch", "sa-prepare", "sa-bench", "sa-export"],
)
def test_every_command_takes_it(tmp_path, command, flags, capsys):
    (tmp_path / "case-1").mkdir()
    (tmp_path / "case-1" / "reference.png").touch()
    assert command([*(word.format(tmp_path) for word in flags), "--device-id", "3"]) != 0  # nothing else is there
    assert os.environ[VISIBLE] == "3"
    assert "--device-id" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "flags", "said"),
    [
        (sa_run, ("--engines", "x", "--case", "x", "--out", "x", "--devices", "0,1"), "left out with --devices"),
        (sa_batch, ("--engines", "x", "--cases", "x", "--out", "x", "--devices", "0"), "leave out --devices"),
        (sa_batch, ("--engines", "x", "--cases", "x", "--out", "x", "--ray", "local"), "leave out --ray"),
        (sa_export, ("--checkpoint", "x", "--out", "x"), "give it with --backend tensorrt, or Paddle's fp16"),
    ],
)
def test_where_it_has_no_meaning_it_is_refused(command, flags, said, capsys):
    assert command([*flags, "--device-id", "0"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("visible", "asked"), [(None, 0), ("3", 3), ("2,1", 2), ("GPU-abc,1", "GPU-abc")])
def test_a_measurement_names_the_gpu_in_use(environment, visible, asked):
    if visible is not None:
        environment.setenv(VISIBLE, visible)
    driver = SimpleNamespace(
        NVMLError=RuntimeError,
        NVML_CLOCK_SM=1,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetCudaComputeCapability=lambda handle: (9, 0),
        nvmlDeviceGetName=lambda handle: handle,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=1),
        nvmlDeviceGetEnforcedPowerLimit=lambda handle: 1000,
        nvmlDeviceGetMaxClockInfo=lambda handle, clock: 1,
        nvmlSystemGetDriverVersion=lambda: "1",
    )
    environment.setitem(sys.modules, "pynvml", driver)
    assert machine._gpu()["device"] == asked
