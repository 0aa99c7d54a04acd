"""The audio of a case: cut where it should be, in one form, from whatever container."""

import os
from pathlib import Path

import numpy as np
import pytest
from audio_data import heard, video_with_audio

from sa.runtime.case.audio import RATE, read_audio, write_audio
from sa.runtime.errors import InputError

FPS = 10


def read(path: Path, start: float, seconds: float, only_flac: bool = False) -> np.ndarray:
    """[n, 2] int16."""
    return np.concatenate([np.zeros((0, 2), np.int16), *read_audio(path, start, seconds, only_flac)])


@pytest.mark.parametrize(
    ("name", "codec", "rate"), [("a.mp4", "aac", 44100), ("a.mkv", "flac", 48000), ("a.mov", "pcm_s16le", 22050)]
)
def test_the_audio_is_cut_to_the_sample(name, codec, rate, tmp_path):
    video = video_with_audio(tmp_path / name, 30, FPS, codec, rate)
    whole = read(video, 0, 2.5)
    assert whole.shape == (2.5 * RATE, 2) and whole.dtype == np.int16
    assert heard(whole, RATE) == [0, 0.5, 1, 1.5, 2, 2.5]
    np.testing.assert_array_equal(read(video, 0.7, 1.5), whole[round(0.7 * RATE) : round(2.2 * RATE)])
    assert read(video, 2.9, 9).shape[0] == pytest.approx(0.1 * RATE, abs=0.05 * RATE)  # a codec may add a little
    assert not len(read(video, 99, 1))


def test_audio_that_begins_later_waits(tmp_path):
    video = video_with_audio(tmp_path / "late.mkv", 30, FPS, delay=1.2)
    samples = read(video, 0, 3)
    assert len(samples) == 3 * RATE and not samples[: round(1.1 * RATE)].any()
    assert heard(samples, RATE) == [1.5, 2, 2.5, 3]


def test_flac_keeps_every_sample(tmp_path):
    samples = read(video_with_audio(tmp_path / "a.mp4", 30, FPS), 0.2, 2)
    assert write_audio(tmp_path / "audio.flac", iter(np.array_split(samples, 7)))
    np.testing.assert_array_equal(read(tmp_path / "audio.flac", 0, 99, only_flac=True), samples)


def test_nothing_to_write_makes_no_file(tmp_path):
    assert not write_audio(tmp_path / "audio.flac", iter([]))
    assert not (tmp_path / "audio.flac").exists()


def test_what_is_no_audio_is_refused(tmp_path):
    (tmp_path / "text.flac").write_text("ffconcat version 1.0\nfile /etc/hostname\n")
    os.mkfifo(tmp_path / "pipe.flac")
    for name, words in (("text.flac", "holds no audio"), ("pipe.flac", "is a pipe"), ("missing.flac", "No such file")):
        with pytest.raises(InputError, match=words):
            read(tmp_path / name, 0, 1, only_flac=True)
    video = video_with_audio(tmp_path / "a.mp4", 30, FPS)
    with pytest.raises(InputError, match="holds no audio"):  # a case's audio is FLAC and nothing else
        read(video, 0, 1, only_flac=True)
