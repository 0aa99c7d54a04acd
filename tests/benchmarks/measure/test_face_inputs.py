"""The inputs on which loss gradients are measured: crops as a run makes them, the same on every machine."""

import numpy as np
import pytest

from sa.benchmarks.face_inputs import loss_gradient_inputs
from sa.benchmarks.peers.contracts import loss_gradient_contract
from sa.runtime.engine_set import Shapes

CONTRACT = loss_gradient_contract(Shapes(height=128, width=192, tile_size=2, decode_chunk=3))


def made(seed=0):
    return loss_gradient_inputs(CONTRACT, np.random.default_rng(seed))


def test_they_have_the_contracts_names_shapes_and_types():
    inputs = made()
    assert inputs.keys() == {spec.name for spec in CONTRACT.inputs}
    for spec in CONTRACT.inputs:
        assert inputs[spec.name].shape == spec.largest and inputs[spec.name].dtype == np.float32


def test_every_frame_is_cropped_to_its_middle_third():
    inputs = made()
    for name, size in (("rows", 128), ("columns", 192)):
        used = np.flatnonzero(inputs[name].any(axis=(0, 1)))
        assert (used[0], used[-1]) == (size // 3, 2 * size // 3 - 1)
        assert inputs[name].sum(axis=2) == pytest.approx(1, abs=1e-6)
        assert np.array_equal(inputs[name][0], inputs[name][2])
    assert inputs["weights"] == pytest.approx(1 / 3)


def test_latents_and_reference_are_fresh_and_repeatable():
    generator = np.random.default_rng(1)
    first, second, again = (loss_gradient_inputs(CONTRACT, g) for g in (generator, generator, np.random.default_rng(1)))
    for name in ("latents", "reference"):
        assert np.array_equal(first[name], again[name]) and not np.array_equal(first[name], second[name])
    assert first["latents"].std() == pytest.approx(0.18215, rel=0.05)
