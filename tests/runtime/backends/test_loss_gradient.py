"""The chain of segments, on stand-ins for engines that can be differentiated by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from sa.runtime.backends.base import Engine, Handle
from sa.runtime.backends.composed.loss_gradient import SegmentedLossGradient
from sa.runtime.backends.composed.on_demand import OnDemandEngine
from sa.runtime.contract import Segment, TensorSpec

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
        segments = tuple(
            Segment(forward=role, vjp=f"{role}_vjp", by_frame=by_frame, keep=role in kept)
            for role, (_, by_frame) in POWERS.items()
        )
        self.manifest = SimpleNamespace(
            engine=lambda role: self.open_engine(role).contract, refinement=SimpleNamespace(segments=segments)
        )

    def open_engine(self, role):
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
    with SegmentedLossGradient(engines.manifest, engines.open_engine) as engine:
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
    with SegmentedLossGradient(engines.manifest, engines.open_engine) as engine:
        engine.infer(inputs(3))
    times = {role: sum(name == role and length != "closed" for name, length in CALLS) for role in POWERS}
    assert times == {"decoder_a": 3, "decoder_b": 2, "decoder_c": 3, "decoder_d": 1}  # a and c frame by frame


class OnDevice(Handle):
    """An array that only engines may look into."""

    def __init__(self, value):
        self.value = value
        self.shape = value.shape

    def __getitem__(self, part):
        return OnDevice(self.value[part])


class OnGpu(Engine):
    """Stands for an engine of a GPU: takes and gives either, and remembers what crossed the bus."""

    def __init__(self, engine, crossed):
        super().__init__(engine.contract)
        self.engine, self.crossed = engine, crossed

    def _infer(self, inputs, keep):
        outputs = self.engine.infer(self._arrays(inputs))
        self.crossed += [f"{self.contract.role}.{name}" for name in outputs if name not in keep]
        return {name: OnDevice(value) if name in keep else value for name, value in outputs.items()}

    def _infer_into(self, inputs, outputs):
        self.crossed += [f"{self.contract.role}.{name}" for name, v in outputs.items() if isinstance(v, np.ndarray)]
        self.engine.infer_into(self._arrays(inputs), {name: getattr(v, "value", v) for name, v in outputs.items()})

    def _arrays(self, inputs):
        self.crossed += [f"{self.contract.role}.{name}" for name, v in inputs.items() if isinstance(v, np.ndarray)]
        return {name: getattr(value, "value", value) for name, value in inputs.items()}

    def empty(self, shape):
        return OnDevice(np.empty(shape, np.float32))

    def close(self):
        self.engine.close()


@pytest.mark.parametrize("kept", [list(POWERS), ["decoder_b"]])
def test_on_a_gpu_nothing_between_the_engines_crosses_the_bus(kept):
    engines, crossed = Engines(kept), []
    with SegmentedLossGradient(engines.manifest, engines.open_engine) as engine:
        expected = engine.infer(inputs(3))
    load = engines.open_engine
    engines.open_engine = lambda *arguments: OnGpu(load(*arguments), crossed)
    with SegmentedLossGradient(engines.manifest, engines.open_engine) as engine:
        result = engine.infer(inputs(3))
    np.testing.assert_array_equal(result["gradient"], expected["gradient"])
    assert result["loss"] == expected["loss"]
    latents = {"decoder_a.x", "decoder_a_vjp.x", "decoder_a_vjp.dx"}
    assert set(crossed) == {
        *latents,
        *(f"face_loss.{name}" for name in ("rows", "columns", "reference", "weights", "loss")),
    }


def test_on_demand_one_engine_at_a_time_makes_the_same_gradient():
    engines = Engines(["decoder_a"])
    with SegmentedLossGradient(engines.manifest, engines.open_engine) as engine:
        expected = engine.infer(inputs(3))
    loaded, most = [], []
    load = engines.open_engine

    def counting(role):
        def begin():
            loaded.append(role)
            most.append(len(loaded))
            inner = load(role)
            close = inner.close
            inner.close = lambda: (loaded.remove(role), close())
            return inner

        return OnDemandEngine(load(role).contract, begin)

    with SegmentedLossGradient(engines.manifest, counting) as engine:
        assert not loaded
        result = engine.infer(inputs(3))
    np.testing.assert_array_equal(result["gradient"], expected["gradient"])
    assert max(most) == 1 and not loaded
