"""What sa-run makes of a case's audio."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from audio_data import clicks, heard
from PIL import Image

from sa.runtime.case.audio import RATE, write_audio
from sa.runtime.case.case import Case
from sa.runtime.cli import main

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


def test_a_part_of_a_part_knows_where_it_begins(audible):
    whole = Case.read(audible)
    part = whole.part(1, 6)
    assert (whole.first_frame, part.first_frame, part.part(2, 4).first_frame) == (0, 1, 3)
