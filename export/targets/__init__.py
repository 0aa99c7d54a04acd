"""One module per engine library: a traced network and its weights become engine files."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sa.export.checkpoint import Weights
from sa.export.cost import Cost
from sa.export.gradient import Gradient
from sa.runtime.backends.tensorrt_versions import LIBRARIES
from sa.runtime.engine_set import OperatorSet, TensorSpec

if TYPE_CHECKING:
    from sa.export.precision import Policy
    from sa.export.trace import Traced


TWIN = "-twin"  # ends the stem of an engine's twin, which shares the engine's weights


@dataclass(frozen=True)
class Half:
    """How an engine is typed fp16."""

    policy: "Policy"
    float32: frozenset[str] = frozenset()  # tensors that were found unfit for it
    loss_scale: float = 1.0  # of a VJP's cotangent


@dataclass(frozen=True)
class Network:
    """What an engine is made of: a network's method or its gradient, and where its weights lie."""

    forward: Callable
    inputs: tuple[TensorSpec, ...]  # of the method
    outputs: tuple[TensorSpec, ...]
    gradient: Gradient | None
    weights: Collection[Weights]
    own_weights: bool = False  # in a file of the engine's own, with nothing in it that the engine does not read
    half: Half | None = None  # None: float32


@dataclass(frozen=True)
class Written:
    """An engine's files, names inside the folder, and what a call of it costs."""

    program: str
    data: tuple[str, ...]
    traced: "Traced"
    cost: Cost
    operator_sets: tuple[OperatorSet, ...] = ()  # of a program for ONNX Runtime


# (network, folder, stem of the program's name) -> what was written. Weights that are there already are shared.
Target = Callable[[Network, Path, str], Written]


def target(backend: str) -> Target:
    """The target of a backend, its library imported now."""
    if backend == "onnxruntime":
        from sa.export.targets.onnxruntime import write_engine
    elif backend in LIBRARIES:  # TensorRT, whose plans are built from these programs in the end
        from sa.export.targets.onnxruntime import write_portable_engine as write_engine
    elif backend == "paddle":
        from sa.export.targets.paddle import write_engine
    else:
        raise ValueError(f"unknown backend {backend!r}")
    return write_engine
