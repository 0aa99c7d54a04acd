"""A job's case, made of photo and video with the options of the request, against sa-prepare's with the same flags."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from prepare_data import person, picture_file, video_file, write_keypoints
from pydantic import ValidationError

from sa.runtime.contract import Shapes
from sa.runtime.errors import InputError, first_fault
from sa.runtime.prepare.cli import main
from sa.runtime.prepare.command.arguments import CommandOptions, flag_of
from sa.runtime.prepare.options import PrepareOptions
from sa.runtime.serve.settings import VideoSettings
from sa.runtime.serve.store.folders import CASE, DRIVING, KEYPOINTS, REFERENCE
from sa.runtime.serve.worker.preparing import prepare

FRAMES = 6
SHAPES = Shapes(height=64, width=64, tile_size=2, decode_chunk=2)
OPTIONS = {
    "fit": "pad",
    "reference_person": "1",
    "background": "#102030",
    "fps": 50.0,
    "anchor": "hips",
    "retarget": "limbs",
    "no_fill": True,
    "smooth": True,
}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The folder of a job in which a worker works: two people in the photo, one in the video, who is missed once."""
    for place in (REFERENCE, DRIVING, KEYPOINTS):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    picture_file(tmp_path / "photo.png", 96, 128).rename(tmp_path / REFERENCE)
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, 64, 128, 3), dtype=np.uint8)
    video_file(tmp_path / "dance.mp4", list(noise), [i / 25 for i in range(FRAMES)]).rename(tmp_path / DRIVING)
    walking = [person(0.1, 20 + 4 * i, 5) for i in range(FRAMES)]
    walking[3] = np.full((133, 3), np.nan)
    write_keypoints(tmp_path / "poses.npz", walking, None)
    with np.load(tmp_path / "poses.npz") as poses:
        np.savez(tmp_path / "both.npz", reference=np.stack([person(0.15), person(0.1, 55, 20)]), **poses)
    (tmp_path / "both.npz").rename(tmp_path / KEYPOINTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(settings: VideoSettings, frames: int = 100) -> dict:
    def nothing(*of: object, **named: object) -> None:
        pass

    recorder = SimpleNamespace(stage_started=nothing, stage_ended=nothing, progress=nothing, warn=nothing)
    prepare(settings, SHAPES, None, "cpu", frames, recorder, nothing)
    return json.loads((CASE / "case.json").read_text())


def test_a_jobs_case_is_that_of_sa_prepare(job):
    """All options differ from the defaults."""
    assert OPTIONS.keys() == PrepareOptions.model_fields.keys()
    assert all(getattr(PrepareOptions(), name) != value for name, value in OPTIONS.items())
    given = VideoSettings.model_validate_json(json.dumps({"prepare": OPTIONS, "identity": "none"}), strict=True)
    case = made(given)
    files = {"--reference": REFERENCE, "--driving": DRIVING, "--keypoints": KEYPOINTS, "--out": "command"}
    files |= {"--size": "64x64", "--identity": "none"}
    words = [str(word) for pair in files.items() for word in pair] + ["--quiet"]
    for name, value in OPTIONS.items():
        words += [flag_of(name)] if value is True else [flag_of(name), str(value)]
    assert main(words) == 0
    command = json.loads((job / "command" / "case.json").read_text())
    for part in ("parameters", "alignment", "motion", "inside", "names", "fps", "warnings"):
        assert case[part] == command[part], part
    pictures = [path.relative_to(job / "command") for path in (job / "command").rglob("*.png")]
    assert len(pictures) == 2 * case["frames"] + 2 and case["frames"] == 2 * FRAMES
    for picture in pictures:
        assert (CASE / picture).read_bytes() == (job / "command" / picture).read_bytes(), picture


def test_what_is_left_out_is_as_sa_prepare_has_it(job):
    parameters = made(VideoSettings(identity="none"))["parameters"]
    words = ["--reference", REFERENCE, "--driving", DRIVING, "--keypoints", KEYPOINTS, "--out", "command"]
    assert main([*map(str, words), "--size", "64x64", "--identity", "none", "--quiet"]) == 0
    assert parameters == json.loads((job / "command" / "case.json").read_text())["parameters"]


def test_a_rate_that_makes_too_many_frames_is_refused_at_once(job):
    with pytest.raises(InputError, match=r"more than 20 frames to take: give .* or a lower prepare.fps"):
        made(VideoSettings(prepare=PrepareOptions(fps=240), identity="none"), frames=20)
    assert made(VideoSettings(prepare=PrepareOptions(fps=50), identity="none"), frames=20)["frames"] == 12


@pytest.mark.parametrize(
    ("name", "value"),
    [("fps", 0.05), ("fps", 241), ("background", "sky"), ("reference_person", "Anna"), ("person", "-1")],
)
def test_both_say_the_same_of_a_bad_value(name, value, capsys):
    given = {"person": value} if name == "person" else {"prepare": {name: value}}
    with pytest.raises(ValidationError) as error:
        VideoSettings.model_validate_json(json.dumps(given), strict=True)
    assert main(["--reference", "a", "--driving", "b", "--out", "c", f"{flag_of(name)}={value}"]) == 2
    said = capsys.readouterr().err.removeprefix(f"sa-prepare: {flag_of(name)} ").strip()
    assert said.startswith("must be") and first_fault(error.value).endswith(f"{name}: {said}".removesuffix("."))
    assert name in CommandOptions.model_fields
