"""The audio of a driving video: decoded in one form whatever it was, cut to the frames that are used, kept as FLAC."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.system.regular_files import require_regular

AUDIO_FILE = "audio.flac"  # of a case; it begins with the first frame
RATE = 48000  # samples a second; with two channels of 16 bits, whatever the source has
LAYOUT = "stereo"
CHANNELS = 2
TOLERANCE = 0.05  # seconds that a timestamp may be off before silence is put in or samples are left out
SILENCE = RATE  # samples at a time


def read_audio(path: Path, start: float, seconds: float, only_flac: bool = True) -> Iterator[np.ndarray]:
    """The audio from `start` (in seconds of the file's clock) on, for at most `seconds`: [n, 2] int16 arrays.

    Where the file has none, there is silence; after its end, nothing. `only_flac` takes nothing but a case's file.
    InputError if it cannot be decoded.
    """
    require_regular(path)
    begin, end = round(start * RATE), round((start + seconds) * RATE)
    at = begin  # the next sample, on the file's clock
    try:
        with av.open(str(path.absolute()), format="flac" if only_flac else None) as container:
            resampler = av.AudioResampler(format="s16", layout=LAYOUT, rate=RATE)
            following: int | None = None  # where the next samples belong if they do not say
            for frame in _resampled(container, resampler, path):
                samples = frame.to_ndarray().reshape(-1, CHANNELS)
                place = at if following is None else following
                if frame.time is not None and abs(frame.time * RATE - place) > TOLERANCE * RATE:
                    place = round(frame.time * RATE)
                following = place + len(samples)
                while at < min(place, end):
                    silent = min(SILENCE, min(place, end) - at)
                    yield np.zeros((silent, CHANNELS), np.int16)
                    at += silent
                kept = samples[max(at - place, 0) : max(end - place, 0)]
                if len(kept):
                    yield kept
                    at += len(kept)
                if at >= end:
                    return
    except av.error.FFmpegError as error:
        raise InputError(
            f"{path}: its audio is damaged after {(at - begin) / RATE:.1f} seconds ({error.strerror}): give a whole "
            "file."
        ) from None


def _resampled(
    container: av.container.InputContainer, resampler: av.AudioResampler, path: Path
) -> Iterator[av.AudioFrame]:
    decoded = 0
    for frame in container.decode(audio=0) if container.streams.audio else ():
        decoded += 1
        yield from resampler.resample(frame)
    if not decoded:  # what is no FLAC is read as one without frames
        raise InputError(f"{path} holds no audio that can be read: give a file that does, or remove it.")
    yield from resampler.resample(None)


def write_audio(path: Path, audio: Iterator[np.ndarray]) -> bool:
    """Write [n, 2] int16 arrays as FLAC. False, and no file, if there is nothing to write."""
    first = next(audio, None)
    if first is None:
        return False
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE, layout=LAYOUT)
        done = 0
        for samples in (first, *audio):
            container.mux(stream.encode(audio_frame(samples, done)))
            done += len(samples)
        container.mux(stream.encode())
    return True


def audio_frame(samples: np.ndarray, at: int) -> av.AudioFrame:
    """[n, 2] int16 as what encoders take. `at`: how many samples came before."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), format="s16", layout=LAYOUT)
    frame.sample_rate = RATE
    frame.pts = at
    return frame
