"""Prepare Case and Prepare Options, on stand-ins of ComfyUI's API."""

import gc
import json
import sys

import numpy as np
import pytest
from PIL import Image
from prepare_data import person, picture_file, write_keypoints
from standin import InterruptProcessingException, image

from sa.runtime.case.case import Case
from sa.runtime.comfyui.preparing import PREFIX
from sa.runtime.comfyui.words import worded
from sa.runtime.errors import InputError
from sa.runtime.prepare.cli import main as sa_prepare
from sa.runtime.prepare.options import PrepareOptions

FRAMES = 5


@pytest.fixture
def sources(home) -> dict:
    """What Prepare Case takes, and the same as files for sa-prepare."""
    given = home / "input"
    photo = picture_file(given / "photo.png", 128, 128)
    frames = [picture_file(given / "frames" / f"f{i}.png", 256, 128, seed=i) for i in range(FRAMES)]
    write_keypoints(given / "poses.npz", [person(0.2, 40 + 4 * i, 10) for i in range(FRAMES)], person(0.25))
    return {
        "reference": image(np.asarray(Image.open(photo))[None]),
        "driving": image(np.stack([np.asarray(Image.open(frame)) for frame in frames])),
        "fps": 25.0,
        "width": 64,
        "height": 64,
        "person": "largest",
        "keypoints": "poses.npz",
        "identity": "none",
    }


def test_a_prepared_case_is_that_of_sa_prepare(nodes, comfyui, home, sources, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    case, preview, report = nodes["PrepareCase"].execute(**sources).args
    given = home / "input"
    words = ["--reference", given / "photo.png", "--driving", given / "frames", "--out", tmp_path / "case"]
    words += ["--keypoints", given / "poses.npz", "--size", "64x64", "--quiet"]
    assert sa_prepare([*map(str, words)]) == 0
    expected = Case.read(tmp_path / "case")
    assert case.case.digest(refined=True) == expected.digest(refined=True)
    assert case.case.fps == 25.0 and case.identity == "none"
    assert preview.numpy().shape == (FRAMES, 64, 256, 3)
    assert preview.numpy().dtype == np.float32 and 0 <= preview.numpy().min() < 0.5 < preview.numpy().max() <= 1
    assert json.loads(report)["alignment"] == json.loads((tmp_path / "case" / "case.json").read_text())["alignment"]
    assert [value for value, _ in comfyui.progress] == sorted(value for value, _ in comfyui.progress)
    assert comfyui.progress[-1] == (1000, 1000)
    assert [path.name[: len(PREFIX)] for path in (tmp_path / "temporary").iterdir()] == [PREFIX]
    del case
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir())


def test_options_are_flags_of_sa_prepare(nodes, home, sources, tmp_path):
    names = {one.id: one.default for one in nodes["PrepareOptions"].define_schema().inputs}
    assert names | {"fps": None} == PrepareOptions().model_dump()
    chosen = {"fit": "pad", "background": "#30c040", "anchor": "hips", "retarget": "limbs", "smooth": True}
    (options,) = nodes["PrepareOptions"].execute(**names | chosen).args
    case, *_ = nodes["PrepareCase"].execute(**sources, options=options).args
    given, flags = home / "input", ["--size", "64x64", "--fps", "25", "--quiet", "--smooth"]
    flags += [word for name, value in chosen.items() if name != "smooth" for word in (f"--{name}", value)]
    words = ["--reference", given / "photo.png", "--driving", given / "frames", "--out", tmp_path / "case"]
    assert sa_prepare([*map(str, words), "--keypoints", str(given / "poses.npz"), *flags]) == 0
    assert case.case.digest(refined=True) == Case.read(tmp_path / "case").digest(refined=True)
    with pytest.raises(InputError, match="background: must be a colour"):
        nodes["PrepareOptions"].execute(**names | {"background": "sky"})


def test_what_is_said_names_inputs_of_the_node(nodes, sources):
    assert worded("keep it with --anchor hips or --no-fill; see sa-export --tile-size") == (
        "keep it with anchor hips or no_fill; see sa-export --tile-size"
    )
    with pytest.raises(InputError, match=r"^person 9: no driving frame shows so many persons"):
        nodes["PrepareCase"].execute(**sources | {"person": "9"})


def test_a_case_can_be_kept(nodes, home, sources):
    for _ in range(2):  # the second replaces the first
        (case, _, _) = nodes["PrepareCase"].execute(**sources, folder="kept").args
        del case
        gc.collect()
    assert Case.read(home / "input" / "kept").frames == FRAMES


@pytest.mark.parametrize("at", [1, FRAMES + 3, 3 * FRAMES])
def test_preparing_can_be_interrupted(at, nodes, comfyui, sources, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    comfyui.interrupt_at = at
    with pytest.raises(InterruptProcessingException):
        nodes["PrepareCase"].execute(**sources)
    assert comfyui.checks == at
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"person": "somebody"}, "person must be largest, all, or a number from 0, not 'somebody'"),
        ({"width": 100}, "must be WIDTHxHEIGHT, both multiples of 64"),
        ({"keypoints": ""}, "poses come from networks or from files"),
        ({"keypoints": "absent.npz"}, "absent.npz cannot be read"),
        ({"identity": ""}, "the case has no identity"),
    ],
)
def test_what_cannot_be_prepared(changes, sentence, nodes, sources):
    with pytest.raises(InputError, match=sentence):
        nodes["PrepareCase"].execute(**sources | changes)


def test_prepare_says_which_extra_it_needs(nodes, sources, monkeypatch):
    monkeypatch.setitem(sys.modules, "sa.runtime.prepare.preparation", None)
    with pytest.raises(InputError, match=r"pip install 'stableanimator-deploy\[prepare\]'"):
        nodes["PrepareCase"].execute(**sources)
