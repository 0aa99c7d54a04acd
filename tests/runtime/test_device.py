"""`sa-run --device cuda` from the command line to run.json, the CPU's engines in the places of the GPU's."""

import json

import pytest

from sa.runtime import backends
from sa.runtime.backends import cuda
from sa.runtime.cli import main
from sa.runtime.engine_set import verify
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.pipeline import run


@pytest.fixture
def opened(monkeypatch):
    """The backends that engines were opened by, on a machine that claims to have a GPU with 8 GiB free."""
    found, plain = [], backends.engine_class

    def engine_class(backend):
        found.append(backend)
        return plain("onnxruntime" if backend == "onnxruntime-cuda" else backend)

    for module in (backends, run):
        monkeypatch.setattr(module, "engine_class", engine_class)
    monkeypatch.setattr(cuda, "compute_capability", lambda: "8.9")
    monkeypatch.setattr(cuda, "memory_of_device", lambda: (8 << 30, 16 << 30))
    monkeypatch.setattr(verify, "backend_version", lambda backend: "1.99.0")
    return found


def test_every_engine_is_opened_where_it_was_asked_to(opened, engines, case_folder, tmp_path, capsys):
    arguments = ["--engines", engines("recipe_hjb", "onnxruntime"), "--case", case_folder("recipe_hjb")]
    arguments += ["--out", tmp_path / "out", "--steps", 1, "--threads", 1, "--device", "cuda"]
    assert main([str(word) for word in arguments]) == 0
    assert set(opened) == {"onnxruntime-cuda"}
    said = json.loads((tmp_path / "out" / "run.json").read_text())
    assert said["device"] == said["memory"]["device"] == "cuda"
    assert said["memory"]["available_bytes"] == 8 << 30
    for stage in said["memory"]["stages"]:  # nothing of the GPU's is measured here
        assert stage["measured_bytes"] is None and stage["predicted_bytes"] == stage["counted_bytes"]
    (remark,) = [warning for warning in said["warnings"] if "certified" in warning]
    assert remark.endswith("was certified on a CPU, not on a GPU: compare a first result with one of --device cpu.")
    assert "8.00 GiB are free" in " ".join(capsys.readouterr().err.split())


def test_without_a_choice_a_set_runs_where_it_was_exported_for(opened, engines):
    folder = engines("recipe_hjb", "onnxruntime")
    assert EngineSet.open(folder).backend == "onnxruntime"
    assert EngineSet.open(folder, device="cpu").backend == "onnxruntime"
    assert EngineSet.open(folder, device="cuda").backend == "onnxruntime-cuda"
