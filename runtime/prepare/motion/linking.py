"""Chains tracks into one person: what went on before a track began, and after it ended.

A track ends where its person is lost: hidden for long, jumped, or behind a scene cut. Who goes on is decided by the
face where it was recognised. Else it is somebody who is alone or who appears near by. After a cut it is the largest
person. Only a face makes sure that it is the same person; all else is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sa.runtime.prepare.motion.tracking import OTHER, SAME, SIZE_RATIO, Track, distance, size_ratio

NEAR = 0.8  # distance between two sightings in diagonals of the person's box
SOON = 45  # frames within which somebody who appears near by may be the person who was lost
STABLE = 5  # frames that a track must last to be no ghost of the estimator


@dataclass(frozen=True)
class Link:
    """From a track to the one that goes on with its person."""

    track: Track
    sure: bool  # by the face


def chain(tracks: Sequence[Track], start: Track, cuts: Sequence[int], alone: Sequence[bool]) -> list[Link]:
    """The tracks of the person of `start`, in the order of time. `alone`: per frame, whether it shows one person."""
    ahead = _follow_on(list(tracks), start, cuts, alone)
    mirrored = [_mirrored(track) for track in tracks]
    behind = _follow_on(mirrored, mirrored[start.number], [1 - cut for cut in cuts], alone)
    # Going back, a link says how sure it is of the earlier track; in the order of time that belongs to the later one.
    backwards = [Link(start, True), *behind]
    earlier = [
        Link(tracks[backwards[i].track.number], i == len(behind) or backwards[i + 1].sure)
        for i in range(len(behind), -1, -1)
    ]
    return [*earlier, *ahead]


def largest_at_first(tracks: Sequence[Track]) -> Track:
    """The track of the largest person of those who come within the first frames. Ghosts do not count."""
    lasting = [track for track in tracks if _steady(track, tracks)]
    begin = min(track.first for track in lasting)
    return max((track for track in lasting if track.first < begin + STABLE), key=lambda track: _area(track.entry))


def _steady(track: Track, tracks: Sequence[Track]) -> bool:
    """Whether the track is no ghost: not short, or as long as the longest if all are."""
    return _life(track) >= min(STABLE, max(_life(one) for one in tracks))


def _life(track: Track) -> int:
    return track.last - track.first + 1


def _mirrored(track: Track) -> Track:
    """The track as it looks when time goes backwards."""
    return replace(track, first=-track.last, last=-track.first, entry=track.points, points=track.entry)


def _follow_on(tracks: list[Track], start: Track, cuts: Sequence[int], alone: Sequence[bool]) -> list[Link]:
    links: list[Link] = []
    now = start
    while (link := _next(now, [one for one in tracks if one.first > now.last], cuts, alone, tracks)) is not None:
        links.append(link)
        now = link.track
    return links


def _next(
    now: Track, later: list[Track], cuts: Sequence[int], alone: Sequence[bool], tracks: list[Track]
) -> Link | None:
    """The track that goes on with the person of `now`, of those that begin after it has ended."""
    if not later:
        return None
    ordered = sorted(later, key=lambda one: (one.first, -_area(one.entry)))
    faces = {one.number: one.resembles(now.face) for one in ordered}
    ordered = [one for one in ordered if (alike := faces[one.number]) is None or alike >= OTHER]
    for one in ordered:
        if (alike := faces[one.number]) is not None and alike >= SAME:
            return Link(one, True)
    for one in ordered:
        lasts = _steady(one, tracks)
        if lasts and any(now.last < cut <= one.first for cut in cuts):
            return Link(one, False)
        if alone[abs(one.first)] and (lasts or _alike(now, one)):
            return Link(one, False)
        if lasts and one.first - now.last <= SOON and distance(now.points, one.entry) <= NEAR:
            return Link(one, False)
    return None


def _alike(one: Track, other: Track) -> bool:
    ratio = size_ratio(one.points, other.entry)
    return ratio is not None and 1 / SIZE_RATIO <= ratio <= SIZE_RATIO


def _area(points: np.ndarray) -> float:
    """Of the box around the points."""
    return float(np.prod(np.nanmax(points, axis=0) - np.nanmin(points, axis=0)))
