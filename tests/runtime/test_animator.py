"""What sa-run makes of a case's audio."""

import errno
import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from audio_data import clicks, heard
from PIL import Image

from sa.runtime import animator
from sa.runtime.animator import animate, made_from
from sa.runtime.case.audio import RATE, write_audio
from sa.runtime.case.case import Case
from sa.runtime.cli import main
from sa.runtime.events import Event, StepDone
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.pipeline.settings import Settings

FPS = 4


@pytest.fixture
def audible(case_folder, tmp_path) -> Path:
    """A case at 4 frames a second, with a click at every half second."""
    folder = shutil.copytree(case_folder("recipe_basic"), tmp_path / "case")
    with Image.open(folder / "reference.png") as reference:
        reference.resize((128, 64)).save(folder / "reference.png")  # no warning of its aspect
    (folder / "case.json").write_text(json.dumps({"fps": FPS}))
    samples = np.stack([clicks(0, 3 * RATE, RATE)] * 2, axis=1)
    write_audio(folder / "audio.flac", iter([samples]))
    return folder


@pytest.fixture
def sa_run(engines, audible, tmp_path):
    """sa_run(flags): run.json, and the clicks in animation.mp4; None if it has no audio."""

    def run(*flags: str) -> tuple[dict, list[float] | None]:
        words = ["--engines", engines("recipe_basic", "onnxruntime"), "--case", audible, "--out", tmp_path / "out"]
        assert main([*map(str, words), "--steps", "1", "--tile-overlap", "2", "--quiet", *flags]) == 0
        report = json.loads((tmp_path / "out" / "run.json").read_text())
        with av.open(str(tmp_path / "out" / "animation.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == report["frames"]
            if not container.streams.audio:
                return report, None
            container.seek(0)
            parts = [frame.to_ndarray().T for frame in container.decode(audio=0)]
            return report, heard(np.concatenate(parts) * 32767, RATE)

    return run


def test_the_video_has_the_cases_audio(sa_run):
    report, found = sa_run()
    assert report["audio"] is True and report["frames"] == 7
    assert found == [0, 0.5, 1, 1.5]  # of 1.75 seconds


def test_a_part_has_its_own_audio(sa_run):
    report, found = sa_run("--frames", "1:6")
    assert report["audio"] is True and found == [
        0.25,
        0.75,
        1.25,
    ]  # a quarter of a second earlier


def test_no_audio_on_demand(sa_run):
    report, found = sa_run("--no-audio")
    assert found is None and report["audio"] is False and report["warnings"] == []


def test_audio_that_does_not_fit_is_left_out_with_a_warning(sa_run):
    report, found = sa_run("--fps", "8")
    assert found is None and report["audio"] is False
    assert report["warnings"] == ["the video has no audio, which does not belong to frames at 8 a second."]


def test_damaged_audio_costs_no_run(sa_run, audible):
    path = audible / "audio.flac"
    path.write_bytes(path.read_bytes()[:200])
    report, found = sa_run()
    assert found is None and report["audio"] is False
    assert report["warnings"][0].startswith(f"the video has no audio: {path}: its audio is damaged")


def test_audio_that_cannot_be_read_is_refused_before_anything_is_computed(
    sa_run, engines, audible, tmp_path, monkeypatch, capsys
):
    def denied(path: Path, use_cache: bool) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(animator, "sha256", denied)
    words = ["--engines", engines("recipe_basic", "onnxruntime"), "--case", audible, "--out", tmp_path / "out"]
    assert main([*map(str, words), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "audio.flac cannot be read (Permission denied): make it readable" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert sa_run("--no-audio")[1] is None  # as is advised


def test_a_case_that_is_changed_while_it_is_animated_costs_no_result(engines, audible, tmp_path):
    """run.json names the files that it began with."""

    def remove(event: Event) -> None:
        if isinstance(event, StepDone):
            (audible / "audio.flac").unlink()

    case, settings = Case.read(audible), Settings(steps=1, tile_overlap=2)
    with Pipeline.open(engines("recipe_basic", "onnxruntime")) as pipeline:
        begun = made_from(pipeline.prepare(case, settings), audio=True)
        report = animate(pipeline, case, tmp_path / "out", settings, remove)
    assert report["audio"] is False and report["made_from"] == begun and begun["audio"] is not None
    assert any("the video has no audio" in warning for warning in report["warnings"])
    assert (tmp_path / "out" / "animation.mp4").is_file()


def test_a_first_run_that_was_killed_while_it_moved_its_result_can_be_repeated(sa_run, tmp_path):
    sa_run("--no-audio")
    out, staging = tmp_path / "out", tmp_path / "out" / ".out.partial"
    whole = {path.name: path.read_bytes() for path in (out / "frames").iterdir()}
    staging.mkdir()
    for name in ("animation.gif", "run.json"):
        (out / name).rename(staging / name)
    sa_run("--no-audio")
    assert {path.name: path.read_bytes() for path in (out / "frames").iterdir()} == whole
    assert {path.name for path in out.iterdir()} == {"frames", "animation.mp4", "animation.gif", "run.json"}


def test_a_part_of_a_part_knows_where_it_begins(audible):
    whole = Case.read(audible)
    part = whole.part(1, 6)
    assert (whole.first_frame, part.first_frame, part.part(2, 4).first_frame) == (0, 1, 3)
