"""The contenders of sa-bench run: their names, and the device they are opened on."""

from pathlib import Path
from types import SimpleNamespace

from sample_manifest import manifest
from sample_rows import contender

from sa.benchmarks.measure import contenders
from sa.benchmarks.measure.contenders import Entry, Plan, open_contenders


def test_the_rows_of_the_published_code_are_named_after_its_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(contenders.metadata, "version", lambda name: "2.5.1")
    beside = Entry(contender(), {"engines": "engines", "peer": None}, manifest(), "cuda")
    entry = contenders._peer("upstream:/code/StableAnimator", tmp_path, beside)
    assert (entry.contender.name, entry.contender.kind) == ("upstream:StableAnimator", "peer")
    assert (entry.contender.backend, entry.contender.backend_version) == ("torch, published code", "2.5.1")
    assert entry.device == "cuda" and entry.contender.precision == "fp32"
    assert entry.job["peer"] == "upstream:/code/StableAnimator" and entry.contender.shapes == beside.contender.shapes


def test_the_device_reaches_engine_sets_and_workers(monkeypatch):
    asked = []

    def opened(folder, device):
        asked.append(device)
        return SimpleNamespace(manifest=manifest(), backend="onnxruntime-cuda", digest="d", size=1, device=device)

    monkeypatch.setattr(contenders.EngineSet, "open", opened)
    monkeypatch.setattr(contenders.metadata, "version", lambda name: "2.13.0")
    plan = Plan(engines=[Path("engines")], device="cuda", peers=["eager", "graph-fp16"], checkpoint=Path("c"))
    (entry, *peers), failures = open_contenders(plan)
    assert asked == [entry.job["device"]] == ["cuda"] and not failures
    assert entry.contender.backend == "onnxruntime-cuda"
    assert [(peer.contender.name, peer.contender.backend, peer.contender.precision) for peer in peers] == [
        ("diffusers:eager", "torch eager", "fp32"),
        ("diffusers:graph-fp16", "torch graph", "fp16"),
    ]
    assert all(peer.device == peer.job["device"] == "cuda" for peer in peers)
