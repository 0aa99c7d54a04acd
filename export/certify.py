"""Every engine against the float32 network, on fixed inputs."""

import math

import numpy as np
import paddle
from paddle import nn

from sa.export.checkpoint import Weights
from sa.runtime.backends.base import Engine
from sa.runtime.engine_set import Certificate, Shapes, TensorSpec
from sa.runtime.errors import UserError
from sa.runtime.fixed_inputs import fixed_inputs

TOLERANCE = {"fp32": 1e-4}  # on max |engine - network| / max |network|
AFFORDABLE_FLOPS = 2e12  # a dearer network is certified on a twin of reduced shapes
TWIN_SIDE, TWIN_FRAMES = 64, 2  # pixels and frames a twin has at most; H and W keep their multiples of 64


def twin_shapes(shapes: Shapes) -> Shapes:
    """The smallest shapes that still exercise everything: two by one blocks of 64 pixels, two frames."""
    return Shapes(
        height=TWIN_SIDE,
        width=2 * TWIN_SIDE,
        tile_size=min(shapes.tile_size, TWIN_FRAMES),
        decode_chunk=min(shapes.decode_chunk, TWIN_FRAMES),
    )


def load_weights(network: nn.Layer, weights: Weights) -> None:
    """Give the network memory and values, one parameter at a time."""
    parameters = dict(network.named_parameters())
    for name, value in weights.each(parameters):
        parameters[name].set_value(np.ascontiguousarray(value))


def reference_output(network: nn.Layer, inputs: tuple[TensorSpec, ...]) -> np.ndarray:
    """What the float32 network, weights loaded, makes of the fixed inputs."""
    values = fixed_inputs(inputs)
    with paddle.no_grad():
        return network(*(paddle.to_tensor(values[spec.name]) for spec in inputs)).numpy()


def certificate(engine: Engine, reference: np.ndarray, reduced: bool, precision: str) -> Certificate:
    """Compare one engine with the network's output for the same fixed inputs."""
    values = fixed_inputs(engine.contract.inputs)
    (result,) = engine.infer(values).values()
    difference = np.abs(result.astype(np.float64) - reference)
    norms = np.linalg.norm(result.astype(np.float64)) * np.linalg.norm(reference.astype(np.float64))
    relative = float(difference.max() / max(np.abs(reference).max(), 1e-30))
    return Certificate(
        shapes="reduced" if reduced else "full",
        input_shapes={name: value.shape for name, value in values.items()},
        max_abs=float(difference.max()),
        relative=relative if math.isfinite(relative) else math.inf,
        cosine=float(np.vdot(result.astype(np.float64), reference.astype(np.float64)) / max(norms, 1e-30)),
        tolerance=TOLERANCE[precision],
    )


def beyond_tolerance(certificate: Certificate, role: str) -> UserError:
    """What to say of an engine that is further from its network than its tolerance allows."""
    return UserError(
        f"the {role} engine differs from the float32 network by {certificate.relative:.2e} relative "
        f"({certificate.max_abs:.2e} absolute), more than the tolerance {certificate.tolerance:.0e}; "
        "nothing was written, please report this with your library versions."
    )
