"""Every engine against the float32 network, on fixed inputs."""

import gc
import math
from collections.abc import Callable, Mapping

import numpy as np
import paddle
from paddle import nn

from sa.export.checkpoint.checkpoint import Checkpoint, Part, Weights
from sa.export.engines.fixed_inputs import fixed_inputs
from sa.export.engines.roles import EngineDefinition
from sa.export.gradient import Gradient
from sa.runtime.backends.base import Engine
from sa.runtime.contract import Certificate, Shapes, TensorSpec
from sa.runtime.errors import UserError

TOLERANCE = {"fp32": 1e-4, "fp16": 3e-2, "bf16": 6e-2}  # on max |engine - network| / max |network|
# On |engine - network| / |network|, Euclidean, of gradients through ArcFace: next to the kink of a PReLU, rounding
# decides which slope counts. At true size Paddle's float32 and ONNX Runtime's are 4e-3 from float64, and 6e-3 apart.
KINKED_TOLERANCE = {"fp32": 1.4e-2, "fp16": 4.5e-2, "bf16": 4.5e-2}  # cosines of 0.9999 and 0.999
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


def certificate(
    engine: Engine, reference: tuple[np.ndarray, ...], reduced: bool, precision: str, kinked: bool = False
) -> Certificate:
    """Compare one engine with the network's outputs for the same fixed inputs; the worst of them counts.

    `kinked`: the last output is a gradient through functions whose slope jumps.
    """
    values = fixed_inputs(engine.contract.inputs)
    results = list(engine.infer(values).values())
    found = []
    for i, (result, wanted) in enumerate(zip(results, reference, strict=True)):
        euclidean = kinked and i == len(results) - 1
        tolerance = (KINKED_TOLERANCE if euclidean else TOLERANCE)[precision]
        found.append(_difference(result, wanted, "euclidean" if euclidean else "max") | {"tolerance": tolerance})
    return Certificate(
        shapes="reduced" if reduced else "full",
        input_shapes={name: value.shape for name, value in values.items()},
        **max(found, key=lambda one: one["relative"] / max(one["tolerance"], 1e-30)),
    )


def _difference(result: np.ndarray, reference: np.ndarray, norm: str) -> dict:
    result, reference = result.astype(np.float64), reference.astype(np.float64)
    difference = np.abs(result - reference).max()
    norms = np.linalg.norm(result) * np.linalg.norm(reference)
    if norm == "max":
        relative = float(difference / max(np.abs(reference).max(), 1e-30))
    else:
        relative = float(np.linalg.norm(result - reference) / max(np.linalg.norm(reference), 1e-30))
    return {
        "max_abs": float(difference),
        "relative": relative if math.isfinite(relative) else math.inf,
        "norm": norm,
        "cosine": float(np.vdot(result, reference) / max(norms, 1e-30)),
    }


def beyond_tolerance(certificate: Certificate, role: str) -> UserError:
    """What to say of an engine that is further from its network than its tolerance allows."""
    return UserError(
        f"the {role} engine differs from the float32 network by {certificate.relative:.2e} relative "
        f"({certificate.max_abs:.2e} absolute), more than the tolerance {certificate.tolerance:.0e}; "
        "nothing was written, please report this with your library versions."
    )
