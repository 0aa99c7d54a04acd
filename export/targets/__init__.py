"""One folder per engine library: a traced network and its weights become engine files."""

from collections.abc import Callable
from pathlib import Path

from sa.export.engines.program import Network, Written
from sa.runtime.backends.tensorrt_versions import LIBRARIES

# (network, folder, stem of the program's name) -> what was written. Weights that are there already are shared.
Target = Callable[[Network, Path, str], Written]


def target(backend: str) -> Target:
    """The target of a backend, its library imported now."""
    if backend == "onnxruntime":
        from sa.export.targets.onnxruntime.program import write_engine
    elif backend in LIBRARIES:  # TensorRT, whose plans are built from these programs in the end
        from sa.export.targets.onnxruntime.program import write_portable_engine as write_engine
    elif backend == "paddle":
        from sa.export.targets.paddle.program import write_engine
    else:
        raise ValueError(f"unknown backend {backend!r}")
    return write_engine
