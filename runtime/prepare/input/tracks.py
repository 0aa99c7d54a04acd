"""Which of a container's video tracks is the video: not a cover, not a still beside it."""

from pathlib import Path

import av
from av.stream import Disposition

from sa.runtime.errors import InputError

PACKETS = 2000  # looked at to find the tracks that move


def choose_track(container: av.container.InputContainer, path: Path, warnings: list[str]) -> int:
    """The number of the track to decode, among the video tracks; InputError without any.

    Of several that move, it is the one that players show by default, or the largest. The container is at its beginning
    afterwards.
    """
    tracks = {
        number: stream
        for number, stream in enumerate(container.streams.video)
        if not stream.disposition & Disposition.attached_pic
    }
    if not tracks:
        what = "only sound" if container.streams.audio else "no pictures"
        raise InputError(f"{path} holds {what}: give --driving a video or a folder of frames.")
    if len(tracks) == 1:
        return next(iter(tracks))
    moving = _moving(container, list(tracks.values()))
    container.seek(0)

    def order(number: int) -> tuple[bool, bool, int]:
        stream = tracks[number]
        default = bool(stream.disposition & Disposition.default)
        return stream.index in moving, default, stream.width * stream.height

    chosen = max(tracks, key=order)
    stream = tracks[chosen]
    warnings.append(
        f"{path} has {len(tracks)} video tracks: number {chosen}, {stream.width}x{stream.height}, is taken; cut the "
        "file if another is meant."
    )
    return chosen


def _moving(container: av.container.InputContainer, tracks: list[av.VideoStream]) -> set[int]:
    """The indices of the tracks that have more than one packet in the container's beginning."""
    counts = dict.fromkeys((stream.index for stream in tracks), 0)
    try:
        for number, packet in enumerate(container.demux(tracks)):
            if packet.size:
                counts[packet.stream.index] += 1
            if number >= PACKETS or min(counts.values()) > 1:
                break
    except av.error.FFmpegError:  # it is told when frames are decoded
        pass
    return {index for index, count in counts.items() if count > 1}
