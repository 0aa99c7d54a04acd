"""Which engine libraries are installed, in which version, and whether an engine set can run on them.

Versions come from the imported module and not from pip's records: onnxruntime and onnxruntime-gpu are one module,
TensorRT has a distribution for each version of CUDA, and pip may list something else than what Python imports.
"""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from sa.runtime.errors import EngineSetError, first_line


@dataclass(frozen=True)
class Library:
    """The library of a backend."""

    name: str  # of its pip distribution
    module: str
    extra: str  # the extra of this project that installs it


LIBRARY_OF = {
    "onnxruntime": Library("onnxruntime", "onnxruntime", "cpu"),
    "onnxruntime-cuda": Library("onnxruntime-gpu", "onnxruntime", "cuda"),
    "openvino": Library("openvino", "openvino", "openvino"),
    "paddle": Library("paddlepaddle", "paddle", "paddle"),
    "paddle-cuda": Library("paddlepaddle-gpu", "paddle", "cuda"),
    "tensorrt": Library("tensorrt", "tensorrt", "tensorrt"),
    "tensorrt-rtx": Library("tensorrt-rtx", "tensorrt_rtx", "tensorrt-rtx"),
}
PADDLE_GPU = "install paddlepaddle-gpu 3.2.2 in the place of paddlepaddle, as Paddle's installation guide says"
OPENVINO_OLDEST = (2026, 4)
# Tested with engine sets of 3.2.2: 3.1.1 runs them; 3.3.1 ends in a segmentation fault on the refinement's programs.
PADDLE_RELEASES = ((3, 1), (3, 2))


def backend_version(backend: str) -> str | None:
    """The installed version of a backend's library. None if it is missing or cannot use the backend's device.

    EngineSetError if it is installed but cannot be imported.
    """
    library = LIBRARY_OF[backend]
    if find_spec(library.module) is None:
        return None
    if library.module == "paddle":
        quiet_paddle()
    try:
        module = import_module(library.module)
    except Exception as error:  # a native library with a missing dependency may raise anything
        raise EngineSetError(
            f"{library.name} is installed but cannot be imported ({first_line(error)}): install it again, or what it "
            "lacks."
        ) from error
    version = module.__version__.partition("-")[0]  # OpenVINO adds the build
    return version if not backend.endswith("-cuda") or _knows_gpus(module) else None


def _knows_gpus(module: ModuleType) -> bool:
    if module.__name__ == "paddle":
        return module.is_compiled_with_cuda()
    return "CUDAExecutionProvider" in module.get_available_providers()


def quiet_paddle() -> None:
    """Silence Paddle's notes on compilers and APIs; errors still show. Call this before Paddle is imported."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", module=r"paddle(\.|$)")


def missing_operator(needed: Iterable[tuple[str, int, Iterable[str]]]) -> str | None:
    """The first operator that the installed ONNX Runtime lacks, in words; None if it has all.

    `needed`: an operator set's domain ("" is ONNX's own), its version, and the operators used from it. ONNX's own
    operators only have to be defined, because one without a kernel is built from others. Other domains need a kernel.
    """
    from onnxruntime.capi import onnxruntime_pybind11_state as ort

    since: dict[tuple[str, str], int] = {}  # the first opset version of each operator
    for schema in ort.get_all_operator_schema():
        key = schema.domain, schema.name
        since[key] = min(since.get(key, schema.since_version), schema.since_version)
    newest = max(schema.since_version for schema in ort.get_all_operator_schema() if schema.domain == "")
    kernels = {(kernel.domain, kernel.op_name) for kernel in ort.get_all_opkernel_def()}
    for domain, version, operators in needed:
        if domain == "" and version > newest:
            return f"the operators of ONNX's opset {version}"
        for name in operators:
            if since.get((domain, name), version + 1) > version or (domain and (domain, name) not in kernels):
                return f"the operator {name} of {domain or 'ONNX'}'s opset {version}"
    return None


def release(version: str) -> tuple[int, ...]:
    """The first three numbers of a version, or the two of a compute capability."""
    numbers = []
    for part in version.split(".")[:3]:
        digits = "".join(character for character in part if character.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers)
