"""--refine-plan auto."""

from dataclasses import replace

import sa.export.chosen_plan
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.chosen_plan import chosen_plan
from sa.export.cli import main
from sa.export.settings import ExportSettings
from sa.export.targets.onnxruntime.target import OnnxRuntimeTarget
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import Shapes
from sa.runtime.engine_set.memory_plan import Choices, stage_memory
from sa.runtime.engine_set.open import EngineSet

SETTINGS = ExportSettings(Shapes(height=64, width=64, tile_size=5, decode_chunk=4), OnnxRuntimeTarget(), refine="auto")


def test_the_gradient_is_one_engine_where_it_fits(checkpoint, engines, monkeypatch):
    """The line is where sa-run itself expects such a set to need the memory."""
    read = Checkpoint(checkpoint("recipe_hjb"))
    manifest = EngineSet.open(engines("recipe_hjb", "onnxruntime", "--refine", "--refine-plan", "whole")).manifest
    stages = stage_memory(manifest, "cpu", Choices(frames=4, refine=True))
    denoising = next(one for one in stages if one.stage == "denoising").predicted

    def plan(free: float) -> str:
        monkeypatch.setattr(sa.export.chosen_plan, "available_memory", lambda: int(free))
        return chosen_plan(read, SETTINGS, Reporter(quiet=True))

    assert (plan(0.5 * denoising), plan(2 * denoising)) == ("segmented", "whole")


def test_a_larger_picture_needs_more(checkpoint, monkeypatch):
    read, free = Checkpoint(checkpoint("recipe_hjb")), 1 << 28
    monkeypatch.setattr(sa.export.chosen_plan, "available_memory", lambda: free)
    small = chosen_plan(read, SETTINGS, Reporter(quiet=True))
    larger = replace(SETTINGS, shapes=SETTINGS.shapes.model_copy(update={"height": 256, "width": 256}))
    assert (small, chosen_plan(read, larger, Reporter(quiet=True))) == ("whole", "segmented")


def test_the_manifest_names_what_was_chosen(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(sa.export.chosen_plan, "available_memory", lambda: 1 << 40)
    flags = ["--height", "64", "--width", "64", "--tile-size", "2", "--refine", "--refine-plan", "auto", "--quiet"]
    assert main(["--checkpoint", str(checkpoint("recipe_hjb")), "--out", str(tmp_path / "out"), *flags]) == 0
    manifest = EngineSet.open(tmp_path / "out").manifest
    assert manifest.refine is not None and manifest.refine.plan == "whole"
    assert manifest.command.endswith("--refine --refine-plan whole")
