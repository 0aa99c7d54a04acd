"""sa-bench's subject quality, from cases to figures, where videos are the truth itself or the reference repeated."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from sa.benchmarks.measure import quality_trial as trial
from sa.benchmarks.puppet import CHECKPOINT
from sa.benchmarks.puppet.cases import TRUTH, write_case
from sa.benchmarks.puppet.judging import reconstructed
from sa.benchmarks.puppet.quality import Video, compare, read_frames
from sa.runtime.contract import Shapes

PUPPETS = 3


class Contender:
    low_memory = True  # nothing is kept loaded

    class manifest:  # noqa: N801
        shapes = Shapes(height=128, width=128, tile_size=4, decode_chunk=4)


@pytest.fixture
def figures(monkeypatch):
    """figures(frame of a case -> picture): what is found of videos made so, without any engine."""

    def measured(picture):
        def animate(pipeline, case, out, settings):
            frames = pipeline.engines.manifest.shapes.tile_size
            (out / "frames").mkdir(parents=True)
            for frame in range(frames):
                shutil.copy(picture(Path(case.name), frame), out / "frames" / f"frame_{frame}.png")
            facts = {"case": case.name, "frames": frames, "shapes": {"tile_size": frames}}
            (out / "run.json").write_text(json.dumps({**facts, "arguments": {"tile_overlap": settings.tile_overlap}}))

        monkeypatch.setattr(trial, "animate", animate)
        monkeypatch.setattr(trial, "is_puppets", lambda manifest: True)
        line = trial.measure_quality(Contender, PUPPETS)
        assert line["subject"] == "quality" and line["frames"] == 4 and line["quality"]["seam"] is None
        assert len(list(CHECKPOINT.glob("*.safetensors"))) == 2
        return {name: figure["mean"] for name, figure in line["quality"].items() if figure}

    return measured


def test_the_truth_is_judged_good(figures):
    found = figures(lambda case, frame: case / TRUTH / f"frame_{frame}.png")
    assert found["psnr"] > 100 and found["fingers"] == 1 and found["ssim"] == pytest.approx(1) and found["flicker"] == 0
    assert found["joint_error"] == found["joint_floor"] < 4
    for by in ("csim", "csim_judge"):
        assert found[by] > found[f"{by}_other"] + 0.3


def test_the_reference_repeated_is_judged_as_what_it_is(figures):
    found = figures(lambda case, frame: case / "reference.png")
    assert found["psnr"] == pytest.approx(found["psnr_still"]) and found["psnr"] < 25
    assert found["joint_error"] > found["joint_floor"] + 3 and found["flicker"] > 0
    assert found["fingers"] < 0.5


def test_what_the_vae_makes_of_the_truth_is_near_to_it(tmp_path):
    case = tmp_path / "case"
    write_case(case, "held-out", 101, 4)
    truth = read_frames(case / TRUTH, 4)
    (same, made) = compare([Video(case, truth), Video(case, reconstructed(truth))])
    assert made.psnr > 30 and made.psnr < same.psnr
    assert 0.75 < made.sharpness < same.sharpness == pytest.approx(1)
    assert made.csim == pytest.approx(same.csim, abs=0.1)
    assert np.isnan(made.seam)
