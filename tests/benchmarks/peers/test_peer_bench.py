"""sa-bench run with peers: the loss gradient of those that offer it, and exports, which are not part of loading."""

import json
import os

import pytest
from set_cache import exported

pytest.importorskip("diffusers", reason="needs the extra `peers`: make test-peers")

from sa.benchmarks.cli import main
from sa.benchmarks.measure import worker
from sa.benchmarks.measure.results import read
from sa.benchmarks.measure.worker import Peer, measure_engine
from sa.benchmarks.peers import onnx_engine
from sa.runtime.engine_set.open import EngineSet


@pytest.fixture(scope="module")
def refining(checkpoint):
    """A small engine set with refinement engines, by the plan that is exported fastest."""
    size = ["--height", 64, "--width", 64, "--tile-size", 2, "--decode-chunk", 4]
    return exported("recipe_hjb", checkpoint("recipe_hjb"), [*size, "--refine", "--refine-plan", "whole"])


def test_the_loss_gradient_of_an_engine_set_and_of_peers(refining, checkpoint, tmp_path):
    """The set and the eager peer are measured and compared. Another peer says that it does not offer it."""
    few = ["--rounds", "1", "--repetitions", "1", "--quiet", "--subjects", "loss_gradient", "--out", str(tmp_path)]
    made = ["--engines", str(refining), "--checkpoint", str(checkpoint("recipe_hjb"))]
    assert main(["run", *made, *few, "--peer", "diffusers", "diffusers:onnx"]) == 0
    rows = {row.contender.name: row for row in read(tmp_path / "results.jsonl")}
    assert {row.subject for row in rows.values()} == {"engine loss_gradient"} and len(rows) == 3
    counts = EngineSet.open(refining).manifest.refine
    for name in (refining.name, "diffusers:eager"):
        row = rows[name]
        assert row.failure is None and row.n == 1 and row.frames == 4
        assert row.cosine > 0.9999 and row.relative_error < 0.05
        assert (row.flops, row.bytes) == (counts.flops, counts.bytes) and row.flops_per_second > 0
    assert rows["diffusers:onnx"].failure == (
        "exit code 1: the onnx peer does not offer the loss gradient: take --peer diffusers, run eagerly, for it."
    )


def test_an_export_is_made_before_loading_is_timed(refining, checkpoint, tmp_path, monkeypatch):
    manifest = EngineSet.open(refining).manifest
    peer = Peer("onnx", checkpoint("recipe_hjb"), manifest, tmp_path / "cache", 2, "cpu")
    peer.prepare(["pose_net", "loss_gradient", "run"])  # only the role has something to export
    (made,) = (tmp_path / "cache").iterdir()
    assert made.name.startswith("pose_net-")

    def export(*_):
        raise AssertionError("exported while loading is timed")

    monkeypatch.setattr(onnx_engine, "_export", export)
    line = measure_engine(peer, "pose_net", repetitions=1, outputs=None)
    assert line["subject"] == "engine pose_net" and line["load"] > 0


def test_the_worker_prepares_what_it_is_about_to_measure(refining, checkpoint, tmp_path, monkeypatch):
    """Loading is timed with the export already made, in the first round too."""
    calls = []
    monkeypatch.setattr(
        "sa.benchmarks.measure.worker.measure_engine", lambda *_: calls.append("measure") or {"subject": ""}
    )
    monkeypatch.setattr(Peer, "prepare", lambda self, subjects: calls.append(list(subjects)))
    job = {"engines": str(refining), "peer": "onnx", "device": "cpu", "cache": str(tmp_path)}
    job |= {"checkpoint": str(checkpoint("recipe_hjb")), "subject": "pose_net"}
    run_here(monkeypatch, {**job, "repetitions": 1, "threads": 1, "outputs": None})
    assert calls == [["pose_net"], "measure"]


def run_here(monkeypatch, job):
    """The worker's main in this process, which gets its stdout back."""
    monkeypatch.setattr("sys.argv", ["worker", json.dumps(job)])
    kept = os.dup(1)
    try:
        worker.main()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
