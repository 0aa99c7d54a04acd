"""A network becomes a static Paddle program, and the program's arithmetic is counted.

Tracing needs no weights: parameters appear in the program by name, and each target brings the weights itself. A
network of 1.55 B parameters is traced in seconds within some hundred megabytes.
"""

import importlib
import math
import pkgutil
from dataclasses import dataclass
from pathlib import Path

import paddle
from paddle import nn

from sa.export import networks
from sa.runtime.engine_set import TensorSpec

UNKNOWN = -1


@dataclass(frozen=True)
class Traced:
    """A network's program for given input shapes."""

    program: object  # paddle.pir.Program
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    parameters: dict[str, tuple[int, ...]]  # those the program reads, in Paddle's layout
    flops: int

    def save(self, path: Path) -> None:
        """Write the program without weights, as Paddle's .json."""
        paddle.core.serialize_pir_program(self.program, str(path), True, False, True)

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(shape) for shape in self.parameters.values())

    @property
    def bytes(self) -> int:
        """Weights, inputs and outputs once each, float32."""
        shapes = [*self.parameters.values(), *(spec.largest for spec in (*self.inputs, self.output))]
        return 4 * sum(math.prod(shape) for shape in shapes)


def trace(network: nn.Layer, inputs: tuple[TensorSpec, ...], output: TensorSpec) -> Traced:
    """The static program of `network`, whose `forward` takes `inputs` in this order."""
    # Our networks hold no data-dependent branches: they are traced as they stand, without rewriting their source.
    paddle.jit.ignore_module(_network_modules())
    specs = [
        paddle.static.InputSpec([dim if isinstance(dim, int) else None for dim in spec.shape], "float32", spec.name)
        for spec in inputs
    ]
    static = paddle.jit.to_static(network.forward, input_spec=specs, full_graph=True)
    concrete = static.concrete_program_specify_input_spec(with_hook=False, is_prim_infer=False)
    with paddle.pir_utils.IrGuard():
        mapping = paddle.pir.IrMapping()
        program = concrete.main_program.clone(mapping)
        feeds = [mapping.look_up(value) for value in concrete.inputs if isinstance(value, paddle.pir.Value)]
        fetches = [mapping.look_up(value) for value in concrete.outputs]
        program = paddle.static.normalize_program(program, feeds, fetches)
    operations = program.global_block().ops
    parameters = {
        op.attrs()["parameter_name"]: tuple(op.result(0).shape) for op in operations if op.name() == "builtin.parameter"
    }
    frames = max((dim[1] for spec in inputs for dim in spec.shape if not isinstance(dim, int)), default=1)
    flops = sum(_flops(op, frames) for op in operations)
    return Traced(program, inputs, output, parameters, flops)


def _network_modules() -> list:
    names = [module.name for module in pkgutil.iter_modules(networks.__path__, networks.__name__ + ".")]
    return [importlib.import_module(name) for name in names]


def _flops(op, frames: int) -> int:
    """2 per multiply-add of a convolution or matrix product; an unknown size is the number of frames."""
    name = op.name().removeprefix("pd_op.")
    if name not in ("conv2d", "conv3d", "depthwise_conv2d", "matmul"):
        return 0
    first, second = (
        [frames if size == UNKNOWN else size for size in value.shape] for value in op.operands_source()[:2]
    )
    out = math.prod(frames if size == UNKNOWN else size for size in op.result(0).shape)
    if name == "matmul":
        return 2 * out * (first[-2] if op.attrs()["transpose_x"] else first[-1])
    return 2 * out * math.prod(second[1:])
