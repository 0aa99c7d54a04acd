"""`sa-run --low-memory`: the same bytes in every frame, never two stages' engines loaded at once."""

import json

import pytest

from sa.runtime.cli import main
from sa.runtime.contract import SPECIALIZED
from sa.runtime.engine_set import open as opening


@pytest.fixture
def held(monkeypatch):
    """Sets of roles that were loaded at the same time."""
    plain, loaded, together = opening.open_engine, [], []

    def open_engine(backend, folder, contract, threads=None):
        engine = plain(backend, folder, contract, threads)
        loaded.append(contract.role)
        together.append(frozenset(loaded))
        close = engine.close
        engine.close = lambda: (loaded.remove(contract.role), close())
        return engine

    monkeypatch.setattr(opening, "open_engine", open_engine)
    yield together
    assert not loaded


@pytest.mark.parametrize("refine", [False, True])
def test_the_same_frames_with_one_stage_loaded_at_a_time(refine, engines, case_folder, held, tmp_path):
    plan = ("--refine", "--refine-plan", "segmented") if refine else ()
    arguments = ["--engines", engines("recipe_hjb", "onnxruntime", *plan), "--case", case_folder("recipe_hjb")]
    arguments += ["--steps", 2, "--threads", 1, "--quiet"]
    arguments += ["--refine", "--refine-end", 0, "--refine-iters", 1] if refine else []
    for name, flags in (("plain", []), ("low", ["--low-memory"])):
        held.clear()
        assert main([str(word) for word in [*arguments, "--out", tmp_path / name, *flags]]) == 0
    assert max(len(roles) for roles in held) == 2
    for roles in held:
        assert len(roles) == 1 or roles <= {"unet", "time_embedding"}
    assert {role for roles in held for role in roles} >= {"unet", *SPECIALIZED}
    for path in sorted((tmp_path / "plain" / "frames").iterdir()):
        assert path.read_bytes() == (tmp_path / "low" / "frames" / path.name).read_bytes()
    plain, low = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("plain", "low"))
    assert low["arguments"]["low_memory"] and not plain["arguments"]["low_memory"]
    assert low["refine"] == plain["refine"]
    for stage, other in zip(low["memory"]["stages"], plain["memory"]["stages"], strict=True):
        assert stage["stage"] == other["stage"] and stage["measured_bytes"] is not None
        assert stage["predicted_bytes"] <= other["predicted_bytes"]
    if refine:
        assert low["memory"]["stages"][1]["predicted_bytes"] < 0.6 * plain["memory"]["stages"][1]["predicted_bytes"]
        assert low["refinement"]["predicted_bytes"] < plain["refinement"]["predicted_bytes"]
