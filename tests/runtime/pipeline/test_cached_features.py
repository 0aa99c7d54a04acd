"""sa-run --cache-interval: what it changes, what it must not change, and how it goes on after a kill."""

import numpy as np
import pytest
from shared import BACKENDS, relative

from sa.runtime import Case, Pipeline, RefineSettings
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import CancelledError
from sa.runtime.events import StepDone
from sa.runtime.pipeline.cancel import CancelToken
from sa.runtime.pipeline.resume import load_state

STEPS, INTERVAL = 7, 3
REFINED = RefineSettings(start=1, end=4, iterations=1)


@pytest.fixture(scope="module", params=BACKENDS)
def cached(request, engines):
    return engines("recipe_hjb", request.param, "--refine", "--refine-plan", "whole", "--cache-depth", "1")


@pytest.fixture(scope="module")
def case(case_folder):
    return Case.read(case_folder("recipe_hjb"))


@pytest.fixture(scope="module")
def pipeline(cached):
    with Pipeline.open(cached, threads=1) as pipeline:
        yield pipeline


def test_the_shallow_unets_weights_are_the_unets(engines):
    """Not on Paddle, whose weights files are read from first to last."""
    for backend, files in (("onnxruntime", "unet.weights"), ("paddle", "unet_shallow.pdiparams")):
        manifest = EngineSet.open(
            engines("recipe_hjb", backend, "--refine", "--refine-plan", "whole", "--cache-depth", "1")
        ).manifest
        shallow, unet = manifest.engine("unet_shallow"), manifest.engine("unet")
        assert files in {file.name for file in shallow.files}
        assert shallow.parameters < unet.parameters / 4 and shallow.flops < unet.flops / 3
        assert shallow.certificate.relative < 1e-5
        assert manifest.cache_depth == 1 and "--cache-depth 1" in manifest.command


def test_by_default_every_call_is_whole_and_the_frames_are_those_of_a_set_without_cache(
    pipeline, cached, case, engines
):
    backend = EngineSet.open(cached).manifest.backend
    with Pipeline.open(engines("recipe_hjb", backend), threads=1) as plain:
        expected = plain(case, steps=3)
    found = pipeline(case, steps=3)
    np.testing.assert_array_equal(found.latents, expected.latents)
    for frame, other in zip(found.frames, expected.frames, strict=True):
        np.testing.assert_array_equal(frame, other)
    assert found.report["arguments"]["cache_interval"] == 1 and found.report["cache_depth"] == 1
    assert expected.report["cache_depth"] is None


def test_an_interval_changes_the_result(pipeline, case):
    """How far it is from the whole says nothing here: the weights are random."""
    whole, cached = (pipeline(case, steps=STEPS, cache_interval=interval).latents for interval in (1, INTERVAL))
    assert np.isfinite(cached).all() and relative(cached, whole) > 1e-3


def test_an_interval_longer_than_the_run_has_one_whole_step(pipeline, case):
    many, more = (pipeline(case, steps=3, cache_interval=interval).latents for interval in (3, 1000))
    np.testing.assert_array_equal(many, more)


def cancelled_after(pipeline, case, folder, step, **settings):
    token = CancelToken()

    def stop(event):
        if isinstance(event, StepDone) and event.step == step:
            token.cancel()

    with pytest.raises(CancelledError):
        pipeline.prepare(case, on_event=stop, cancel=token, **settings).start(folder)


@pytest.mark.parametrize("refine", [None, REFINED], ids=["plain", "refined"])
def test_a_run_goes_on_from_the_last_whole_step_to_the_same_bytes(pipeline, case, tmp_path, refine):
    settings = dict(steps=STEPS, cache_interval=INTERVAL, refine=refine)
    whole = pipeline(case, **settings)
    for step, kept in ((1, None), (2, None), (3, 3), (5, 3), (6, 6)):
        folder = tmp_path / str(step)
        folder.mkdir()
        cancelled_after(pipeline, case, folder, step, **settings)
        state = load_state(folder, whole.latents.shape)
        assert (state and state.steps_done) == kept
        result = pipeline.prepare(case, **settings).start(folder)
        np.testing.assert_array_equal(result.latents, whole.latents)
        assert result.report["resumed_after_step"] == (kept or 0)
        assert result.report["refine"] == whole.report["refine"]
        assert load_state(folder, whole.latents.shape).steps_done == STEPS


def test_refinement_takes_the_latents_of_shallow_calls_too(pipeline, case):
    refined = pipeline(case, steps=STEPS, cache_interval=INTERVAL, refine=REFINED)
    plain = pipeline(case, steps=STEPS, cache_interval=INTERVAL)
    assert [step["step"] for step in refined.report["refine"]] == [1, 2, 3, 4]
    assert relative(refined.latents, plain.latents) > 1e-3


def test_the_same_in_little_memory(cached, case, pipeline):
    expected = pipeline(case, steps=4, cache_interval=2)
    with Pipeline.open(cached, threads=1, low_memory=True) as low:
        found = low(case, steps=4, cache_interval=2)
    np.testing.assert_array_equal(found.latents, expected.latents)
