"""JSON with an entry per person: MMPose's frames of instances; AlphaPose's and COCO-WholeBody's results."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from sa.runtime.case.numbering import telling_numbers
from sa.runtime.errors import InputError
from sa.runtime.prepare.input.keypoints.layouts import assembled, whole_bodies
from sa.runtime.prepare.input.keypoints.poses import Poses, check_frames
from sa.runtime.prepare.whole_body import KEYPOINTS

WHOLE_BODY_PARTS = ("face_kpts", "lefthand_kpts", "righthand_kpts", "foot_kpts")


def read_mmpose(content: object) -> Poses | None:
    """MMPose's predictions: of a video, with frames, or of one picture. None if the content is of another kind."""
    if isinstance(content, dict) and isinstance(content.get("instance_info"), list):
        content = content["instance_info"]
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content) or not content:
        return None
    if all("keypoint_scores" in entry for entry in content):
        return Poses("MMPose JSON", [np.stack([_mmpose_person(entry) for entry in content])])
    if not all("instances" in entry for entry in content):
        return None
    if len(content) == 1 and "frame_id" not in content[0]:
        content = [{"frame_id": 0, **content[0]}]
    check_frames(len(content))
    entries = ((entry["frame_id"], _mmpose_person(one)) for entry in content for one in entry["instances"])
    return _by_frame("MMPose JSON", entries, first=min(int(entry["frame_id"]) for entry in content))


def read_flat(content: object) -> Poses | None:
    """AlphaPose's or COCO-WholeBody's results. None if the content is of another kind."""
    if not isinstance(content, list) or not content:
        return None
    if not all(isinstance(entry, dict) and "image_id" in entry and "keypoints" in entry for entry in content):
        return None
    kind = "COCO-WholeBody JSON" if WHOLE_BODY_PARTS[0] in content[0] else "AlphaPose JSON"
    return _by_frame(kind, ((entry["image_id"], _flat_person(entry)) for entry in content))


def _mmpose_person(entry: dict) -> np.ndarray:
    points = np.array(entry["keypoints"], np.float64)[:, :2]
    return whole_bodies(np.column_stack([points, np.array(entry["keypoint_scores"], np.float64)]))


def _flat_person(entry: dict) -> np.ndarray:
    body, *parts = (
        np.array(entry[name], np.float64).reshape(-1, 3) if entry.get(name) else None
        for name in ("keypoints", *WHOLE_BODY_PARTS)
    )
    assert body is not None  # see read_flat
    return assembled(body, *parts)


def _by_frame(kind: str, entries: Iterable[tuple[object, np.ndarray]], first: int | None = None) -> Poses:
    """Frames from persons with the numbers or names of their frames, which count from 0 or from 1."""
    listed = list(entries)
    numbers = _frame_numbers([str(name) for name, _ in listed])
    frames: dict[int, list[np.ndarray]] = {}
    for name, person in listed:
        frames.setdefault(numbers[str(name)], []).append(person)
    first = min(frames, default=0) if first is None else first
    last = max(frames, default=first)
    if first > 1 and first != last:
        raise InputError(
            f"its frames have the numbers {first} to {last}, so which one is the first is unclear: number them from 0 "
            "or from 1."
        )
    check_frames(last - first + 1)
    nobody = np.zeros((0, KEYPOINTS, 3))
    made = [np.stack(frames[number]) if number in frames else nobody for number in range(first, last + 1)]
    return Poses(kind, made, sparse=True)


def _frame_numbers(names: Sequence[str]) -> dict[str, int]:
    """By name, the number that differs from name to name, as for the files of a case."""
    groups = {name: re.findall(r"\d+", name) for name in names}
    for name, digits in groups.items():
        if not digits:
            raise InputError(f"{name[:40]!r} has no number of a frame: name the frames by numbers.")
    if len({len(digits) for digits in groups.values()}) > 1:
        raise InputError("its frames' names have different counts of numbers: name the frames alike.")
    return dict(zip(groups, telling_numbers(list(groups.values())), strict=True)) if groups else {}
