"""The engine protocol: what every backend holds its callers to."""

import numpy as np
import pytest

from sa.runtime.backends import open_engine
from sa.runtime.engine_set.open import EngineSet


@pytest.fixture
def decoder(engines, backend):
    engine_set = EngineSet.open(engines("recipe_hjb", backend))
    with open_engine(backend, engine_set.folder, engine_set.manifest.engine("vae_decoder"), threads=1) as engine:
        yield engine


def test_any_chunk_up_to_the_largest_runs(decoder):
    latents = np.random.default_rng(0).standard_normal((4, 4, 8, 8), np.float32)
    for frames in (4, 1, 3, 2):
        assert decoder.infer({"latents": latents[:frames]})["frames"].shape == (frames, 3, 64, 64)


def test_runs_are_repeatable(decoder):
    latents = np.random.default_rng(0).standard_normal((2, 4, 8, 8), np.float32)
    first = decoder.infer({"latents": latents})["frames"].copy()
    decoder.infer({"latents": latents * 0 + 1})
    np.testing.assert_array_equal(decoder.infer({"latents": latents})["frames"], first)


def test_outputs_can_be_written_into_given_arrays(decoder):
    latents = np.random.default_rng(0).standard_normal((2, 4, 8, 8), np.float32)
    frames = np.full((3, 3, 64, 64), 7, np.float32)
    decoder.infer_into({"latents": latents}, {"frames": frames[:2]})
    np.testing.assert_array_equal(frames[:2], decoder.infer({"latents": latents})["frames"])
    assert (frames[2] == 7).all()
    with pytest.raises(ValueError, match="outputs"):
        decoder.infer_into({"latents": latents}, {"y": frames[:2]})
    with pytest.raises(ValueError, match="float64"):
        decoder.infer_into({"latents": latents}, {"frames": frames[:2].astype(np.float64)})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"latents": np.zeros((5, 4, 8, 8), np.float32)}, r"\[5, 4, 8, 8\]"),
        ({"latents": np.zeros((1, 4, 8, 9), np.float32)}, r"\[1, 4, 8, 9\]"),
        ({"latents": np.zeros((1, 4, 8, 8), np.float64)}, "float64"),
        ({"z": np.zeros((1, 4, 8, 8), np.float32)}, "takes"),
        ({}, "takes"),
    ],
)
def test_inputs_that_are_not_the_contract_are_refused(decoder, inputs, message):
    with pytest.raises(ValueError, match=message):
        decoder.infer(inputs)


def test_kept_outputs_must_exist(decoder):
    latents = np.zeros((1, 4, 8, 8), np.float32)
    assert "frames" in decoder.infer({"latents": latents}, keep=("frames",))
    with pytest.raises(ValueError, match="no output"):
        decoder.infer({"latents": latents}, keep=("loss",))
