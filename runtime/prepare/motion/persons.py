"""Chooses the reference's person, and follows one person through the driving frames."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.prepare.motion.tracking import Tracker, largest, visible_boxes
from sa.runtime.prepare.whole_body import BODY, to_pose


@dataclass(frozen=True)
class DrivingPersons:
    """What the alignment needs from all frames at once. The other points stay on disk."""

    chosen: list[int | None]  # per frame, the index of the followed person
    points: np.ndarray  # [frames, 18, 2] the followed person's body points, in shares of the picture
    scores: np.ndarray  # [frames, 18], all 0 in frames without the person


def reference_person(keypoints: np.ndarray, path: Path, upstream: bool, warnings: list[str]) -> int:
    """The index of the reference among keypoints [persons, 133, 3]; InputError if there is nobody.

    It is the largest person or, if `upstream`, the first, which is the most certain.
    """
    boxes = visible_boxes(keypoints)
    found = 0 if upstream else largest(boxes) or 0
    there = int((~np.isnan(boxes[:, 0])).sum())
    if not there or np.isnan(boxes[found, 0]):
        raise InputError(
            f"{path} shows no person: no body point was found in it; give --reference a photo of a person, "
            "best from head to foot."
        )
    if there > 1:
        which = "most certain" if upstream else "largest"
        warnings.append(f"{path} shows {there} persons: the {which} is taken; choose another with --reference-person.")
    return found


def follow(
    frames: Iterable[np.ndarray], size: tuple[int, int], person: int | None, warnings: list[str]
) -> DrivingPersons:
    """Follow one person through all frames: keypoints [persons, 133, 3] in pixels of frames of this size.

    InputError if no frame shows a person, or none shows a person number `person`.
    """
    tracker = Tracker(person)
    chosen, points, scores, most = [], [], [], 0
    for keypoints in frames:
        found = tracker.follow(keypoints)
        pose = to_pose(keypoints, *size)
        chosen.append(found)
        points.append(np.zeros((18, 2)) if found is None else pose.points[found, BODY])
        scores.append(np.zeros(18) if found is None else pose.scores[found, BODY])
        most = max(most, int((~np.isnan(visible_boxes(keypoints)[:, 0])).sum()))
    if all(found is None for found in chosen):
        if person is not None and most:
            raise InputError(
                f"--person {person}: no driving frame shows so many persons, at most {most}, counted from 0."
            )
        raise InputError("no driving frame shows a person: give --driving a video of a person, best from head to foot.")
    if most > 1:
        last = max(number for number, found in enumerate(chosen) if found is not None)
        warnings.append(
            f"the driving frames show up to {most} persons: one is followed, last seen in frame {last} of "
            f"{len(chosen) - 1}; choose another with --person."
        )
    return DrivingPersons(chosen, np.array(points), np.array(scores))


def lone_bodies(frames: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """[n, 18, 2] body points in shares of the picture, from frames with exactly one person, seen or not."""
    bodies = [to_pose(keypoints, *size).points[0, BODY] for keypoints in frames if len(keypoints) == 1]
    return np.reshape(bodies, (-1, 18, 2))
