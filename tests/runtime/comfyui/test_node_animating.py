"""Animate and Refine Options, on stand-ins of ComfyUI's API."""

import gc
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from standin import InterruptProcessingException

from sa.runtime.cli import main as sa_run
from sa.runtime.comfyui.animating import RefineOptions, settings_of
from sa.runtime.errors import InputError
from sa.runtime.pipeline.quality import qualities, quality_settings
from sa.runtime.refinement.hjb import RefineSettings
from sa.runtime.refinement.presets import DEFAULT, refine_presets, refine_settings

STEPS, FRAMES = 2, 5


@pytest.fixture
def engine_folder(home, engines) -> Path:
    folder = engines("recipe_hjb", "onnxruntime", "--refine")
    (home / "models" / "stableanimator" / "small").symlink_to(folder)
    return folder


@pytest.fixture
def animated(nodes, engine_folder, case_folder):
    """animated(settings): what Animate gives for a golden case."""
    (opened,) = nodes["LoadEngines"].execute("small", "as exported", "always").args
    (case,) = nodes["LoadCase"].execute(str(case_folder("recipe_hjb")), 0, 0).args

    def animate(**changes: object) -> tuple:
        settings = {"quality": "exact", "steps": STEPS, "guidance": 3.0, "seed": 7, "frames_per_piece": 0}
        return nodes["Animate"].execute(opened, case, **settings | changes).args

    return animate


def written(out: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(out / "frames" / f"frame_{i}.png")) for i in range(FRAMES)]


@pytest.mark.parametrize("refine", [False, True])
def test_frames_are_those_of_sa_run(refine, nodes, animated, engine_folder, case_folder, tmp_path):
    (options,) = nodes["RefineOptions"].execute("balanced", "face", 0.0, 0, 1, 2, 0.0).args
    (images,), fps, report = animated(refine=options if refine else None)
    words = ["--engines", engine_folder, "--case", case_folder("recipe_hjb"), "--out", tmp_path / "out", "--seed", 7]
    words += ["--steps", STEPS, "--quiet", *(("--refine", "--refine-end", 1, "--refine-iters", 2) if refine else ())]
    assert sa_run([*map(str, words)]) == 0
    assert images.numpy().dtype == np.float32
    # As Save Image makes pictures of an IMAGE: it cuts off what is behind the point.
    np.testing.assert_array_equal((images.numpy() * np.float32(255)).astype(np.uint8), written(tmp_path / "out"))
    ran = json.loads((tmp_path / "out" / "run.json").read_text())
    assert fps == ran["fps"] and json.loads(report)["engines_digest"] == ran["engines_digest"]
    assert json.loads(report)["refine"] == ran["refine"]


def test_a_padded_cases_frames_are_those_of_sa_run(nodes, engine_folder, case_folder, tmp_path):
    """The bars around the reference are taken off the frames."""
    folder = shutil.copytree(case_folder("recipe_hjb"), tmp_path / "case")
    with Image.open(folder / "reference.png") as reference:
        quarter = reference.width // 4
    (folder / "case.json").write_text(json.dumps({"fps": 8, "reference": {"padding": [quarter, 0, quarter, 0]}}))
    (opened,) = nodes["LoadEngines"].execute("small", "as exported", "always").args
    (case,) = nodes["LoadCase"].execute(str(folder), 0, 0).args
    (images,), *_ = nodes["Animate"].execute(opened, case, "exact", 1, 3.0, 7, 0).args
    words = ["--engines", engine_folder, "--case", folder, "--out", tmp_path / "out"]
    assert sa_run([*map(str, words), "--steps", "1", "--seed", "7", "--quiet"]) == 0
    assert images.numpy().shape == (FRAMES, 64, 32, 3)
    np.testing.assert_array_equal((images.numpy() * np.float32(255)).astype(np.uint8), written(tmp_path / "out"))


def test_long_videos_go_out_in_pieces_without_a_copy(animated):
    (whole,), *_ = animated()
    pieces, *_ = animated(frames_per_piece=2)
    assert [len(piece.numpy()) for piece in pieces] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([piece.numpy() for piece in pieces]), whole.numpy())
    assert len({id(piece.numpy().base) for piece in pieces}) == 1 and pieces[0].numpy().base is not None


def test_progress_and_a_preview_of_every_step(animated, comfyui):
    animated()
    shares = [value for value, _ in comfyui.progress]
    assert shares == sorted(shares) and shares[-1] == 1000 and len(set(shares)) >= 2 * FRAMES + STEPS
    assert len(comfyui.previews) == STEPS
    assert {picture.size for picture in comfyui.previews} == {(4 * 32, 32)}  # 4 frames of 64x64, an eighth, 4 times


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_an_interrupt_ends_it_before_the_next_call_of_an_engine(share, animated, comfyui, engine_folder):
    (first,), *_ = animated()
    calls = comfyui.checks
    comfyui.checks, comfyui.interrupt_at = 0, round(share * calls)
    with pytest.raises(InterruptProcessingException):
        animated()
    assert comfyui.checks == comfyui.interrupt_at
    comfyui.interrupt_at = None
    (again,), *_ = animated()
    np.testing.assert_array_equal(first.numpy(), again.numpy())


def test_engines_are_freed_with_the_nodes_output(nodes, engine_folder, case_folder):
    (opened,) = nodes["LoadEngines"].execute("small", "cpu", "always").args
    (case,) = nodes["LoadCase"].execute(str(case_folder("recipe_hjb")), 0, 0).args
    nodes["Animate"].execute(opened, case, "exact", 1, 1.0, 0, 0)
    pipeline = opened.pipeline
    assert pipeline._warm._kept
    del opened
    gc.collect()
    assert not pipeline._warm._kept


def test_a_quality_brings_its_steps():
    for name, quality in qualities().items():
        assert settings_of(name, 0, 3.0, 0, None).steps == quality.steps
        assert settings_of(name, 4, 3.0, 0, None) == replace(quality_settings(name), steps=4, seed=0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"quality": "best"}, "there is no quality 'best': choose exact, balanced"),
        (
            {"refine": RefineOptions("fast", "face", start=2)},
            "the refinement's start must be less than the 2 steps, not 2",
        ),
    ],
)
def test_what_cannot_be_animated(changes, sentence, animated):
    with pytest.raises(InputError, match=sentence):
        animated(**changes)


def test_refine_options(nodes):
    def settings(*values):
        (made,) = nodes["RefineOptions"].execute(*values).args
        return made.settings(STEPS)

    usual = (-1, -1, 0, 0.0)
    for preset in refine_presets():
        assert settings(preset, "face", 0.0, *usual) == refine_settings(STEPS, preset, region="face")
    expected = RefineSettings(1, 4, 2, rate=0.3, tolerance=0.01, region="frame", preset="fast")
    assert settings("fast", "frame", 0.01, 1, 4, 2, 0.3) == expected
    with pytest.raises(InputError, match="end must be at least its start, 1, not 0"):
        settings("balanced", "face", 0.0, 1, 0, 0, 0.0)


def test_an_unset_refinement_is_that_of_sa_run(nodes):
    preset, region, *others = [value.default for value in nodes["RefineOptions"].define_schema().inputs]
    assert (preset, region) == (DEFAULT, "face")
    (made,) = nodes["RefineOptions"].execute(preset, region, *others).args
    assert made.settings(STEPS) == refine_settings(STEPS, region="face")
