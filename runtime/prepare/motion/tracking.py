"""Tracks all persons of a video from frame to frame, by where they are going to be.

A track moves on with its person's speed and keeps the posture of its last frame. A detection belongs to the track whose
points lie nearest. A track that finds no detection for some frames expires, so nobody who walks by later is taken for
its person. A scene cut ends all tracks.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sa.runtime.prepare.whole_body import COCO_BODY, VISIBLE

EXPIRY = 15  # frames without a detection after which a track ends
REACH = 0.3  # mean distance between expected and found points, in diagonals of the person's box, that still is a match
REACH_GROWTH = 0.03  # by which REACH grows with every frame without a detection
SIZE_RATIO = 2.0  # between a person's sizes in two sightings
MINIMUM_SHARED = 3  # body points that two sightings must share
STEADINESS = 0.5  # share of the speed so far in the new speed
UNCLEAR = 0.08  # two assignments of persons that differ by less than this, in the unit of REACH, are equally likely
# Cosines of two ArcFace embeddings: from SAME on they are of one person, below OTHER of two, between them nobody knows.
SAME, OTHER = 0.4, 0.15


def visible_boxes(keypoints: np.ndarray) -> np.ndarray:
    """keypoints [persons, 133, 3] -> [persons, 4] x0, y0, x1, y1 around the visible body points of each.

    NaN for a person without a visible body point, who counts as missing.
    """
    body = keypoints[:, COCO_BODY]
    boxes = np.full((len(body), 4), np.nan)
    for box, points in zip(boxes, body, strict=True):
        seen = points[points[:, 2] > VISIBLE, :2]
        if len(seen):
            box[:] = [*seen.min(axis=0), *seen.max(axis=0)]
    return boxes


def largest(boxes: np.ndarray) -> int | None:
    """The index of the largest of the boxes [persons, 4], the first of equals; None if nobody is there."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return None if np.isnan(areas).all() else int(np.nanargmax(areas))


@dataclass
class Track:
    """One person for as long as it can be told from the others."""

    number: int
    first: int  # frame
    last: int
    entry: np.ndarray  # [17, 2] body points in the first frame, in pixels; NaN where none was seen
    points: np.ndarray  # [17, 2] body points where they were last seen, in pixels
    speed: np.ndarray = field(default_factory=lambda: np.zeros(2))  # pixels a frame
    faces: list[np.ndarray] = field(default_factory=list)  # embeddings of unit length
    unclear: list[int] = field(default_factory=list)  # frames in which it may have been taken for another

    def resembles(self, face: np.ndarray | None) -> float | None:
        """The cosine between the track's mean embedding and this one; None if one of both is missing."""
        mean = self.face
        return None if mean is None or face is None else float(mean @ face)

    @property
    def face(self) -> np.ndarray | None:
        """[512] of unit length, or None if no face was recognised."""
        if not self.faces:
            return None
        return _unit(np.mean(self.faces, axis=0))

    def expected(self, frame: int) -> np.ndarray:
        """[17, 2] where its points should be in this frame."""
        return self.points + self.speed * (frame - self.last)

    def move(self, frame: int, points: np.ndarray) -> None:
        """Go on with a detection's body points [17, 2]."""
        step = np.nanmedian(points - self.points, axis=0) / (frame - self.last)
        known = self.expected(frame)
        self.speed = step if self.last == self.first else STEADINESS * self.speed + (1 - STEADINESS) * step
        self.points, self.last = np.where(np.isnan(points), known, points), frame


class Tracker:
    """Assigns the persons of one frame after another to tracks."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._living: list[Track] = []
        self._frame = -1

    def follow(self, keypoints: np.ndarray, faces: np.ndarray, cut: bool) -> list[int | None]:
        """The track number of every person of the next frame; None for one without a visible body point.

        keypoints: [persons, 133, 3]; faces: [persons, 512] embeddings, NaN where there is none; cut: this frame begins
        another scene.
        """
        self._frame += 1
        self._living = [] if cut else [one for one in self._living if self._frame - one.last <= EXPIRY]
        body = keypoints[:, COCO_BODY]
        points = np.where(body[..., 2:] > VISIBLE, body[..., :2], np.nan)
        there = [person for person in range(len(points)) if not np.isnan(points[person]).all()]
        known = {person: _unit(faces[person]) for person in there if not np.isnan(faces[person]).any()}
        owners = self._match(points, there, known)
        for person in there:
            if person in owners:
                owners[person].move(self._frame, points[person])
            else:
                track = Track(len(self.tracks), self._frame, self._frame, points[person], points[person])
                self.tracks.append(track)
                self._living.append(track)
                owners[person] = track
            if person in known:
                owners[person].faces.append(known[person])
        return [owners[person].number if person in owners else None for person in range(len(points))]

    def _match(self, points: np.ndarray, there: list[int], faces: dict[int, np.ndarray]) -> dict[int, Track]:
        """The living track of each person that has one: the nearest pairs first, none of two different faces."""
        costs = np.full((len(self._living), len(there)), np.inf)
        for row, track in enumerate(self._living):
            reach = REACH + REACH_GROWTH * (self._frame - track.last - 1)
            for column, person in enumerate(there):
                cost = distance(track.expected(self._frame), points[person])
                alike = track.resembles(faces.get(person))
                if cost <= reach and (alike is None or alike >= OTHER):
                    costs[row, column] = cost
        owners, left = {}, costs.copy()
        pairs = []
        while np.isfinite(left).any():
            row, column = divmod(int(left.argmin()), left.shape[1])
            pairs.append((row, column))
            owners[there[column]] = self._living[row]
            left[row], left[:, column] = np.inf, np.inf
        for row, column in pairs:
            if self._could_be_swapped(costs, pairs, row, column):
                self._living[row].unclear.append(self._frame)
        return owners

    def _could_be_swapped(self, costs: np.ndarray, pairs: list[tuple[int, int]], row: int, column: int) -> bool:
        """Whether another assignment of two tracks, or of this one alone, is about as likely."""
        taken = {other_column: other_row for other_row, other_column in pairs}
        for other in range(costs.shape[1]):
            if other == column or not np.isfinite(costs[row, other]):
                continue
            owner = taken.get(other)
            here, there = costs[row, column], costs[row, other]
            if owner is not None:
                here, there = here + costs[owner, other], there + costs[owner, column]
            if there - here < UNCLEAR:
                return True
        return False


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / (np.linalg.norm(vector) or 1)


class _Extent(NamedTuple):
    apart: float
    size: float
    ratio: float


def distance(expected: np.ndarray, found: np.ndarray) -> float:
    """Mean distance of two sets of body points [17, 2], in diagonals of their box; inf if they are of two sizes.

    NaN points are not compared. Fewer than three shared points say nothing, so the distance is inf.
    """
    extent = _extent(expected, found)
    if extent is None or not 1 / SIZE_RATIO <= extent.ratio <= SIZE_RATIO:
        return np.inf
    return extent.apart / extent.size


def size_ratio(first: np.ndarray, second: np.ndarray) -> float | None:
    """How much larger a person is in the second sighting; None if the two share too few points."""
    extent = _extent(first, second)
    return None if extent is None else extent.ratio


def _extent(first: np.ndarray, second: np.ndarray) -> _Extent | None:
    shared = ~np.isnan(first[:, 0]) & ~np.isnan(second[:, 0])
    if shared.sum() < MINIMUM_SHARED:
        return None
    one, two = (np.linalg.norm(np.ptp(points[shared], axis=0)) for points in (first, second))
    if not one or not two:
        return None
    apart = np.linalg.norm(first[shared] - second[shared], axis=1).mean()
    return _Extent(float(apart), float(max(one, two)), float(two / one))
