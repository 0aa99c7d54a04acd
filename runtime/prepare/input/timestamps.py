"""Reads when the frames of a video are shown, without decoding them."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av

from sa.runtime.prepare.input.containers import open_container
from sa.runtime.prepare.input.timeline import Timeline

ASSUMED_FPS = 25  # of a video that says nothing of time


@dataclass(frozen=True)
class Timestamps:
    timeline: Timeline
    start: float  # seconds on the file's clock at the first frame
    undecodable: int  # frames before the first that can be decoded
    missing: int  # frames that the file's header promises and that are not there


def read_timestamps(container: av.container.InputContainer, stream: av.VideoStream) -> Timestamps:
    """The times of all frames that a player shows. Frames that an edit list hides do not count."""
    base = float(stream.time_base or Fraction(1, ASSUMED_FPS))
    rate = stream.average_rate or stream.guessed_rate or ASSUMED_FPS
    stamps: list[int | None] = []
    hidden = duration = 0
    for packet in _packets(container, stream):
        if packet.is_discard:
            hidden += 1
        else:
            stamps.append(packet.pts if packet.pts is not None else packet.dts)
            duration = packet.duration or duration
    known = sorted(stamp for stamp in stamps if stamp is not None)
    if len(known) != len(stamps):  # a raw stream
        times = [number / float(rate) for number in range(len(stamps))]
        return Timestamps(Timeline(times, len(times) / float(rate), float(rate)), 0.0, 0, 0)
    first = _first_decodable(container, stream)
    decodable = [stamp for stamp in known if first is None or stamp >= first]
    start = decodable[0] * base if decodable else 0.0
    times = [stamp * base - start for stamp in decodable]
    last = duration * base if duration else 1 / float(rate)
    stated = float(stream.average_rate) if stream.average_rate else None
    timeline = Timeline(times, times[-1] + last if times else 0.0, stated)
    found = len(stamps) + hidden
    missing = stream.frames - found if stream.frames > found and not _hides(container, stream, found) else 0
    return Timestamps(timeline, start, len(known) - len(decodable), missing)


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """The stream's packets, as far as they can be read. Decoding says what is wrong with the others."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.error.FFmpegError:
        return


def _first_decodable(container: av.container.InputContainer, stream: av.VideoStream) -> int | None:
    """The timestamp of the first frame that can be decoded; None if nothing can."""
    with open_container(container.name) as again:
        try:
            return next((frame.pts for frame in again.decode(again.streams[stream.index])), None)
        except av.error.FFmpegError:
            return None


def _hides(container: av.container.InputContainer, stream: av.VideoStream, found: int) -> bool:
    """Whether an edit list leaves out frames that are in the file."""
    with open_container(container.name, ignore_editlist="1") as whole:
        track = next(one for one in whole.streams.video if one.index == stream.index)
        there = sum(packet.size > 0 for packet in _packets(whole, track))
    return there > found
