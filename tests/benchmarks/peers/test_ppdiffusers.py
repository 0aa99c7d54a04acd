"""The UNet of ppdiffusers: an independent network in Paddle against the golden cases and against this project's own."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from set_cache import exported
from shared import relative

from sa.benchmarks.cli import main
from sa.benchmarks.fixtures.golden import golden_flags
from sa.benchmarks.measure.results import read
from sa.benchmarks.peers.ppdiffusers_environment import PYTHON, installed_version
from sa.benchmarks.peers.reference import ReferenceEngine
from sa.benchmarks.report.comparison import compare
from sa.runtime.contract import Shapes

pytestmark = [
    pytest.mark.ppdiffusers,
    pytest.mark.filterwarnings("ignore:\\s*Non compatible API"),  # Paddle's, of its own functions
]
TESTS = Path(__file__).parents[2]
NETWORK = 1e-4  # tolerance of the golden data
AS_IT_IS = 1e-3  # where Paddle's GroupNorm loses digits: in_ppdiffusers.py


def in_its_environment(*words: object) -> list[str]:
    """The lines that a function of in_ppdiffusers.py prints."""
    command = [PYTHON, Path(__file__).with_name("in_ppdiffusers.py"), *words]
    done = subprocess.run(
        [*map(str, command)], env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_unet_matches_every_stored_call(case, checkpoint):
    in_its_environment("golden_calls", case, checkpoint(case))


def test_two_different_tokens_in_a_batch(checkpoint, tmp_path):
    """The peer agrees with this project's network. ppdiffusers' own temporal processors do so one branch at a time."""
    folder = checkpoint("recipe_basic")
    generator = np.random.default_rng(3)
    with ReferenceEngine(folder, "unet", Shapes(height=128, width=64, tile_size=3, decode_chunk=1), 2) as reference:
        inputs = {spec.name: generator.standard_normal(spec.largest, np.float32) for spec in reference.contract.inputs}
        expected = reference.infer(inputs)["velocity"]
    np.savez(tmp_path / "inputs.npz", **inputs)
    in_its_environment("velocities", folder, tmp_path / "inputs.npz", tmp_path / "outputs.npz")
    with np.load(tmp_path / "outputs.npz") as found:
        assert relative(found["peer"], expected) < NETWORK
        assert relative(found["theirs_apart"], expected) < NETWORK
        assert relative(found["theirs"], expected) > 0.1


def test_a_pipeline_cannot_be_converted_by_paddle_dtype(checkpoint):
    (said,) = in_its_environment("paddle_dtype", checkpoint("recipe_basic"))
    assert said.startswith("The deprecation tuple ('paddle_dtype', '0.25.0', '') should be removed")


def test_what_it_does_not_offer_is_said(checkpoint):
    assert in_its_environment("refusals", checkpoint("recipe_basic")) == [
        "the ppdiffusers peer offers unet, not pose_net.",
        "the ppdiffusers peer runs on CPUs alone: leave it out, or measure with --device cpu.",
    ]


def test_it_is_a_row_beside_the_engine_set(checkpoint, tmp_path):
    folder = checkpoint("recipe_hjb")
    engines = exported("recipe_hjb-onnxruntime", folder, ["--backend", "onnxruntime", *golden_flags("recipe_hjb")])
    flags = ["--engines", engines, "--checkpoint", folder, "--peer", "ppdiffusers", "--out", tmp_path, "--quiet"]
    few = ["--subjects", "unet", "--rounds", "1", "--repetitions", "2"]
    assert main(["run", *map(str, [*flags, *few])]) == 0
    own, peer = read(tmp_path / "results.jsonl")
    assert (peer.contender.name, peer.contender.kind) == ("ppdiffusers", "peer")
    assert peer.contender.backend_version == installed_version() == "0.29.0, Paddle 3.2.2"
    assert peer.failure is None and peer.n == 2 and peer.frames == own.frames and peer.load > 0
    assert peer.relative_error < AS_IT_IS and peer.compared == "float32 network, full shapes"
    (host,) = compare([own, peer])
    (workload,) = host.workloads
    assert workload.speedup(own) == peer.p50 / own.p50
