"""Chains tracks into one person: what went on before a track began, and after it ended.

A track ends where its person is lost: hidden for long, jumped, or behind a scene cut. Who goes on is decided by the
face where it was recognised. Else it is somebody who is alone or who appears near by. After a cut it is the largest
person. Only a face makes sure that it is the same person; all else is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sa.runtime.prepare.motion.tracking import OTHER, SAME, SIZE_RATIO, Track, distances

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
    lasting = _lasting(tracks)
    mirrored = [_mirrored(track) for track in tracks]
    ahead = _Chaining(tracks, cuts, alone, lasting).after(start)
    behind = _Chaining(mirrored, [1 - cut for cut in cuts], alone, lasting).after(mirrored[start.number])
    # Going back, a link says how sure it is of the earlier track; in the order of time that belongs to the later one.
    backwards = [Link(start, True), *behind]
    earlier = [
        Link(tracks[backwards[i].track.number], i == len(behind) or backwards[i + 1].sure)
        for i in range(len(behind), -1, -1)
    ]
    return [*earlier, *ahead]


def largest_at_first(tracks: Sequence[Track]) -> Track:
    """The track of the largest person of those who come within the first frames. Ghosts do not count."""
    lasting = _lasting(tracks)
    begin = min(tracks[number].first for number in lasting)
    early = (tracks[number] for number in lasting if tracks[number].first < begin + STABLE)
    return max(early, key=lambda track: _area(track.entry))


def _lasting(tracks: Sequence[Track]) -> set[int]:
    """The numbers of the tracks that are no ghosts: not short, or as long as the longest if all are."""
    lives = {track.number: track.last - track.first + 1 for track in tracks}
    least = min(STABLE, max(lives.values()))
    return {number for number, life in lives.items() if life >= least}


def _mirrored(track: Track) -> Track:
    """The track as it looks when time goes backwards."""
    return replace(track, first=-track.last, last=-track.first, entry=track.points, points=track.entry)


@dataclass(frozen=True)
class _Chaining:
    tracks: Sequence[Track]
    cuts: Sequence[int]
    alone: Sequence[bool]
    lasting: set[int]

    def after(self, start: Track) -> list[Link]:
        """The links that follow `start`."""
        links: list[Link] = []
        now = start
        while (link := self._next(now)) is not None:
            links.append(link)
            now = link.track
        return links

    def _next(self, now: Track) -> Link | None:
        """The track that goes on with the person of `now`, of those that begin after it has ended."""
        later = sorted(
            (track for track in self.tracks if track.first > now.last), key=lambda one: (one.first, -_area(one.entry))
        )
        faces = {one.number: now.resembles(one.face) for one in later}
        for one in later:
            if (alike := faces[one.number]) is not None and alike >= SAME:
                return Link(one, True)
        for one in later:
            alike = faces[one.number]
            if (alike is None or alike >= OTHER) and self._may_go_on(now, one):
                return Link(one, False)
        return None

    def _may_go_on(self, now: Track, one: Track) -> bool:
        lasts = one.number in self.lasting
        if lasts and any(now.last < cut <= one.first for cut in self.cuts):
            return True
        apart, ratio = (float(value[0, 0]) for value in distances(now.points[None], one.entry[None]))
        alike = 1 / SIZE_RATIO <= ratio <= SIZE_RATIO
        if self.alone[abs(one.first)] and (lasts or alike):
            return True
        return lasts and alike and one.first - now.last <= SOON and apart <= NEAR


def _area(points: np.ndarray) -> float:
    """Of the box around the points."""
    return float(np.prod(np.nanmax(points, axis=0) - np.nanmin(points, axis=0)))
