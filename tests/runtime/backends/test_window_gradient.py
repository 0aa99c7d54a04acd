"""The chain of a window, on stand-ins for engines that can be differentiated by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from sa.runtime.backends.base import Engine, Handle
from sa.runtime.backends.composed.on_demand import OnDemandEngine
from sa.runtime.backends.composed.window_gradient import Window, WindowGradient
from sa.runtime.contract import WINDOW_LOSS, Segment, TensorSpec, WindowSegment

FRAMES, SIDE, SIZE = (1, 3), 12, 64  # frames; latents of the frame; pixels of the window, 8 latents
INSIDE = SIZE // 8
WHOLE = {"decoder_a": True, "decoder_b": False}  # by_frame
PART = {"window_c": True, "window_d": False, "window_e": True}
NORMED = {"window_c": 3, "window_d": 2}  # how many values its norms have
WINDOW = Window(8, 24, SIZE)


def spec(name, *shape):
    return TensorSpec(name=name, shape=shape)


class Square(Engine):
    """y = x^2 / 2 times the sum of the norms, and its VJP."""

    def __init__(self, role, calls):
        name = role.removesuffix("_vjp")
        by_frame, side = {**WHOLE, **PART}[name], SIDE if name in WHOLE else INSIDE
        shape = (1 if by_frame else FRAMES, 4, side, side)
        back = role.endswith("_vjp")
        norms = (spec("norms", 1, NORMED[name]),) if name in NORMED else ()
        inputs = (spec("x", *shape), *norms, *((spec("dy", *shape),) if back else ()))
        super().__init__(SimpleNamespace(role=role, inputs=inputs, outputs=(spec("dx" if back else "y", *shape),)))
        self.calls = calls

    def _infer(self, inputs, keep):
        self.calls.append((self.contract.role, len(inputs["x"])))
        factor = inputs["norms"].sum() if "norms" in inputs else np.float32(1)
        x = inputs["x"]
        return {"dx": inputs["dy"] * x * factor} if "dy" in inputs else {"y": x * x / 2 * factor}

    def close(self):
        self.calls.append((self.contract.role, "closed"))


class Finder(Square):
    """y = x^2 / 2, and as norms multiples of the mean of y: of the frame, or of all frames."""

    def __init__(self, role, calls):
        name = role.replace("norms", "window")
        by_frame = PART[name]
        shape = (1 if by_frame else FRAMES, 4, SIDE, SIDE)
        contract = SimpleNamespace(
            role=role, inputs=(spec("x", *shape),), outputs=(spec("y", *shape), spec("norms", 1, NORMED[name]))
        )
        Engine.__init__(self, contract)
        self.calls = calls

    def _infer(self, inputs, keep):
        self.calls.append((self.contract.role, len(inputs["x"])))
        y = inputs["x"] ** 2 / 2
        count = self.contract.outputs[1].largest[1]
        return {"y": y, "norms": y.mean() * np.arange(1, count + 1, dtype=np.float32)[None]}


class Sum(Engine):
    """The weighted sum of all values of each frame in the window."""

    def __init__(self, calls):
        shapes = {"frames": (FRAMES, 4, INSIDE, INSIDE), "rows": (FRAMES, 112, SIZE), "columns": (FRAMES, 112, SIZE)}
        shapes |= {"reference": (1, 8), "weights": (FRAMES,)}
        inputs = tuple(spec(name, *shape) for name, shape in shapes.items())
        outputs = (spec("loss", 1), spec("gradient", FRAMES, 4, INSIDE, INSIDE))
        super().__init__(SimpleNamespace(role=WINDOW_LOSS, inputs=inputs, outputs=outputs))
        self.calls = calls

    def _infer(self, inputs, keep):
        self.calls.append((WINDOW_LOSS, len(inputs["frames"])))
        weights = inputs["weights"].reshape(-1, 1, 1, 1)
        weighted = weights * inputs["frames"]
        return {
            "loss": weighted.sum(keepdims=True).reshape(1),
            "gradient": np.broadcast_to(weights, weighted.shape).copy(),
        }

    def close(self):
        self.calls.append((WINDOW_LOSS, "closed"))


class Engines:
    """Of an engine set what the chain uses."""

    def __init__(self, kept=()):
        self.calls = []

        def facts(role, alone):
            return dict(forward=role, vjp=f"{role}_vjp", by_frame=alone, keep=role in kept)

        def finder(role):
            return role.replace("window", "norms") if role in NORMED else None

        whole = tuple(Segment(**facts(*one)) for one in WHOLE.items())
        part = tuple(WindowSegment(**facts(*one), norms=finder(one[0])) for one in PART.items())
        rest = tuple(Segment(**facts(role.replace("window", "decoder"), alone)) for role, alone in PART.items())
        window = SimpleNamespace(whole=len(whole), segments=part, size=SIZE)
        plan = SimpleNamespace(segments=(*whole, *rest), window=window)
        self.manifest = SimpleNamespace(refinement=plan, engine=lambda role: self.open_engine(role).contract)

    def open_engine(self, role):
        if role == WINDOW_LOSS:
            return Sum(self.calls)
        return (Finder if role.startswith("norms") else Square)(role, self.calls)


def given(frames):
    generator = np.random.default_rng(frames)
    latents = generator.uniform(0.8, 1.2, (frames, 4, SIDE, SIDE)).astype(np.float32)
    face = {
        "rows": np.zeros((frames, 112, SIZE), np.float32),
        "columns": np.zeros((frames, 112, SIZE), np.float32),
        "reference": np.zeros((1, 8), np.float32),
        "weights": generator.uniform(0.1, 1, frames).astype(np.float32),
    }
    return latents, face


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("kept", [[*WHOLE, *PART], ["decoder_a", "window_d"], []])
def test_the_chain_rule_in_the_window(kept, frames):
    engines = Engines(kept)
    latents, face = given(frames)
    with WindowGradient(engines.manifest, engines.open_engine) as gradient:
        norms = gradient.norms(latents)
        loss, found = gradient.gradient(latents, WINDOW, norms, face)
    x = latents.astype(np.float64)
    before = x**4 / 8  # of the frame
    c, d = 6 * (before**2 / 2).mean(axis=(1, 2, 3)), 3 * (before**4 / 8).mean()
    # ((x^2 c / 2)^2 d / 2)^2 / 2 = x^8 c^4 d^2 / 2^7
    part = slice(1, 9), slice(3, 11)
    weight = (face["weights"] * c**4 * d**2).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(loss, (weight * before[(..., *part)] ** 8).sum() / 2**7, rtol=1e-4)
    expected = np.zeros_like(x)
    expected[(..., *part)] = weight * 8 * before[(..., *part)] ** 7 / 2**7 * x[(..., *part)] ** 3 / 2
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    lengths = {role: {n for name, n in engines.calls if name == role and n != "closed"} for role in (*WHOLE, *PART)}
    assert lengths == {role: {1} if alone else {frames} for role, alone in (*WHOLE.items(), *PART.items())}
    assert sum(n == "closed" for _, n in engines.calls) == 2 * len(lengths) + len(NORMED) + 1


def test_norms_belong_to_their_segments():
    engines = Engines()
    latents, _ = given(3)
    with WindowGradient(engines.manifest, engines.open_engine) as gradient:
        norms = gradient.norms(latents)
    assert {i: norm.shape for i, norm in norms.items()} == {0: (3, 3), 1: (1, 2)}
    before = latents**4 / 8
    np.testing.assert_allclose(norms[0][:, 0], (before**2 / 2).mean(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(norms[1][0], (before**4 / 8).mean() * np.array([1, 2]), rtol=1e-5)


class OnDevice(Handle):
    """An array that only engines may look into."""

    def __init__(self, value):
        self.value = value
        self.shape = value.shape

    def __getitem__(self, part):
        return OnDevice(self.value[part])


class OnGpu(Engine):
    """Stands for an engine of a GPU: takes and gives either."""

    def __init__(self, engine):
        super().__init__(engine.contract)
        self.engine = engine

    def _infer(self, inputs, keep):
        outputs = self.engine.infer(self._arrays(inputs))
        return {name: OnDevice(value) if name in keep else value for name, value in outputs.items()}

    def _infer_into(self, inputs, outputs):
        self.engine.infer_into(self._arrays(inputs), {name: getattr(v, "value", v) for name, v in outputs.items()})

    def _arrays(self, inputs):
        return {name: getattr(value, "value", value) for name, value in inputs.items()}

    def empty(self, shape):
        return OnDevice(np.empty(shape, np.float32))

    def close(self):
        self.engine.close()


def test_on_a_gpu_it_is_the_same():
    engines, (latents, face) = Engines(["window_d"]), given(3)
    results = []
    for load in (engines.open_engine, lambda role: OnGpu(engines.open_engine(role))):
        with WindowGradient(engines.manifest, load) as gradient:
            results.append(gradient.gradient(latents, WINDOW, gradient.norms(latents), face))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_on_demand_one_engine_is_loaded_at_a_time():
    engines, (latents, face) = Engines(["decoder_a", "window_c"]), given(3)
    loaded, most = [], []

    def counting(role):
        def begin():
            loaded.append(role)
            most.append(len(loaded))
            inner = engines.open_engine(role)
            inner.close = lambda: loaded.remove(role)
            return inner

        return OnDemandEngine(engines.open_engine(role).contract, begin)

    with WindowGradient(engines.manifest, counting) as gradient:
        assert not loaded
        gradient.gradient(latents, WINDOW, gradient.norms(latents), face)
        assert not loaded
    assert max(most) == 1
