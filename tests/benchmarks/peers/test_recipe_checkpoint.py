"""What peers draw without Paddle is the checkpoint that engine sets are exported from, tensor by tensor."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from sa.benchmarks.fixtures.golden import GOLDEN, write_golden_checkpoint
from sa.benchmarks.fixtures.layout import PLACES
from sa.runtime.console.progress import Reporter

CASE = "recipe_hjb"
QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def recipe_checkpoint():
    pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    from sa.benchmarks.peers import recipe_checkpoint

    return recipe_checkpoint


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden") / "checkpoint"
    write_golden_checkpoint(CASE, folder)
    return folder


def test_it_is_that_of_the_export(recipe_checkpoint, golden, tmp_path):
    source = GOLDEN / CASE / "SVD"
    configs = {str(path.relative_to(source)): json.loads(path.read_text()) for path in source.rglob("*.json")}
    arcface = {name: value.shape for name, value in load_file(golden / PLACES["arcface"]).items()}
    drawn = recipe_checkpoint.draw(arcface, tmp_path / "drawn", QUIET, configs)
    for place in PLACES.values():
        ours, truth = load_file(drawn / place), load_file(golden / place)
        assert ours.keys() == truth.keys()
        for name, value in ours.items():
            np.testing.assert_array_equal(value, truth[name], err_msg=name)


def test_one_that_is_finished_stays_and_one_that_is_not_is_drawn_anew(recipe_checkpoint, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(recipe_checkpoint, "_write", lambda folder, part, tensors: written.append(part))
    monkeypatch.setattr(recipe_checkpoint, "expected", lambda part, checkpoint: {})
    folder = tmp_path / "drawn"
    folder.mkdir()
    (folder / "half").touch()
    for _ in range(2):
        assert recipe_checkpoint.draw({}, folder, QUIET) == folder
    assert sorted(written) == sorted(PLACES) and not (folder / "half").exists()
