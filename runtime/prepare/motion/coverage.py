"""How much of the person lies inside the output."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sa.runtime.prepare.motion.persons import name_frames
from sa.runtime.prepare.whole_body import BODY, FACE, LEFT_HAND, RIGHT_HAND, Pose

PARTS = {"body": (BODY,), "face": (FACE,), "hands": (LEFT_HAND, RIGHT_HAND)}
MOSTLY_OUTSIDE = 0.5  # a smaller share of the body's points inside
TOLERATED = 0.02  # of the frames


@dataclass(frozen=True)
class Coverage:
    """Shares of the seen points that lie inside the output; NaN where none is seen."""

    frames: np.ndarray  # [frames, 3] body, face, hands

    def over_all(self, pose: Pose) -> dict[str, float | None]:
        """The same share of all points of the video."""
        counts = [_counts(pose, part) for part in PARTS]
        return {
            part: round(float(inside.sum() / seen.sum()), 4) if seen.any() else None
            for part, (inside, seen) in zip(PARTS, counts, strict=True)
        }

    def report(self, pose: Pose) -> dict:
        """For case.json. null: no such point is seen."""
        rounded = np.round(self.frames, 3)
        return {
            **self.over_all(pose),
            "frames": [[None if np.isnan(share) else share for share in row] for row in rounded.tolist()],
            "frames_outside": np.flatnonzero(self.frames[:, 0] == 0).tolist(),
        }

    def note(self, frame: int) -> str:
        """A few words on one frame; empty if all that is seen is inside."""
        shares = zip(PARTS, self.frames[frame], strict=True)
        partly = [f"{part} {share:.0%}" for part, share in shares if share < 1]
        return f"inside: {', '.join(partly)}" if partly else ""

    def warnings(self, sources: Sequence[int], movable: bool) -> list[str]:
        """A sentence if much of the body is outside.

        sources: the frames' numbers in the source; movable: whether --anchor hips would change anything.
        """
        body = self.frames[:, 0]
        poor = np.flatnonzero(body < MOSTLY_OUTSIDE).tolist()
        gone = int((body == 0).sum())
        if len(poor) <= TOLERATED * np.count_nonzero(~np.isnan(body)):
            return []
        hold = "keep the body in its place with --anchor hips, or " if movable else ""
        return [
            f"the person leaves the picture: in {len(poor)} of {len(body)} frames less than half of the body's points "
            f"are inside it, in {gone} of them none (frame {name_frames(poor, sources)}): {hold}choose a photo with "
            "more room around the person, and a --size of its shape."
        ]


def measure_coverage(pose: Pose) -> Coverage:
    """pose: one person's, with its frames as persons, in shares of the output."""
    shares = []
    for part in PARTS:
        inside, seen = _counts(pose, part)
        shares.append(np.divide(inside, seen, out=np.full(len(seen), np.nan), where=seen > 0))
    return Coverage(np.stack(shares, axis=1))


def _counts(pose: Pose, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Per frame, how many points of this part are inside, and how many are seen."""
    inside, seen = np.zeros((2, len(pose.points)))
    for points in PARTS[part]:
        there = pose.seen[:, points]
        within = ((pose.points[:, points] >= 0) & (pose.points[:, points] < 1)).all(axis=-1)
        inside, seen = inside + (there & within).sum(axis=1), seen + there.sum(axis=1)
    return inside, seen
