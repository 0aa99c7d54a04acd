"""The highest rates of arithmetic and memory traffic that a device reaches through the library that runs the engines.

On a CPU: a matrix product in ONNX Runtime, and a copy by NumPy. On a GPU: a chain of matrix products, in float32 and in
fp16, and a copy, as small engines of whichever library is installed for it; their tensors stay on the device.

The ceilings of a GPU have not run on one. The same code was tested on ONNX Runtime's CPU provider.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from sa.runtime.backends import open_engine
from sa.runtime.backends.base import Tensor
from sa.runtime.backends.libraries import backend_version
from sa.runtime.contract import EngineContract, FileRecord, TensorSpec
from sa.runtime.errors import UserError

GPU_BACKENDS = ("onnxruntime-cuda", "tensorrt", "tensorrt-rtx")  # the first that is installed measures the GPU
Device = Literal["cpu", "cuda"]
ROLE = "decoder_ceiling"  # of an engine without a CUDA graph
TRIALS = 5


@dataclass(frozen=True)
class Work:
    """How much is done at once: enough to outweigh what a call costs."""

    side: int  # of the square matrices
    products: int  # one after another
    copied: tuple[int, int]  # shape of what is copied, float32


CPU = Work(side=2048, products=1, copied=(64, 1 << 20))  # 256 MiB: larger than any cache
GPU = Work(side=8192, products=16, copied=(512, 1 << 20))  # 2 GiB: a millisecond and more


@dataclass(frozen=True)
class Ceilings:
    """Rates per second; None where none could be measured."""

    gemm_flops: float | None  # float32 without TF32
    half_gemm_flops: float | None  # fp16; None on a CPU
    copy_bytes: float | None  # read and written counted


def ceilings(device: Device, threads: int) -> Ceilings:
    """Of this machine's CPU with this many threads, or of its current GPU; takes some seconds.

    Measured in a process of its own, which gives the GPU's memory back. None on a GPU that no installed library runs
    on; UserError if a CPU cannot be measured.
    """
    command = [sys.executable, "-m", "sa.benchmarks.measure.hardware.ceilings", device, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Ceilings(**json.loads(done.stdout.splitlines()[-1]))
    if device == "cuda":  # the engines' own rows say what is wrong with it
        return Ceilings(None, None, None)
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    raise UserError(f"this machine's ceilings could not be measured: {said}")


def measured(device: Device, threads: int) -> Ceilings:
    """The same in this process."""
    if device == "cpu":
        return Ceilings(product_flops("onnxruntime", CPU, "fp32", threads), None, host_copy_bytes())
    backend = next((one for one in GPU_BACKENDS if backend_version(one) is not None), None)
    if backend is None:
        return Ceilings(None, None, None)
    return Ceilings(
        product_flops(backend, GPU, "fp32", threads),
        product_flops(backend, GPU, "fp16", threads),
        engine_copy_bytes(backend, GPU, threads),
    )


def product_flops(backend: str, work: Work, precision: Literal["fp32", "fp16"], threads: int) -> float:
    """The highest rate of a chain y = x w w ... of square matrices, in FLOP/s."""
    shape = (work.side, work.side)
    generator = np.random.default_rng(0)
    inputs = {
        "x": generator.standard_normal(shape, np.float32),
        "w": generator.standard_normal(shape, np.float32) / np.float32(work.side**0.5),  # x keeps its magnitude
    }
    half, nodes, factors = precision == "fp16", [], {"x": "x", "w": "w"}
    if half:
        factors = {"x": "x_half", "w": "w_half"}
        nodes = [helper.make_node("Cast", [name], [to], to=TensorProto.FLOAT16) for name, to in factors.items()]
    last = factors["x"]
    for number in range(work.products):
        name = "y" if number + 1 == work.products and not half else f"y{number}"
        nodes.append(helper.make_node("MatMul", [last, factors["w"]], [name]))
        last = name
    if half:
        nodes.append(helper.make_node("Cast", [last], ["y"], to=TensorProto.FLOAT))
    seconds = _best_call(backend, nodes, inputs, shape, threads)
    return 2 * work.side**3 * work.products / seconds


def engine_copy_bytes(backend: str, work: Work, threads: int) -> float:
    """The highest rate of copying within the memory of the backend's device, in bytes/s."""
    nodes, source = [helper.make_node("Identity", ["x"], ["y"])], np.ones(work.copied, np.float32)
    return 2 * source.nbytes / _best_call(backend, nodes, {"x": source}, work.copied, threads)


def host_copy_bytes() -> float:
    """The highest rate of copying 256 MiB by NumPy, in bytes/s."""
    source = np.ones(CPU.copied, np.float32)
    target = np.empty_like(source)
    return 2 * source.nbytes / _best(lambda: np.copyto(target, source))


def _best_call(
    backend: str, nodes: Iterable[onnx.NodeProto], inputs: dict[str, np.ndarray], result: tuple[int, int], threads: int
) -> float:
    """The fewest seconds of one call of an engine of these nodes, which make y. All tensors lie with the backend."""
    with tempfile.TemporaryDirectory() as scratch:
        given, made = ([_spec(name, value.shape) for name, value in inputs.items()], [_spec("y", result)])
        contract = _write(backend, Path(scratch), list(nodes), given, made)
        with open_engine(backend, Path(scratch), contract, threads) as engine:
            # A backend has no upload of its own: an engine that copies leaves each input where it is read.
            held = {}
            for name, value in inputs.items():
                held[name] = _uploaded(backend, Path(scratch), name, value, threads)
            target = engine.empty(result)
            return _best(lambda: engine.infer_into(held, {"y": target}))


def _uploaded(backend: str, folder: Path, name: str, value: np.ndarray, threads: int) -> Tensor:
    node = helper.make_node("Identity", ["x"], ["y"])
    contract = _write(backend, folder, [node], [_spec("x", value.shape)], [_spec("y", value.shape)], f"upload_{name}")
    with open_engine(backend, folder, contract, threads) as engine:
        return engine.infer({"x": value}, keep=("y",))["y"]


def _spec(name: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name=name, shape=shape)


def _write(
    backend: str,
    folder: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[TensorSpec],
    outputs: list[TensorSpec],
    stem: str = "ceiling",
) -> EngineContract:
    """The engine's file for this backend: an ONNX program, or the plan that TensorRT builds of it."""
    described = [
        [helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, spec.shape) for spec in specs]
        for specs in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, stem, *described)
    path = folder / f"{stem}.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    if backend.startswith("tensorrt"):
        path = _plan(backend, path)
    file = FileRecord(name=path.name, bytes=path.stat().st_size, sha256="0" * 64)  # nobody checks it
    return EngineContract(role=ROLE, program=path.name, files=(file,), inputs=tuple(inputs), outputs=tuple(outputs))


def _plan(backend: str, program: Path) -> Path:
    from sa.export.targets.tensorrt.builder import Job, build
    from sa.runtime.backends.cuda import compute_capability

    plan = program.with_suffix(".plan")
    capabilities = (compute_capability() or "",) if backend == "tensorrt-rtx" else ()
    build(Job(backend=backend, program=program, plan=plan, capabilities=capabilities, profile={}))
    return plan


def _best(work: Callable[[], object]) -> float:
    work()
    seconds = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    chosen: Device = "cuda" if sys.argv[1] == "cuda" else "cpu"
    print(json.dumps(asdict(measured(chosen, int(sys.argv[2])))))
