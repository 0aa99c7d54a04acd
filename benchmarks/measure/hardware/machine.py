"""Describes this machine as rows do: the device that was used, its libraries, and the ceilings of that device."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Literal

from sa.benchmarks.measure.results import Machine
from sa.runtime.errors import UserError
from sa.runtime.system.child import VISIBLE

LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu", "paddlepaddle", "torch", "diffusers", "openvino")


def describe(threads: int, device: Literal["cpu", "cuda"]) -> Machine:
    """Facts about this machine, and the ceilings of the device with this many threads; takes some seconds.

    UserError for "cuda" on a machine without an NVIDIA GPU.
    """
    from sa.benchmarks.measure.hardware.ceilings import ceilings  # which imports onnx

    gpu = _gpu() if device == "cuda" else None
    if device == "cuda" and gpu is None:
        raise UserError("NVIDIA's driver lists no GPU here: leave out --device cuda, or measure where there is one.")
    found = ceilings(device, threads)
    return Machine(
        device=gpu["device"] if gpu else _cpu(),
        kind=device,
        compute_capability=gpu and gpu["compute_capability"],
        device_memory=gpu and gpu["device_memory"],
        power_limit_watts=gpu and gpu["power_limit_watts"],
        clock_limit_mhz=gpu and gpu["clock_limit_mhz"],
        driver=gpu and gpu["driver"],
        cpu=_cpu(),
        threads=threads,
        memory=_host_memory(),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        libraries=_libraries(),
        gemm_flops=found.gemm_flops,
        half_gemm_flops=found.half_gemm_flops,
        copy_bytes=found.copy_bytes,
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _host_memory() -> int:
    import psutil

    return psutil.virtual_memory().total


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _gpu() -> dict | None:
    """The CUDA device in use as NVML knows it, or None: the first that CUDA_VISIBLE_DEVICES leaves."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        first = os.environ.get(VISIBLE, "").partition(",")[0]
        if first == "" or first.isdecimal():
            handle = pynvml.nvmlDeviceGetHandleByIndex(int(first or 0))
        else:  # an id such as GPU-8932f937
            handle = pynvml.nvmlDeviceGetHandleByUUID(first)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        return {
            "device": pynvml.nvmlDeviceGetName(handle),
            "compute_capability": f"{major}.{minor}",
            "device_memory": pynvml.nvmlDeviceGetMemoryInfo(handle).total,
            "power_limit_watts": pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
            "clock_limit_mhz": pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
            "driver": pynvml.nvmlSystemGetDriverVersion(),
        }
    except pynvml.NVMLError:
        return None
