"""Adam, the refined denoiser and the video's loss, on stand-ins for engines."""

from types import SimpleNamespace

import numpy as np
import pytest
from shared import relative

from sa.runtime.backends.base import Engine
from sa.runtime.contract import TensorSpec
from sa.runtime.refinement.crops import Box
from sa.runtime.refinement.faces import FaceTargets
from sa.runtime.refinement.hjb import Adam, RefinedDenoiser, RefineSettings, VideoLoss
from sa.runtime.sampling.sampler import sample_euler
from sa.runtime.sampling.schedule import karras_sigmas

SIGMAS = karras_sigmas(5, 0.002, 700.0)


def test_adam_takes_the_published_steps(golden):
    """From the stored gradients; Adam starts afresh at each refined step."""
    expected = golden("recipe_hjb").expected
    iterations = golden("recipe_hjb").parameters.iters
    for start in range(0, len(expected["hjb_lr"]), iterations):
        adam = Adam(float(expected["hjb_lr"][start]))
        latents = expected["hjb_z_in"][start]
        for k in range(start, start + iterations):
            latents = adam.step(latents, expected["hjb_grad"][k])
            assert relative(latents, expected["hjb_z_out"][k]) < 1e-5


def quadratic(latents):
    return float((latents**2).sum()), 2 * latents


def test_steps_within_the_window_are_refined_with_a_falling_learning_rate():
    seen = []
    refined = RefinedDenoiser(
        lambda x, sigma: np.ones_like(x), quadratic, SIGMAS, RefineSettings(start=1, end=3, iterations=1)
    )
    sample_euler(refined, np.ones((1, 2, 4, 1, 1), np.float32), SIGMAS, lambda i, x, denoised: seen.append(i))
    assert seen == list(range(5)) and [record.step for record in refined.steps] == [1, 2, 3]
    for step, expected in ((0, 1.0), (1, 1 - 0.08), (2, 1 - 0.06), (3, 1 - 0.04), (4, 1.0)):
        moved = refined(np.ones((1, 1, 4, 1, 1), np.float32), float(SIGMAS[step]))
        np.testing.assert_allclose(moved, expected, rtol=1e-6)


def test_losses_and_gradient_norms_are_recorded_and_told():
    told = []
    refined = RefinedDenoiser(
        lambda x, sigma: x, quadratic, SIGMAS, RefineSettings(0, 0, 3), lambda record: told.append(record.losses[-1])
    )
    refined(np.full((1, 1, 4, 1, 1), 2.0, np.float32), float(SIGMAS[0]))
    (record,) = refined.steps
    assert told == record.losses and len(told) == 3 and told[0] == 16.0 > told[1] > told[2]
    assert record.gradient_norms[0] == pytest.approx(8.0)


def test_tolerance_ends_a_step_whose_loss_no_longer_falls():
    losses = iter([1.0, 0.5, 0.499, 0.1])
    refined = RefinedDenoiser(
        lambda x, sigma: x,
        lambda latents: (next(losses), np.ones_like(latents)),
        SIGMAS,
        RefineSettings(0, 0, 4, tolerance=0.01),
    )
    moved = refined(np.zeros((1, 1, 4, 1, 1), np.float32), float(SIGMAS[0]))
    assert refined.steps[0].losses == [1.0, 0.5, 0.499] and refined.saved == 1
    np.testing.assert_allclose(moved, -0.2, rtol=1e-5)  # two moves of 0.1: none after the loss had settled


@pytest.mark.parametrize(
    ("start", "end", "steps", "count"), [(0, 20, 25, 63), (0, 20, 10, 30), (3, 4, 25, 6), (9, 9, 10, 3)]
)
def test_number_of_gradients(start, end, steps, count):
    assert RefineSettings(start, end, 3).gradients(steps) == count


class Recorder:
    """A loss gradient of chunks of three frames: the loss is the sum of the weights, the gradient the latents."""

    def __init__(self):
        self.contract = SimpleNamespace(inputs=[TensorSpec(name="latents", shape=((1, 3), 4, 8, 8))])
        self.calls = []

    infer_each = Engine.infer_each

    def infer(self, inputs):
        self.calls.append(inputs)
        return {"loss": inputs["weights"].sum(keepdims=True), "gradient": inputs["latents"]}


def test_frames_without_a_face_have_no_weight_and_chunks_without_one_are_skipped():
    engine = Recorder()
    box = Box(2, 9, 4, 20)
    boxes = [box, None, box, None, None, None, box]
    loss = VideoLoss(engine, FaceTargets(None, boxes), np.zeros((1, 512), np.float32), 64, 48, 3)
    latents = np.arange(7 * 4, dtype=np.float32).reshape(1, 7, 4, 1, 1)
    value, gradient = loss(latents)
    assert value == pytest.approx(1.0)
    assert [len(call["weights"]) for call in engine.calls] == [3, 1]
    np.testing.assert_allclose(engine.calls[0]["weights"], [1 / 3, 0, 1 / 3])
    assert not gradient[0, 3:6].any() and (gradient[0, 6] == latents[0, 6]).all()
    assert engine.calls[0]["rows"].shape == (3, 112, 64) and engine.calls[0]["columns"].shape == (3, 112, 48)
    assert not engine.calls[0]["rows"][1].any()


def test_only_the_region_moves_and_each_latent_by_its_share():
    region = np.array([1, 0.5, 0], np.float32).reshape(1, 3, 1, 1, 1)
    start, sigma = np.full((1, 3, 4, 1, 1), 2.0, np.float32), float(SIGMAS[0])
    moved = {}
    for name, where in (("region", region), ("frame", None)):
        moved[name] = RefinedDenoiser(lambda x, sigma: x, quadratic, SIGMAS, RefineSettings(0, 0, 1), region=where)(
            start, sigma
        )
    np.testing.assert_allclose(moved["region"] - start, region * (moved["frame"] - start), rtol=1e-5)
    assert (moved["region"][0, 2] == start[0, 2]).all() and (moved["frame"] != start).all()
