"""The chain of segments, on stand-ins for engines that can be differentiated by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from sa.runtime.backends.base import Engine
from sa.runtime.engine_set import Segment, TensorSpec
from sa.runtime.loss_gradient import SegmentedLossGradient

FRAMES = (1, 3)
CALLS = []


class Power(Engine):
    """y = x^n / 2 elementwise, and its VJP; remembers how it was called."""

    def __init__(self, role, power, by_frame):
        self.power = power
        shape = (1 if by_frame else FRAMES, 4, 2, 2)
        names = ("x", "dy") if role.endswith("_vjp") else ("x",)
        contract = SimpleNamespace(
            role=role,
            inputs=tuple(TensorSpec(name=name, shape=shape) for name in names),
            outputs=(TensorSpec(name="dx" if role.endswith("_vjp") else "y", shape=shape),),
        )
        super().__init__(contract)

    def _infer(self, inputs, keep):
        CALLS.append((self.contract.role, len(inputs["x"])))
        x = inputs["x"]
        if "dy" in inputs:
            return {"dx": inputs["dy"] * (self.power * x ** (self.power - 1) / 2).astype(np.float32)}
        return {"y": (x**self.power / 2).astype(np.float32)}

    def close(self):
        CALLS.append((self.contract.role, "closed"))


class Sum(Engine):
    """The face loss's stand-in: the weighted sum of all values of each frame."""

    def __init__(self):
        shapes = {"frames": (FRAMES, 4, 2, 2), "rows": (FRAMES, 112, 2), "columns": (FRAMES, 112, 2)}
        shapes |= {"reference": (1, 8), "weights": (FRAMES,)}
        contract = SimpleNamespace(
            role="face_loss",
            inputs=tuple(TensorSpec(name=name, shape=shape) for name, shape in shapes.items()),
            outputs=(TensorSpec(name="loss", shape=(1,)), TensorSpec(name="gradient", shape=(FRAMES, 4, 2, 2))),
        )
        super().__init__(contract)

    def _infer(self, inputs, keep):
        weights = inputs["weights"].reshape(-1, 1, 1, 1)
        weighted = weights * inputs["frames"]
        return {
            "loss": weighted.sum(keepdims=True).reshape(1),
            "gradient": np.broadcast_to(weights, weighted.shape).copy(),
        }

    def close(self):
        CALLS.append(("face_loss", "closed"))


POWERS = {"decoder_a": (3, True), "decoder_b": (2, False), "decoder_c": (3, True), "decoder_d": (2, False)}


class Engines:
    """Of an engine set what the chain uses."""

    def __init__(self, kept):
        self.segments = tuple(
            Segment(forward=role, vjp=f"{role}_vjp", by_frame=by_frame, keep=role in kept)
            for role, (_, by_frame) in POWERS.items()
        )
        self.manifest = SimpleNamespace(engine=lambda role: self.open_engine(role).contract)

    def open_engine(self, role, threads=None):
        return Sum() if role == "face_loss" else Power(role, *POWERS[role.removesuffix("_vjp")])


def inputs(frames):
    generator = np.random.default_rng(frames)
    return {
        "latents": generator.uniform(0.5, 1.5, (frames, 4, 2, 2)).astype(np.float32),
        "rows": np.zeros((frames, 112, 2), np.float32),
        "columns": np.zeros((frames, 112, 2), np.float32),
        "reference": np.zeros((1, 8), np.float32),
        "weights": generator.uniform(0.1, 1, frames).astype(np.float32),
    }


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("kept", [list(POWERS), ["decoder_a", "decoder_c"], ["decoder_a"], []])
def test_the_chain_rule_whatever_is_kept(kept, frames):
    CALLS.clear()
    engines = Engines(kept)
    given = inputs(frames)
    with SegmentedLossGradient(engines, engines.segments, None) as engine:
        result = engine.infer(given)
    x = given["latents"].astype(np.float64)
    weights = given["weights"].astype(np.float64).reshape(-1, 1, 1, 1)
    # (((x^3 / 2)^2 / 2)^3 / 2)^2 / 2 = x^36 / 2^(12 + 6 + 2 + 1)
    np.testing.assert_allclose(result["loss"], (weights * x**36 / 2**21).sum(), rtol=1e-5)
    np.testing.assert_allclose(result["gradient"], weights * 36 * x**35 / 2**21, rtol=1e-4)
    assert {length for role, length in CALLS if role.startswith(("decoder_a", "decoder_c")) and length != "closed"} == {
        1
    }
    assert {length for role, length in CALLS if role.startswith(("decoder_b", "decoder_d")) and length != "closed"} == {
        frames
    }
    closed = [role for role, length in CALLS if length == "closed"]
    assert len(closed) == 2 * len(POWERS) + 1


def test_what_is_kept_is_computed_once_and_the_rest_twice():
    CALLS.clear()
    engines = Engines(["decoder_a", "decoder_c"])
    with SegmentedLossGradient(engines, engines.segments, None) as engine:
        engine.infer(inputs(3))
    times = {role: sum(name == role and length != "closed" for name, length in CALLS) for role in POWERS}
    assert times == {"decoder_a": 3, "decoder_b": 2, "decoder_c": 3, "decoder_d": 1}  # a and c frame by frame
