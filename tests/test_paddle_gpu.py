"""Paddle Inference told to run on a GPU by a Paddle that has none: what it is told, and what is written of it.

Its predictor then runs on the CPU in float32, so the numbers are right; no GPU has run it.
"""

import numpy as np
import paddle
import pytest
from paddle import inference

from sa.export import cli, exporter
from sa.export.engines.fixed_inputs import fixed_inputs
from sa.export.engines.roles import DEFINITIONS
from sa.export.onnx.rewrites.lower_precision import policy
from sa.runtime.backends import open_engine
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.engine_set.verify import read_manifest
from sa.runtime.errors import EngineSetError

pytestmark = pytest.mark.export

ROLES = ("vae_decoder", "vae_encoder")  # one that is fp16 and one that is not


@pytest.fixture
def told(monkeypatch) -> list[dict]:
    """What each predictor was told, in their order."""
    told = []

    class Config(inference.Config):
        def __init__(self, *files):
            super().__init__(*files)
            self.disable_mkldnn()
            self.calls = {}
            told.append(self.calls)

        def enable_onednn(self):
            """Not on a GPU; without it on the CPU either, both predictors compute with the same kernels."""

        def enable_use_gpu(self, pool, device, precision):
            self.calls |= {"device": device, "precision": precision}

        def exp_disable_mixed_precision_ops(self, names):
            self.calls["float32"] = names

        def disable_gpu(self):
            self.calls["device"] = "cpu"
            super().disable_gpu()

    monkeypatch.setattr(inference, "Config", Config)
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    return told


def test_a_float32_engine_runs_in_float32(told, engines):
    opened = EngineSet.open(engines("recipe_basic", "paddle"))
    contract = opened.manifest.engine("pose_net")
    values = fixed_inputs(contract.inputs)
    found = []
    for backend in ("paddle", "paddle-cuda"):
        with open_engine(backend, opened.folder, contract, 1) as engine:
            found.append(engine.infer(values)["pose_latents"])
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
    assert told[-2:] == [{"device": "cpu"}, {"device": 0, "precision": inference.PrecisionType.Float32}]


def test_a_paddle_without_gpus(engines):
    opened = EngineSet.open(engines("recipe_basic", "paddle"))
    with pytest.raises(EngineSetError, match="--device cuda needs paddlepaddle-gpu, but this Paddle knows no GPUs: "):
        open_engine("paddle-cuda", opened.folder, opened.manifest.engine("pose_net"), 1)


@pytest.fixture
def exported(told, checkpoint, monkeypatch, tmp_path):
    monkeypatch.setattr(exporter, "DEFINITIONS", [one for one in DEFINITIONS if one.role in ROLES])
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 1)
    shapes = ("--height", "64", "--width", "64", "--tile-size", "2", "--decode-chunk", "1")
    words = ("--checkpoint", str(checkpoint("recipe_basic")), "--out", str(tmp_path / "out"), *shapes, "--quiet")
    assert cli.main([*words, "--backend", "paddle", "--precision", "fp16"]) == 0
    return read_manifest(tmp_path / "out")[0]


def test_an_fp16_set_says_what_paddle_is_to_convert(exported, told):
    assert (exported.device, exported.precision, exported.backend) == ("cuda", "fp16", "paddle")
    half, whole = (exported.engine(role) for role in ROLES)
    assert (half.precision, half.float32_operators) == ("fp16", policy("fp16").paddle_operators)
    assert (whole.precision, whole.float32_operators) == ("fp32", None)
    assert [one.certificate.executed for one in (half, whole)] == ["engine", "engine"]
    assert half.certificate.tolerance > whole.certificate.tolerance
    whole_told, half_told = told  # the encoder comes first
    assert half_told["precision"] == inference.PrecisionType.Half and "pd_op.softmax" in half_told["float32"]
    assert whole_told["precision"] == inference.PrecisionType.Float32 and "float32" not in whole_told
