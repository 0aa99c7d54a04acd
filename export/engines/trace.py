"""A network becomes a static Paddle program, and the program's arithmetic is counted.

Tracing needs no weights: parameters appear in the program by name, and each target brings the weights itself. A
network of 1.55 B parameters is traced in seconds within some hundred megabytes.
"""

import contextlib
import dataclasses
import importlib
import math
import pkgutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paddle
from paddle import nn
from paddle.nn.layer import layers

from sa.export import networks
from sa.export.engines import specialize
from sa.export.gradient import Gradient
from sa.export.gradient.paddle_backward import differentiate
from sa.export.onnx.cost import Cost, paddle_cost
from sa.runtime.contract import WEIGHT_BYTES, Precision, TensorSpec


@dataclass(frozen=True)
class Traced:
    """A network's program for given input shapes."""

    program: object  # paddle.pir.Program
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: dict[str, tuple[int, ...]]  # those the program reads, in Paddle's layout

    def save(self, path: Path) -> None:
        """Write the program without weights, as Paddle's .json."""
        paddle.core.serialize_pir_program(self.program, str(path), True, False, True)

    @property
    def batch(self) -> int:
        """The largest batch, which unknown sizes in the program stand for."""
        return max((dim[1] for spec in self.inputs for dim in spec.shape if not isinstance(dim, int)), default=1)

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(shape) for shape in self.parameters.values())

    def bytes(self, precision: Precision = "fp32") -> int:
        """Weights, inputs and outputs once each; inputs and outputs are float32 in every precision."""
        ends = sum(math.prod(spec.largest) for spec in (*self.inputs, *self.outputs))
        return WEIGHT_BYTES[precision] * self.parameter_count + 4 * ends


@contextlib.contextmanager
def _nothing_recorded() -> Iterator[None]:
    """Without the call stack and the layers' path that Paddle notes with every operator it traces.

    It keeps both for good, 90,000 objects for the UNet, and searches all operators so far in every layer: tracing the
    UNet of 1.55 B parameters takes 1.3 s without and 8.6 s with them (CPU time, Paddle 3.2.2).
    """
    extract_stack, name_struct = traceback.extract_stack, layers.name_struct
    traceback.extract_stack = lambda *_: []
    layers.name_struct = lambda _: contextlib.nullcontext()
    try:
        yield
    finally:
        traceback.extract_stack, layers.name_struct = extract_stack, name_struct


@_nothing_recorded()
def trace(
    forward: Callable,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    gradient: Gradient | None = None,
) -> Traced:
    """The static program of a network's method `forward`, which takes `inputs` in this order; or of its gradient."""
    # Our networks hold no data-dependent branches: they are traced as they stand, without rewriting their source.
    paddle.jit.ignore_module(_network_modules())
    specs = [
        paddle.static.InputSpec([dim if isinstance(dim, int) else None for dim in spec.shape], "float32", spec.name)
        for spec in inputs
    ]
    entry = _Entry(forward)
    static = paddle.jit.to_static(entry.forward, input_spec=[specs], full_graph=True)
    concrete = static.concrete_program_specify_input_spec(with_hook=False, is_prim_infer=False)
    with paddle.pir_utils.IrGuard():
        mapping = paddle.pir.IrMapping()
        program = concrete.main_program.clone(mapping)
        values = [value for value in paddle.utils.flatten(concrete.inputs) if isinstance(value, paddle.pir.Value)]
        feeds = [mapping.look_up(value) for value in values]
        fetches = [mapping.look_up(value) for value in concrete.outputs]
        if gradient is None:
            program = paddle.static.normalize_program(program, feeds, fetches)
        else:
            program = differentiate(program, feeds, fetches[0], gradient)
    parameters = {
        op.attrs()["parameter_name"]: tuple(op.result(0).shape)
        for op in program.global_block().ops
        if op.name() == "builtin.parameter"
    }
    if gradient is None:
        return Traced(program, inputs, outputs, parameters)
    return Traced(program, gradient.inputs(inputs), gradient.outputs(outputs[0]), parameters)


class _Entry(nn.Layer):
    """Paddle rewrites the outermost function it traces, and asks of each that calls, at length, whether it may."""

    def __init__(self, method: Callable):
        super().__init__()
        self.network = method.__self__  # so that its parameters are found
        self.method = method

    def forward(self, inputs):
        return self.method(*inputs)


def call_cost(
    traced: Traced,
    forward: Callable,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    gradient: Gradient | None = None,
) -> Cost:
    """What a call of what `trace` made of the same costs at its largest shapes."""
    largest = [tuple(spec.model_copy(update={"shape": spec.largest}) for spec in specs) for specs in (inputs, outputs)]
    if (inputs, outputs) != tuple(largest):
        # Traced once more: of an unknown size, a program does not say how many times it counts.
        traced = trace(forward, *largest, _at_largest(gradient))
    return paddle_cost(traced.program)


def _at_largest(gradient: Gradient | None) -> Gradient | None:
    if gradient is None or gradient.cotangent is None:
        return gradient
    cotangent = gradient.cotangent.model_copy(update={"shape": gradient.cotangent.largest})
    return dataclasses.replace(gradient, cotangent=cotangent)


def _network_modules() -> list:
    names = [module.name for module in pkgutil.iter_modules(networks.__path__, networks.__name__ + ".")]
    return [specialize, *(importlib.import_module(name) for name in names)]
