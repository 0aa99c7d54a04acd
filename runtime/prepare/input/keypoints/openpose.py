"""OpenPose's JSON, a file per frame, and ComfyUI's, a list of frames with the canvas they were made on."""

import numpy as np

from sa.runtime.prepare.input.keypoints.layouts import assembled
from sa.runtime.prepare.input.keypoints.poses import FARTHEST, Poses, check_frames

KIND = "OpenPose JSON"


def read_openpose(content: object) -> Poses | None:
    """The poses of one frame or of a list of frames; None if the content is of another kind."""
    frames: list = content if isinstance(content, list) else [content]
    if not frames or not all(isinstance(frame, dict) and isinstance(frame.get("people"), list) for frame in frames):
        return None
    check_frames(len(frames))
    sizes = {(frame.get("canvas_width"), frame.get("canvas_height")) for frame in frames}
    width, height = next(iter(sizes))
    known = len(sizes) == 1 and all(type(side) is int and 0 < side <= FARTHEST for side in (width, height))
    return Poses(KIND, [_frame(frame["people"]) for frame in frames], (width, height) if known else None)


def _frame(people: list[dict]) -> np.ndarray:
    persons = [_person(person) for person in people if person.get("pose_keypoints_2d")]
    return np.stack(persons) if persons else np.zeros((0, 133, 3))


def _person(person: dict) -> np.ndarray:
    names = ("pose", "face", "hand_left", "hand_right")
    parts = [np.array(person.get(f"{name}_keypoints_2d") or [], np.float64).reshape(-1, 3) for name in names]
    for part in parts:
        part[part[:, 2] == 0] = np.nan  # written as zeros
    return assembled(*parts)
