"""oneDNN's kernels on several kinds of inputs: some faults show on none but some of them."""

from collections.abc import Callable, Mapping

import numpy as np

from sa.export.certificates import TOLERANCE
from sa.export.engines.fixed_inputs import fixed_inputs
from sa.runtime.backends.base import Engine
from sa.runtime.contract import EngineContract

Inputs = dict[str, np.ndarray]
ROUNDING = 2e-7  # relative: twice that of a float32
AMPLIFIED = 10.0  # an engine rounds many times, its inputs are rounded once


def kinds_of_inputs(contract: EngineContract) -> dict[str, Inputs]:
    """Inputs by kind: the fixed ones, in a run's ranges, and noise of several scales, the same on every machine."""
    generator = np.random.Generator(np.random.Philox(key=20250101))

    def drawn(draw: Callable[[tuple[int, ...]], np.ndarray]) -> Inputs:
        return {spec.name: draw(spec.largest).astype(np.float32) for spec in contract.inputs}

    return {
        "fixed": fixed_inputs(contract.inputs),
        "normal, 0.1": drawn(lambda shape: 0.1 * generator.standard_normal(shape)),
        "normal, 1": drawn(generator.standard_normal),
        "normal, 10": drawn(lambda shape: 10 * generator.standard_normal(shape)),
        "uniform, 0 to 1": drawn(generator.random),
    }


def differences(
    tried: EngineContract, plain: EngineContract, opened: Callable[[EngineContract], Engine]
) -> Mapping[str, float] | None:
    """How far an engine is from the plain one by kind of inputs, relative to the largest value; None if too far.

    Too far is more than the tolerance and more than the rounding of the inputs explains, whichever is larger.
    `opened` opens an engine; one is open at a time.
    """
    kinds, tolerance = kinds_of_inputs(plain), TOLERANCE["fp32"]
    wanted, found = (_outputs(opened(contract), kinds) for contract in (plain, tried))
    errors = {kind: _difference(found[kind], wanted[kind]) for kind in kinds}
    beyond = {kind: _rounded(kinds[kind]) for kind, error in errors.items() if not error <= tolerance}  # or NaN
    if beyond:
        rounded = _outputs(opened(plain), beyond)
        if not all(errors[kind] <= AMPLIFIED * _difference(rounded[kind], wanted[kind]) for kind in beyond):
            return None
    return errors


def _outputs(engine: Engine, kinds: Mapping[str, Inputs]) -> dict[str, list[np.ndarray]]:
    with engine:
        return {kind: list(engine.infer(values).values()) for kind, values in kinds.items()}


def _rounded(values: Inputs) -> Inputs:
    generator = np.random.Generator(np.random.Philox(key=20250102))
    return {
        name: (value * (1 + ROUNDING * generator.standard_normal(value.shape))).astype(np.float32)
        for name, value in values.items()
    }


def _difference(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """The worst output's; NaN where an output holds one, which no comparison lets pass."""
    pairs = zip(found, wanted, strict=True)
    return float(np.max([np.abs(one - other).max() / max(np.abs(other).max(), 1e-30) for one, other in pairs]))
