"""Peak device memory of a worker, with a stand-in for NVIDIA's driver."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from sa.benchmarks.cli import main
from sa.benchmarks.measure.hardware.device_memory import DeviceMemory
from sa.benchmarks.measure.results import read


class NVMLError(Exception):
    pass


def driver(processes, devices: int = 1, fails: bool = False) -> SimpleNamespace:
    """A module like pynvml: processes(device) -> [(pid, bytes or None)], asked once for each device and sample."""

    def start():
        if fails:
            raise NVMLError("Driver Not Loaded")

    def running(device):
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in processes(device)]

    return SimpleNamespace(
        NVMLError=NVMLError,
        NVML_CLOCK_SM=1,
        nvmlInit=start,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: devices,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetComputeRunningProcesses=running,
        nvmlDeviceGetCudaComputeCapability=lambda device: (9, 0),
        nvmlDeviceGetName=lambda device: "a card",
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(total=80 << 30),
        nvmlDeviceGetEnforcedPowerLimit=lambda device: 700_000,
        nvmlDeviceGetMaxClockInfo=lambda device, clock: 1980,
        nvmlSystemGetDriverVersion=lambda: "570.86",
    )


@pytest.fixture
def watched(monkeypatch):
    """watched(driver, seconds): the peak found for this process."""

    def watch(module, seconds=0.0):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        with DeviceMemory(os.getpid()) as memory:
            time.sleep(seconds)
        return memory.peak

    return watch


def test_the_largest_sample_of_this_process_on_all_devices_together(watched):
    sizes = iter([1, 5, 3] + [2] * 100)
    seen = []

    def processes(device):
        if device == 1:
            return [(os.getpid(), 100)]
        seen.append(next(sizes))
        return [(os.getpid() + 1, 10**9), (os.getpid(), seen[-1])]

    assert watched(driver(processes, devices=2), seconds=0.5) == 105
    assert 3 < len(seen) < 15  # every 50 ms


@pytest.mark.parametrize(
    "module",
    [
        driver(lambda device: [], fails=True),  # no driver
        driver(lambda device: [(os.getpid() + 1, 7)]),  # never named
        driver(lambda device: [(os.getpid(), None)]),  # not counted by process
    ],
)
def test_nothing_is_known_where_the_driver_says_nothing(watched, module):
    assert watched(module) is None


def test_a_driver_that_fails_on_the_way_leaves_no_half_known_peak(watched):
    answers = iter([[(os.getpid(), 7)]])

    def processes(device):
        if (answer := next(answers, None)) is None:
            raise NVMLError("GPU is lost")
        return answer

    assert watched(driver(processes), seconds=0.2) is None


def test_a_process_that_is_gone_at_once_is_no_trouble(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", driver(lambda device: []))
    with subprocess.Popen([sys.executable, "-c", ""]) as process, DeviceMemory(process.pid) as memory:
        process.wait()
    assert memory.peak is None


def test_rows_hold_the_peak_of_their_own_worker(engines, tmp_path, monkeypatch):
    """The driver names every child of this process, each with as many bytes as its number says."""

    def processes(device):
        return [(child.pid, child.pid << 20) for child in psutil.Process().children()]

    monkeypatch.setitem(sys.modules, "pynvml", driver(processes))
    flags = ["--engines", engines("recipe_hjb", "onnxruntime"), "--out", tmp_path, "--subjects", "face_encoder"]
    assert main(["run", *map(str, [*flags, "--rounds", 1, "--repetitions", 1, "--quiet"])]) == 0
    (row,) = read(tmp_path / "results.jsonl")
    assert row.machine.kind == "cpu" and row.machine.device == row.machine.cpu  # where the engine ran
    assert row.peak_device_memory > 0 and row.peak_device_memory % (1 << 20) == 0
