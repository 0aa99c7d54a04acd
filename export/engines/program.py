"""What an engine is made of, and what was written of it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sa.export.checkpoint.checkpoint import Weights
from sa.export.engines.trace import Traced
from sa.export.gradient import Gradient
from sa.export.onnx.cost import Cost
from sa.export.onnx.rewrites.lower_precision import Policy
from sa.runtime.contract import OperatorSet, TensorSpec

TWIN = "-twin"  # ends the stem of an engine's twin, which shares the engine's weights


@dataclass(frozen=True)
class Half:
    """How an engine is typed fp16 or bf16."""

    policy: Policy
    float32: frozenset[str] = frozenset()  # tensors that were found unfit for it
    loss_scale: float | None = None  # of a VJP's cotangent; None: as it comes, which has float32's range


@dataclass(frozen=True)
class Network:
    """What an engine is made of: a network's method or its gradient, and where its weights lie."""

    forward: Callable
    inputs: tuple[TensorSpec, ...]  # of the method
    outputs: tuple[TensorSpec, ...]
    gradient: Gradient | None
    weights: Collection[Weights]
    own_weights: bool = False  # in a file of the engine's own, with nothing in it that the engine does not read
    shares: str | None = None  # the stem of an engine that reads all of its weights too, for libraries that can share
    half: Half | None = None  # None: float32


@dataclass(frozen=True)
class Written:
    """An engine's files, names inside the folder, and what a call of it costs."""

    program: str
    data: tuple[str, ...]
    traced: Traced
    cost: Cost
    operator_sets: tuple[OperatorSet, ...] = ()  # of a program for ONNX Runtime
