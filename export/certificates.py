"""How closely an engine matches its float32 network on fixed inputs, and how closely it must. Needs no Paddle."""

import math

import numpy as np

from sa.export.engines.fixed_inputs import fixed_inputs
from sa.runtime.backends.base import Engine
from sa.runtime.contract import DEEP, Certificate
from sa.runtime.errors import UserError

TOLERANCE = {"fp32": 1e-4, "fp16": 3e-2, "bf16": 6e-2}  # on max |engine - network| / max |network|
# On |engine - network| / |network|, Euclidean, of gradients through ArcFace: next to the kink of a PReLU, rounding
# decides which slope counts. At true size Paddle's float32 and ONNX Runtime's are 4e-3 from float64, and 6e-3 apart.
KINKED_TOLERANCE = {"fp32": 1.4e-2, "fp16": 4.5e-2, "bf16": 4.5e-2}  # cosines of 0.9999 and 0.999


def certificate(
    engine: Engine, reference: tuple[np.ndarray, ...], reduced: bool, precision: str, kinked: bool = False
) -> Certificate:
    """Compare one engine with the network's outputs for the same fixed inputs; the worst of them counts.

    `kinked`: the last output is a gradient through functions whose slope jumps. It is compared by its Euclidean norm,
    and so is the feature that a UNet keeps. That lies within the network, and what follows evens rounding out: on the
    puppet checkpoint PyTorch's float32 is 9e-5 of the maximum from its own float64 there, and 2e-6 in the output.
    """
    values = fixed_inputs(engine.contract.inputs)
    results = engine.infer(values)
    found = []
    for i, ((name, result), wanted) in enumerate(zip(results.items(), reference, strict=True)):
        at_kinks = kinked and i == len(results) - 1
        tolerance = (KINKED_TOLERANCE if at_kinks else TOLERANCE)[precision]
        norm = "euclidean" if at_kinks or name == DEEP else "max"
        found.append(_difference(result, wanted, norm) | {"tolerance": tolerance})
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
