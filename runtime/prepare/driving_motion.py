"""From what was estimated in the driving frames to what is drawn: one person's motion, placed in the output."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sa.runtime.prepare.draw.rendering import Scene
from sa.runtime.prepare.input.driving import Driving
from sa.runtime.prepare.motion.alignment import Alignment, published_fit, robust_fit
from sa.runtime.prepare.motion.coverage import Coverage
from sa.runtime.prepare.motion.filling import fill_gaps
from sa.runtime.prepare.motion.persons import DrivingPersons, lone_bodies
from sa.runtime.prepare.motion.placing import Placed
from sa.runtime.prepare.motion.smoothing import smooth
from sa.runtime.prepare.pose_log import PoseLog
from sa.runtime.prepare.whole_body import BODY, VISIBLE, Pose, to_pose

FAR_OFF = 0.03  # a published scale may differ from the robust one by this share without a warning


@dataclass(frozen=True)
class Motion:
    """The followed person's motion."""

    keypoints: np.ndarray  # [frames, 133, 3] in pixels of the driving frames
    report: dict  # for case.json

    @property
    def there(self) -> np.ndarray:
        """[frames] bool: the person is seen, or a short gap was filled."""
        return np.any(self.keypoints[..., 2] > VISIBLE, axis=1)


def make_motion(followed: DrivingPersons, fill: bool, smoothed: bool, fps: float, clip: bool) -> Motion:
    """The motion with short gaps filled, calmed, and with scores of at most 1, each if asked for."""
    keypoints, breaks = followed.keypoints, sorted({*followed.cuts, *followed.unsure})
    report: dict = {"filled_frames": 0, "filled_points": 0, "smoothing": None}
    if clip:
        keypoints = clipped(keypoints)
    if fill:
        filled = fill_gaps(keypoints, breaks)
        keypoints, report["filled_frames"], report["filled_points"] = filled.keypoints, filled.frames, filled.points
    if smoothed:
        calm = smooth(keypoints, fps, breaks)
        moved = np.linalg.norm((calm - keypoints)[..., :2], axis=-1)[keypoints[..., 2] > VISIBLE]
        report["smoothing"] = {"filter": "One Euro", "median_pixels": float(np.median(moved)) if len(moved) else None}
        keypoints = calm
    return Motion(keypoints, report)


def clipped(keypoints: np.ndarray) -> np.ndarray:
    """[..., 3] with scores of at most 1. Some networks give more, which would change the colours of the drawing."""
    keypoints = keypoints.copy()
    keypoints[..., 2] = np.minimum(keypoints[..., 2], 1)
    return keypoints


def place_published(pose: Pose, reference: Pose, log: PoseLog, size: tuple[int, int]) -> Placed:
    """The published alignment, with the quality of the robust one; size: the output's width and height."""
    target, seen = reference.points[0, BODY], reference.scores[0, BODY]
    body = pose.points[:, BODY], pose.scores[:, BODY]
    robust, quality, _ = robust_fit(target, seen, *body, log.size[0] / log.size[1], size[0] / size[1])
    published = published_fit(target, seen, lone_bodies(log, log.size), *size)
    warnings = []
    if quality.aligned and np.abs(published.scale / robust.scale - 1).max() > FAR_OFF:
        warnings.append(
            f"--compat upstream: the published alignment scales by {published.scale[0]:.3f} in x and "
            f"{published.scale[1]:.3f} in y, the robust one would by {robust.scale[0]:.3f} and {robust.scale[1]:.3f}; "
            "look at preview.mp4."
        )
    moved = pose.moved(published.scale, published.offset)
    return Placed(moved, published, np.tile(published.offset, (len(moved.points), 1)), quality, warnings)


@dataclass(frozen=True)
class Scenes:
    """All frames as they are to be drawn."""

    driving: Driving
    log: PoseLog
    followed: DrivingPersons
    there: np.ndarray  # [frames] bool
    placed: Placed
    coverage: Coverage
    everybody: bool  # draw all persons, not only the one that is followed
    published: bool  # draw what was estimated, as it is

    def __iter__(self) -> Iterator[Scene]:
        return (
            Scene(frame, self._drawn(number, keypoints), self._person(number), self._under(number), self._note(number))
            for number, (frame, keypoints) in enumerate(zip(self.driving.frames(), self.log, strict=True))
        )

    def _person(self, number: int) -> Pose | None:
        return self.placed.pose.of([number]) if self.there[number] else None

    def _drawn(self, number: int, keypoints: np.ndarray) -> Pose:
        """The persons to draw, in shares of the output."""
        alignment = self._under(number)
        if self.published:
            return to_pose(keypoints, *self.log.size).moved(alignment.scale, alignment.offset)
        one = self.placed.pose.of([number] if self.there[number] else [])
        if not self.everybody:
            return one
        others = np.delete(keypoints, [i for i in (self.followed.chosen[number],) if i is not None], axis=0)
        rest = to_pose(clipped(others), *self.log.size).moved(alignment.scale, alignment.offset)
        return Pose(np.concatenate([one.points, rest.points]), np.concatenate([one.scores, rest.scores]))

    def _under(self, number: int) -> Alignment:
        return Alignment(self.placed.alignment.scale, self.placed.offsets[number])

    def _note(self, number: int) -> str:
        if not self.there[number]:
            return "nobody to follow"
        return self.coverage.note(number)
