"""Uploaded videos: of known kinds alone, and bounded by what their headers say before a frame is decoded."""

from fractions import Fraction
from pathlib import Path

import av
from av.stream import Disposition

from sa.runtime.errors import InputError
from sa.runtime.serve.config import Limits

# FFmpeg's readers by how a file begins. It knows hundreds more, and some of them open further files or addresses.
KINDS = ((4, b"ftyp", "mov"), (0, b"\x1a\x45\xdf\xa3", "matroska"), (0, b"RIFF", "avi"))
CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "prores")
EXPECTED = "an MP4, MOV, WebM, Matroska or AVI file"
SMALLEST = 16  # pixels of a side


def check_video(path: Path, limits: Limits, stop: int | None, step: int, name: str) -> None:
    """InputError unless it is a video within the limits whose first frame can be decoded.

    `stop`, `step`: which of its frames are wanted.
    """
    kind = _kind(path)
    if kind is None:
        raise InputError(f"{name} is not a video that can be read: expected {EXPECTED}.")
    try:
        with av.open(str(path.absolute()), format=kind, options={"protocol_whitelist": "file"}) as container:
            _check(container, limits, stop, step, name)
    except (av.error.FFmpegError, OSError, ValueError, IndexError):
        raise InputError(f"{name} is damaged or cut short: expected {EXPECTED} that plays.") from None


def _kind(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(16)
    return next((kind for at, magic, kind in KINDS if head[at : at + len(magic)] == magic), None)


def _rate(stream: av.VideoStream) -> Fraction | int:
    return stream.average_rate or stream.guessed_rate or 0


def _seconds(stream: av.VideoStream) -> float:
    return max(
        float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0,
        stream.frames / float(_rate(stream)) if stream.frames and _rate(stream) else 0.0,
    )


def _check_track(stream: av.VideoStream, limits: Limits, name: str) -> None:
    codec = stream.codec_context.name
    if codec not in CODECS:
        raise InputError(f"{name} is encoded as {codec}: give one of {', '.join(CODECS)}.")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.video_pixels:
        raise InputError(
            f"{name} is {width}x{height}, more than {limits.video_pixels:,} pixels a frame: give a smaller video."
        )
    if min(width, height) < SMALLEST:
        raise InputError(f"{name} is {width}x{height}: give a video of at least {SMALLEST} pixels on each side.")


def _check(container: av.container.InputContainer, limits: Limits, stop: int | None, step: int, name: str) -> None:
    streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not streams:
        raise InputError(f"{name} has no pictures: expected {EXPECTED} that plays.")
    for stream in streams:  # which of them the worker takes is seen by what moves
        _check_track(stream, limits, name)
    seconds = max(container.duration / av.time_base if container.duration else 0.0, *map(_seconds, streams))
    if seconds > limits.seconds:
        raise InputError(f"{name} is {seconds:,.0f} s long, more than {limits.seconds:g} s: give a shorter one.")
    promised = max(stream.frames or seconds * float(_rate(stream)) for stream in streams)
    taken = (min(promised, stop) if stop is not None else promised) / step
    if taken > limits.frames:
        raise InputError(
            f"{name} has {taken:,.0f} frames to take, more than {limits.frames}: give a shorter one, or the setting "
            "frames as START:STOP:STEP."
        )
    first = next(container.decode(streams[0]), None)
    if first is None:
        raise InputError(f"{name} holds no frame: expected {EXPECTED} that plays.")
