"""Engines on ONNX Runtime's CPU provider, and helpers for all its providers."""

import contextlib
import platform
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime import OrtAllocatorType, OrtMemoryInfo, OrtMemType

from sa.runtime.backends.base import Engine, Interface, Tensor, as_array
from sa.runtime.backends.interface import Found, check_interface
from sa.runtime.contract import EngineContract
from sa.runtime.errors import EngineSetError, first_line

# One arena for the activations of all engines: with one each, every engine would keep its own peak.
_ARENA = OrtMemoryInfo("Cpu", OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT)
onnxruntime.create_and_register_allocator(_ARENA, onnxruntime.OrtArenaCfg({}))


class OnnxRuntimeEngine(Engine):
    without: tuple[str, ...] = ()  # optimizations of ONNX Runtime's that are left out

    def __init__(self, folder: Path, contract: EngineContract, threads: int):
        super().__init__(contract)
        options = session_options(threads)
        options.add_session_config_entry("session.use_env_allocators", "1")
        path = folder / contract.program
        if contract.prepacked is not None and contract.prepacked.host == host():
            path = folder / contract.prepacked.program
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = new_session(path, options, ["CPUExecutionProvider"], self.without)
        check_session(path, contract, self._session)

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        names = [spec.name for spec in self.contract.outputs]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))

    def _infer_into(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(as_array(value)))
        for name, value in outputs.items():
            array = as_array(value)
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._session.run_with_iobinding(binding)

    def close(self) -> None:
        del self._session


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Session options that are the same on every device."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    # Threads of an idle engine must not spin: the refinement holds seventy engines at once.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Keep the weights out of the arena.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.enable_mem_reuse = False  # planning takes seconds for a UNet, and the arena reuses memory anyway
    options.enable_mem_pattern = False  # needs the whole peak in one block, which a shared arena seldom has
    return options


def new_session(
    path: Path, options: onnxruntime.SessionOptions, providers: list, without: Sequence[str] = ()
) -> onnxruntime.InferenceSession:
    """Load a program on these providers, with no fallback to others; EngineSetError if that fails."""
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=providers, enable_fallback=0, disabled_optimizers=list(without)
        )
    except Exception as error:  # ONNX Runtime raises a dozen types of its own, without a common base
        raise EngineSetError(
            f"{path} cannot be loaded by ONNX Runtime {onnxruntime.__version__}: {first_line(error)}; "
            "rebuild the engine set with sa-export."
        ) from error


def check_session(path: Path, contract: Interface, session: onnxruntime.InferenceSession) -> None:
    """EngineSetError unless the session has the inputs and outputs of the contract."""

    def found(arguments: list) -> list[Found]:
        return [Found(one.name, _dtype(one.type), tuple(map(_size, one.shape))) for one in arguments]

    check_interface(path, contract, found(session.get_inputs()), found(session.get_outputs()))


def _dtype(kind: str) -> str:
    """ONNX Runtime's `tensor(float)` in NumPy's words."""
    inner = kind.removeprefix("tensor(").removesuffix(")")
    return "float32" if inner == "float" else inner


def _size(dim: int | str | None) -> int | None:
    return dim if isinstance(dim, int) else None


def host() -> str:
    """What prepacked weights depend on: the version of the library and the instruction set of the CPU."""
    flags: set[str] = set()
    with contextlib.suppress(OSError):  # Linux only; elsewhere the processor's name has to do
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                break
    return " ".join(
        [f"onnxruntime {onnxruntime.__version__}", platform.machine(), platform.processor(), *sorted(flags)]
    )
