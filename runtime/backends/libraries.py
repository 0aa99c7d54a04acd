"""The engine libraries: which is installed, in which version, and whether an engine set can run on it.

A library is asked itself, not the distribution it came in: onnxruntime and onnxruntime-gpu are one module, TensorRT
comes in a distribution for each version of CUDA, and what pip remembers need not be what Python imports.
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
    """What a backend runs on."""

    name: str  # as it is installed
    module: str
    extra: str  # of ours, that installs it


LIBRARY_OF = {
    "onnxruntime": Library("onnxruntime", "onnxruntime", "cpu"),
    "onnxruntime-cuda": Library("onnxruntime-gpu", "onnxruntime", "cuda"),
    "paddle": Library("paddlepaddle", "paddle", "paddle"),
    "paddle-cuda": Library("paddlepaddle-gpu", "paddle", "cuda"),
    "tensorrt": Library("tensorrt", "tensorrt", "tensorrt"),
    "tensorrt-rtx": Library("tensorrt-rtx", "tensorrt_rtx", "tensorrt-rtx"),
}
PADDLE_GPU = "install paddlepaddle-gpu 3.2.2 in the place of paddlepaddle, as Paddle's installation guide says"
# Found by running sets of 3.2.2: 3.1.1 runs them; 3.3.1 ends in a segmentation fault on the refinement's programs.
PADDLE_RELEASES = ((3, 1), (3, 2))


def backend_version(backend: str) -> str | None:
    """The version of the library that a backend would run on here; None: not installed, or not for that device.

    EngineSetError for a library that is installed but cannot be imported.
    """
    library = LIBRARY_OF[backend]
    if find_spec(library.module) is None:
        return None
    if library.module == "paddle":
        quiet_paddle()
    try:
        module = import_module(library.module)
    except Exception as error:  # whatever a native library that lacks another one raises
        raise EngineSetError(
            f"{library.name} is installed but cannot be imported ({first_line(error)}): install it again, or what it "
            "lacks."
        ) from error
    return module.__version__ if not backend.endswith("-cuda") or _knows_gpus(module) else None


def _knows_gpus(module: ModuleType) -> bool:
    if module.__name__ == "paddle":
        return module.is_compiled_with_cuda()
    return "CUDAExecutionProvider" in module.get_available_providers()


def quiet_paddle() -> None:
    """Before Paddle is imported: keep its remarks on compilers and API variants from the user; errors still show."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", module=r"paddle(\.|$)")


def missing_operator(needed: Iterable[tuple[str, int, Iterable[str]]]) -> str | None:
    """The first operator that the installed ONNX Runtime lacks, in words; None: it knows all.

    `needed`: an operator set's domain ("" is ONNX's own) and version, and the operators taken from it. ONNX's own only
    have to be defined, because those without a kernel are made of others; of another domain a kernel must be there.
    """
    from onnxruntime.capi import onnxruntime_pybind11_state as ort

    since: dict[tuple[str, str], int] = {}  # the earliest version that each operator is defined from
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
    """The leading three numbers of a version, or of a compute capability its two."""
    numbers = []
    for part in version.split(".")[:3]:
        digits = "".join(character for character in part if character.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers)
