"""What a worker makes of the gradient of the face loss: the same inputs for every contender, its own to time."""

from types import SimpleNamespace

import numpy as np
import pytest

from sa.benchmarks.measure.worker import Draw, measure_engine, measure_run
from sa.benchmarks.peers.contracts import loss_gradient_contract
from sa.runtime.backends.base import Engine
from sa.runtime.contract import Shapes, TensorSpec
from sa.runtime.engine_set.open import EngineSet

SHAPES = Shapes(height=64, width=128, tile_size=2, decode_chunk=3)


class Recorder(Engine):
    """Keeps what it is given; its gradient is twice the latents."""

    def __init__(self):
        super().__init__(loss_gradient_contract(SHAPES))
        self.seen = []

    def _infer(self, inputs, keep):
        self.seen.append(inputs)
        return {"loss": np.ones(1, np.float32), "gradient": 2 * inputs["latents"]}

    def close(self):
        self.closed = True


def test_it_is_opened_as_a_whole_and_gets_crops_as_inputs(tmp_path):
    engine = Recorder()
    contender = SimpleNamespace(open_loss_gradient=lambda: engine)
    line = measure_engine(contender, "loss_gradient", repetitions=2, outputs=str(tmp_path / "outputs.npz"))
    assert engine.closed
    assert line["subject"] == "engine loss_gradient" and line["frames"] == 3 and len(line["seconds"]) == 2
    timed, fixed = engine.seen[:3], engine.seen[-1]
    assert not np.array_equal(timed[1]["latents"], timed[2]["latents"])
    for inputs in engine.seen:
        assert np.allclose(inputs["rows"].sum(axis=2), 1) and np.allclose(inputs["weights"].sum(), 1)
    with np.load(tmp_path / "outputs.npz") as stored:
        assert np.array_equal(stored["gradient"], 2 * fixed["latents"]) and stored["loss"] == 1


def test_what_a_video_does_not_change_stays_between_the_calls_of_a_unet():
    sizes = {"sample": ((1, 2), 3, 8, 2, 2), "timestep": (1,), "added_time_ids": (1, 3)}
    sizes |= {"encoder_hidden_states": ((1, 2), 5, 6), "pose_latents": ((1, 2), 3, 7, 2, 2)}
    inputs = tuple(TensorSpec(name=name, shape=shape) for name, shape in sizes.items())
    draw = Draw(SimpleNamespace(role="unet", inputs=inputs), np.random.default_rng(0))
    first, second = draw(), draw()
    for name in ("encoder_hidden_states", "added_time_ids"):
        assert np.array_equal(first[name], second[name])
    assert np.array_equal(first["sample"][:, :, 4:], second["sample"][:, :, 4:])
    for changed in (lambda drawn: drawn["sample"][:, :, :4], lambda d: d["timestep"], lambda d: d["pose_latents"]):
        assert not np.isclose(changed(first), changed(second)).all()


def test_the_inputs_it_is_compared_on_are_always_the_same(tmp_path):
    stored = []
    for repetitions in (1, 2):  # which use up more or fewer of the timed inputs
        contender = SimpleNamespace(open_loss_gradient=Recorder)
        measure_engine(contender, "loss_gradient", repetitions, outputs=str(tmp_path / "outputs.npz"))
        with np.load(tmp_path / "outputs.npz") as archive:
            stored.append(archive["gradient"])
    assert np.array_equal(*stored)


@pytest.mark.parametrize("refine", [False, True])
def test_the_stages_of_a_whole_run(refine, engines):
    plan = ("--refine", "--refine-plan", "whole") if refine else ()
    opened = EngineSet.open(engines("recipe_hjb", "onnxruntime", *plan))
    lines = {line["subject"]: line for line in measure_run(opened, frames=9, steps=3)}
    assert ("stage refinement iteration" in lines) == refine
    assert len(lines["stage denoising step"]["seconds"]) == 2  # the first is the warm-up
    if refine:
        iteration = lines["stage refinement iteration"]
        assert iteration["first"] > 0 and len(iteration["seconds"]) == 1 and iteration["seconds"][0] > 0
    parts = sum(
        sum(line["seconds"]) + (line["first"] or 0) for name, line in lines.items() if name != "stage whole run"
    )
    assert parts <= lines["stage whole run"]["seconds"][0]
