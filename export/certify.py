"""What every engine is compared with: the float32 network's outputs on fixed inputs."""

import gc
from collections.abc import Callable, Mapping

import numpy as np
import paddle
from paddle import nn

from sa.export.checkpoint.checkpoint import Checkpoint, Part, Weights
from sa.export.engines.fixed_inputs import fixed_inputs
from sa.export.engines.roles import EngineDefinition
from sa.export.gradient import Gradient
from sa.runtime.contract import Shapes, TensorSpec

TWIN_SIDE, TWIN_FRAMES = 64, 2  # pixels and frames a twin has at most; H and W keep their multiples of 64


def twin_shapes(shapes: Shapes) -> Shapes:
    """The smallest shapes that still exercise everything: two by one blocks of 64 pixels, two frames."""
    return Shapes(
        height=TWIN_SIDE,
        width=2 * TWIN_SIDE,
        tile_size=min(shapes.tile_size, TWIN_FRAMES),
        decode_chunk=min(shapes.decode_chunk, TWIN_FRAMES),
    )


class Networks:
    """The float32 networks of a checkpoint with their weights, one in memory at a time: they are large."""

    def __init__(self, checkpoint: Checkpoint, weights: Mapping[Part, Weights]):
        self.checkpoint = checkpoint
        self.weights = weights
        self._loaded: tuple[object, nn.Layer] | None = None
        self._empty: tuple[object, nn.Layer] | None = None

    def empty(self, definition: EngineDefinition) -> nn.Layer:
        """The network of an engine without memory for its weights; the same one for engines that share it."""
        if self._empty is None or self._empty[0] is not definition.network_key:
            self._empty = definition.network_key, definition.network(self.checkpoint)
        return self._empty[1]

    def loaded(self, definition: EngineDefinition) -> nn.Layer:
        """The network of an engine; the same one for engines that share it."""
        if self._loaded is None or self._loaded[0] is not definition.network_key:
            self.release()
            network = definition.network(self.checkpoint)
            for prefix, part in definition.parts.items():
                load_weights(network, self.weights[part], prefix)
            self._loaded = definition.network_key, network
        return self._loaded[1]

    def gradient(self, definition: EngineDefinition, shapes: Shapes) -> Gradient | None:
        return definition.gradient(self.checkpoint, shapes)

    def release(self) -> None:
        self._loaded = None
        gc.collect()


def load_weights(network: nn.Layer, weights: Weights, prefix: str = "") -> None:
    """Give the parameters whose names begin with `prefix` memory and values, one at a time."""
    parameters = {
        name.removeprefix(prefix): parameter
        for name, parameter in network.named_parameters()
        if name.startswith(prefix)
    }
    for name, value in weights.each(parameters):
        parameters[name].set_value(np.ascontiguousarray(value))


def reference_outputs(
    method: Callable, gradient: Gradient | None, inputs: tuple[TensorSpec, ...]
) -> tuple[np.ndarray, ...]:
    """What a float32 network's method, or Paddle's eager autograd of it, makes of the fixed inputs."""
    values = {name: paddle.to_tensor(value) for name, value in fixed_inputs(inputs).items()}
    if gradient is None:
        with paddle.no_grad():
            outputs = method(*values.values())
        return tuple(output.numpy() for output in (outputs if isinstance(outputs, tuple | list) else (outputs,)))
    values[gradient.of].stop_gradient = False
    seed = values.pop(gradient.cotangent.name) if gradient.cotangent is not None else None
    output = method(*values.values())
    (result,) = paddle.grad([output], [values[gradient.of]], None if seed is None else [seed])
    return (result.numpy(),) if seed is not None else (output.numpy(), result.numpy())
