"""One module per engine library: a traced network and its weights become engine files."""

from collections.abc import Callable
from pathlib import Path

from sa.export.checkpoint import Weights
from sa.export.trace import Traced

# (traced network, its weights, folder, stem of the program's name, stem of the weights' name)
# -> (program file, weights file), names inside the folder. Weights that are there already are shared, not rewritten.
Target = Callable[[Traced, Weights, Path, str, str], tuple[str, str]]


def target(backend: str) -> Target:
    """The target of a backend, its library imported now."""
    if backend == "onnxruntime":
        from sa.export.targets.onnxruntime import write_engine
    elif backend == "paddle":
        from sa.export.targets.paddle import write_engine
    else:
        raise ValueError(f"unknown backend {backend!r}")
    return write_engine
