"""The puppet checkpoint in the repository: small, float16, read by sa-export like any other, and able to animate."""

import csv
import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from set_cache import exported

from sa.benchmarks.puppet import CHECKPOINT, GUIDANCE, PRESET
from sa.benchmarks.puppet.cases import TRUTH, embed_reference, write_case
from sa.benchmarks.puppet.quality import psnr, read_frames
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.roles import DEFINITIONS, slots_by_part
from sa.runtime.case.images import read_image
from sa.runtime.cli import main as sa_run

pytestmark = pytest.mark.export

FRAMES = 8
STAGES = (
    "vae-pictures",
    "arcface",
    "diffusion-pictures",
    "diffusion-clips",
    "second-embedder",
    "joint-finder",
    "vae-more.1",
    "animator-more.1",
    "decoder-more.1",
    "animator-more.2",
    "animator-more.3",
    "decoder-more.2",
    "decoder-more.3",
    "animator-more.4",
    "decoder-more.4",
    "vae-more.2",
    "vae-more.3",
    "vae-more.4",
    "animator-more.5",
    "decoder-more.5",
)
PUPPETS = (101, 102)  # neither trained on, nor the study's


def test_it_is_small_and_all_of_it_float16():
    files = [path for path in CHECKPOINT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20_000_000
    weights = [path for path in files if path.suffix == ".safetensors"]
    assert len(weights) == 8  # six networks and two judges
    for path in weights:
        for name, value in load_file(path).items():
            assert value.dtype == np.float16 and np.isfinite(value).all(), f"{path.name}: {name}"


def test_it_says_what_it_is_and_how_it_was_taught():
    card = (CHECKPOINT / "README.md").read_text()
    assert "not a model of people" in card
    for stage in STAGES:
        with (CHECKPOINT / "training" / f"{stage}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        steps = [int(row["step"]) for row in rows]
        assert steps == sorted(set(steps)) and all(np.isfinite(float(row["loss"])) for row in rows), stage
        assert all(rows[-1].values()), stage  # it ended with a measurement of held-out puppets


def test_sa_export_reads_it_as_it_is():
    checkpoint = Checkpoint(CHECKPOINT)
    for part, slots in slots_by_part(checkpoint, DEFINITIONS).items():
        weights = checkpoint.weights(part, slots)  # names and shapes are compared
        for name in weights.shapes:
            assert weights.read(name).dtype == np.float32, f"{part}: {name}"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """By puppet: its case's and its result's folder."""
    folder = tmp_path_factory.mktemp("puppets")
    engines = exported("puppet", CHECKPOINT, ["--preset", PRESET])
    found = {}
    for number in PUPPETS:
        case, result = folder / f"case-{number}", folder / f"result-{number}"
        write_case(case, "held-out", number, FRAMES)
        embed_reference(case, CHECKPOINT)
        flags = ["--steps", "8", "--guidance", str(GUIDANCE), "--quiet"]
        assert sa_run(["--engines", str(engines), "--case", str(case), "--out", str(result), *flags]) == 0
        found[number] = case, result
    return found


@pytest.mark.parametrize("number", PUPPETS)
def test_a_puppet_it_has_never_seen_moves_as_it_should(number, videos):
    """The video is far nearer to the truth than the repeated reference, which already has backdrop and colours."""
    case, result = videos[number]
    assert json.loads((result / "run.json").read_text())["frames"] == FRAMES
    truth, made = (read_frames(place, FRAMES) for place in (case / TRUTH, result / "frames"))
    still = np.broadcast_to(np.asarray(read_image(case / "reference.png")), truth.shape)
    assert psnr(made, truth) > 25
    assert psnr(made, truth) > psnr(still, truth) + 8
