"""Describes this machine: its hardware, its libraries, and its highest rates of arithmetic and memory traffic."""

import platform
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from sa.benchmarks.measure.results import Machine

GEMM = 2048
COPY = 64 << 20  # float32 numbers, 256 MiB: larger than any cache
TRIALS = 5
LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu", "paddlepaddle", "torch", "diffusers", "openvino")


def describe(threads: int) -> Machine:
    """Facts about this machine, and its ceilings with this many threads; takes some seconds."""
    gpu = _gpu()
    return Machine(
        device=gpu["device"] if gpu else _cpu(),
        kind="cuda" if gpu else "cpu",
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
        gemm_flops=gemm_flops(threads),
        copy_bytes=copy_bytes(),
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
    """The first CUDA device that NVML lists, or None."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
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


def gemm_flops(threads: int) -> float:
    """The highest rate of a float32 matrix product [2048, 2048] x [2048, 2048] in ONNX Runtime, in FLOP/s."""
    import onnxruntime
    from onnx import TensorProto, helper

    shape = [GEMM, GEMM]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "abc"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "gemm", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    inputs = {name: generator.standard_normal(shape, np.float32) for name in "ab"}
    return 2 * GEMM**3 / _best(lambda: session.run(None, inputs))


def copy_bytes() -> float:
    """The highest rate of copying 256 MiB, in bytes/s. Reads and writes both count."""
    source = np.ones(COPY, np.float32)
    target = np.empty_like(source)
    return 2 * source.nbytes / _best(lambda: np.copyto(target, source))


def _best(work) -> float:
    work()
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
