"""Tracks all persons of a video from frame to frame, by where they are going to be.

A track moves on with its person's speed and keeps the posture of its last frame. A detection belongs to the track whose
points lie nearest. A track that finds no detection for some frames expires, so nobody who walks by later is taken for
its person. A scene cut ends all tracks.
"""

from dataclasses import dataclass, field

import numpy as np

from sa.runtime.prepare.whole_body import COCO_BODY, VISIBLE

EXPIRY = 15  # frames without a detection after which a track ends
REACH = 0.3  # mean distance between expected and found points, in diagonals of the person's box, that still is a match
REACH_GROWTH = 0.03  # by which REACH grows with every frame without a detection
SIZE_RATIO = 2.0  # between a person's sizes in two sightings, at most
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
        if not self._living or not there:
            return {}
        costs, ratios = distances(np.stack([one.expected(self._frame) for one in self._living]), points[there])
        reach = np.array([REACH + REACH_GROWTH * (self._frame - one.last - 1) for one in self._living])
        near = (costs <= reach[:, None]) & (ratios <= SIZE_RATIO) & (ratios >= 1 / SIZE_RATIO)
        for row, column in np.argwhere(near):
            alike = self._living[row].resembles(faces.get(there[column]))
            near[row, column] = alike is None or alike >= OTHER
        costs = np.where(near, costs, np.inf)
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


def distances(expected: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far body points [m, 17, 2] are from other ones [n, 17, 2], and how much larger the others are: [m, n] each.

    The distance is the mean over the shared points, in diagonals of their box; NaN points are not shared. Both are NaN
    for two that share fewer than three points, which says nothing.
    """
    one, other = expected[:, None], found[None]
    shared = ~np.isnan(one[..., :1]) & ~np.isnan(other[..., :1])
    count = shared.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.linalg.norm(np.where(shared, one - other, 0), axis=-1).sum(axis=-1) / count
        sizes = [_diagonals(np.where(shared, points, np.nan)) for points in (one, other)]
        known = (count >= MINIMUM_SHARED) & (sizes[0] > 0) & (sizes[1] > 0)
        return np.where(known, apart / np.maximum(*sizes), np.nan), np.where(known, sizes[1] / sizes[0], np.nan)


def _diagonals(points: np.ndarray) -> np.ndarray:
    """[m, n, 17, 2] -> [m, n] of the boxes around the points that are not NaN; 0 without any."""
    seen = ~np.isnan(points)
    high, low = np.where(seen, points, -np.inf).max(axis=-2), np.where(seen, points, np.inf).min(axis=-2)
    return np.asarray(np.linalg.norm(np.maximum(high - low, 0), axis=-1))
