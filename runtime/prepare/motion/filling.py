"""Fills short gaps in a person's motion, in which the estimator missed the person or single points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sa.runtime.prepare.whole_body import VISIBLE

LONGEST = 5  # frames of a gap


@dataclass(frozen=True)
class Filled:
    keypoints: np.ndarray  # [frames, 133, 3]
    frames: int  # in which the person was missing
    points: int  # that were missing, one frame each, in frames that show the person too


def fill_gaps(keypoints: np.ndarray, breaks: Sequence[int]) -> Filled:
    """Points that are missing for at most five frames move on a straight line between their two sightings.

    keypoints: [frames, 133, 3] x, y, score of one person; breaks: frames across which nothing is filled, as another
    scene or another person may begin there. A filled point gets the lower of the two scores.
    """
    filled = keypoints.copy()
    seen = keypoints[..., 2] > VISIBLE
    for point in range(keypoints.shape[1]):
        sightings = np.flatnonzero(seen[:, point])
        for at in np.flatnonzero(np.diff(sightings) > 1):
            before, after = sightings[at : at + 2]
            gap = after - before - 1
            if gap <= LONGEST and not any(before < one <= after for one in breaks):
                share = np.arange(1, gap + 1)[:, None] / (gap + 1)
                ends = keypoints[before, point], keypoints[after, point]
                filled[before + 1 : after, point] = ends[0] + share * (ends[1] - ends[0])
                filled[before + 1 : after, point, 2] = min(ends[0][2], ends[1][2])
    added = (filled[..., 2] > VISIBLE) & ~seen
    missing = ~seen.any(axis=1)
    return Filled(filled, int((added.any(axis=1) & missing).sum()), int(added.sum()))
