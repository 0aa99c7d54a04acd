"""Paddle Inference on oneDNN's kernels: what is kept from them, and what an engine must pass to run on them."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from sa.export.engines.program import Network
from sa.export.targets.paddle import program
from sa.export.targets.paddle.kinds import differences, kinds_of_inputs
from sa.export.targets.paddle.target import PaddleGpuTarget, PaddleTarget
from sa.runtime.backends.paddle import PaddleEngine
from sa.runtime.contract import EngineContract, FileRecord, TensorSpec
from sa.runtime.engine_set.open import EngineSet

DIVIDENDS = [(1,), (32,), (2, 5, 1, 1), (1, 1, 8, 32), (2, 1, 8, 1), (2, 5, 8, 32)]
DIVISOR = (2, 5, 8, 32)


class Quotient(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.one = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(1.0))
        self.one.name = "one"

    def forward(self, a, b):
        return a / (b * self.one)


class One(dict):
    """The layer's weights, with the interface of a checkpoint's."""

    def read(self, name: str) -> np.ndarray:
        return self[name]

    def forget(self) -> None:
        pass


def quotient(folder: Path, dividend: tuple[int, ...], divisor: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """What an engine on oneDNN gives, and the operands' quotient."""
    inputs = TensorSpec(name="a", shape=dividend), TensorSpec(name="b", shape=divisor)
    outputs = (TensorSpec(name="c", shape=np.broadcast_shapes(dividend, divisor)),)
    weights = One(one=np.ones(1, np.float32))
    written = PaddleTarget().write(Network(Quotient().forward, inputs, outputs, None, [weights]), folder, "tested")
    files = [FileRecord(name=name, bytes=1, sha256="0" * 64) for name in (written.program, *written.data)]
    contract = EngineContract(
        role="face_encoder", program=written.program, files=files, inputs=inputs, outputs=outputs, onednn=True
    )
    generator = np.random.default_rng(0)
    values = {spec.name: generator.uniform(1, 2, spec.shape).astype(np.float32) for spec in inputs}
    with PaddleEngine(folder, contract, 1) as engine:
        return engine.infer(values)["c"], values["a"] / values["b"]


@pytest.mark.parametrize("dividend", DIVIDENDS, ids=str)
def test_broadcast_dividends_are_divided_right(tmp_path, dividend):
    found, wanted = quotient(tmp_path, dividend, DIVISOR)
    assert np.array_equal(found, wanted)


def test_two_broadcast_operands_are_divided_right(tmp_path):
    found, wanted = quotient(tmp_path, (2, 5, 1, 1), (2, 1, 8, 32))
    assert np.array_equal(found, wanted)


def test_this_paddle_needs_it(tmp_path, monkeypatch):
    """If this fails, oneDNN's division was corrected and broadcast_division.py can go."""
    monkeypatch.setattr(program, "broadcast_division", lambda traced: None)
    found, wanted = quotient(tmp_path, (2, 5, 1, 1), DIVISOR)
    assert np.allclose(found, 1 / wanted)


CONTRACT = EngineContract(
    role="pose_net",
    program="pose_net.json",
    files=[FileRecord(name="pose_net.json", bytes=1, sha256="0" * 64)],
    inputs=[TensorSpec(name="x", shape=((1, 2), 40))],
    outputs=[TensorSpec(name="y", shape=((1, 2), 40))],
)


class Squares:
    """An engine that squares, and with oneDNN does something to the largest values."""

    def __init__(self, contract: EngineContract, fault=lambda value: value):
        self.fault = fault if contract.onednn else lambda value: value

    def infer(self, inputs):
        return {"y": self.fault(inputs["x"] ** 2)}

    def __enter__(self):
        return self

    def __exit__(self, *details):
        pass


def tried(fault) -> object:
    onednn = CONTRACT.model_copy(update={"onednn": True})
    return differences(onednn, CONTRACT, lambda contract: Squares(contract, fault))


def test_an_engine_is_refused_for_a_fault_on_any_kind_of_inputs():
    found = tried(lambda value: value * np.float32(1 + 1e-6))
    assert list(found) == list(kinds_of_inputs(CONTRACT)) and len(found) == 5
    assert all(0 < error < 1e-5 for error in found.values())
    assert tried(lambda value: np.where(value > 100, 1.001 * value, value)) is None  # of scale 10 alone
    assert tried(lambda value: np.where(value < 1e-4, 1, value)) is None
    assert tried(lambda value: np.where(value > 100, np.nan, value)) is None


def test_what_the_rounding_of_inputs_explains_is_let_pass():
    """A function so steep that no float32 program computes it to the tolerance."""

    class Steep(Squares):
        def infer(self, inputs):
            return {"y": self.fault(np.sin(inputs["x"] * np.float32(1e5)))}

    onednn = CONTRACT.model_copy(update={"onednn": True})
    opened = lambda contract: Steep(contract, lambda value: value + np.float32(2e-3))  # noqa: E731
    assert differences(onednn, CONTRACT, opened) is not None
    assert differences(onednn, CONTRACT, lambda contract: Squares(contract, lambda value: value + 2e-3)) is None


def test_the_command_says_how_it_was_made():
    assert PaddleTarget().flags == PaddleGpuTarget().flags == ""
    assert PaddleTarget(onednn=False).flags == " --no-onednn"


def test_all_engines_but_the_gradients_are_certified_with_it(engines):
    """Paddle's oneDNN kernels for gradients fail or crash."""
    manifest = EngineSet.open(engines("recipe_hjb", "paddle", "--refine")).manifest
    without = {engine.role for engine in manifest.engines if not engine.onednn}
    assert without == {engine.role for engine in manifest.engines if engine.role.endswith("_vjp")} | {"face_loss"}
