"""What a worker makes of the gradient of the face loss: the same inputs for every contender, its own to time."""

from types import SimpleNamespace

import numpy as np
import pytest
from sample_manifest import engine, manifest

from sa.benchmarks.measure.subjects import UNetSubject
from sa.benchmarks.measure.worker import measure_engine, measure_run
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


def test_a_unet_is_timed_within_one_video():
    sizes = {"sample": ((1, 2), 3, 8, 2, 2), "timestep": (1,), "added_time_ids": (1, 3)}
    sizes |= {"encoder_hidden_states": ((1, 2), 5, 6), "pose_latents": ((1, 2), 3, 7, 2, 2)}
    inputs = [TensorSpec(name=name, shape=shape) for name, shape in sizes.items()]
    calls = []

    class Recorder:
        def begin_video(self, conditions):
            calls.append(conditions.branches)

        def begin_step(self, time, branches=None):
            calls.append(float(time))

        def velocity(self, latents, pose_latents):
            assert latents.shape == (1, 3, 4, 2, 2) and pose_latents.shape == (1, 3, 7, 2, 2)
            calls.append((latents, pose_latents))

    made = manifest(engines=[engine("unet", inputs=inputs)])
    subject, generator = UNetSubject(Recorder(), made), np.random.default_rng(0)
    assert subject.frames == made.shapes.tile_size
    for _ in range(2):
        subject.call(subject.draw(generator))
    branches, time, first, other, second = calls
    assert branches == 2 and time != other
    assert all(not np.isclose(one, two).all() for one, two in zip(first, second, strict=True))


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
