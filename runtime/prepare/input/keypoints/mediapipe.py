"""mediapipe's landmarks, in JSON: shares of the picture, as its pose, holistic and hand solutions give them."""

import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.prepare.input.keypoints.layouts import FACE_MESH, assembled
from sa.runtime.prepare.input.keypoints.poses import Poses, check_frames

KIND = "mediapipe landmarks"
PARTS = ("pose", "face", "left_hand", "right_hand")
BODY_POINTS = 33


def read_mediapipe(content: object) -> Poses | None:
    """The poses of one frame or of a list of frames; None if the content is of another kind.

    A frame is null, a list of 33 landmarks, a list of such lists, or an object with pose_landmarks and perhaps those of
    face, left_hand and right_hand.
    """
    if _is_landmarks(content) or isinstance(content, dict):
        content = [content]
    if not isinstance(content, list) or not any(_is_frame(frame) for frame in content):
        return None
    check_frames(len(content))
    return Poses(KIND, [_frame(frame) for frame in content], relative=True)


def _is_frame(frame: object) -> bool:
    if isinstance(frame, dict):
        return "pose_landmarks" in _named(frame)
    return _is_landmarks(frame) or (isinstance(frame, list) and bool(frame) and all(map(_is_landmarks, frame)))


def _is_landmarks(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(one, dict) and {"x", "y"} <= one.keys() for one in value)


def _frame(frame: object) -> np.ndarray:
    """[persons, 133, 3]."""
    if not frame:
        return np.zeros((0, 133, 3))
    if isinstance(frame, dict):
        named = _named(frame)
        lists = [_persons(named.get(f"{part}_landmarks"), part == "pose") for part in PARTS]
    else:
        lists = [_persons(frame, True), [], [], []]
    bodies, *others = lists
    persons = []
    for number, body in enumerate(bodies):
        face, left, right = (part[number] if number < len(part) else None for part in others)
        if len(body) != BODY_POINTS:
            raise InputError(f"a person has {len(body)} landmarks instead of {BODY_POINTS}.")
        if face is not None:
            face = face[list(FACE_MESH)]
        persons.append(assembled(body, face, left, right))
    return np.stack(persons) if persons else np.zeros((0, 133, 3))


def _named(frame: dict) -> dict:
    """The pose alone, as protobuf writes it, gets its name."""
    return {"pose_landmarks": frame} if "landmark" in frame else frame


def _persons(value: object, body: bool) -> list[np.ndarray]:
    """One person's landmarks, or several persons' -> [points, 3] each.

    A face and hands have no visibility of their own. The classes of mediapipe write 0 for it.
    """
    if isinstance(value, dict):  # a message of protobuf
        value = value.get("landmark")
    if not value:
        return []
    if not isinstance(value, list):
        raise InputError("its landmarks are no list.")
    if _is_landmarks(value):
        value = [value]
    persons = [
        np.array([[one["x"], one["y"], one.get("visibility", 1.0)] for one in person], np.float64)
        for person in value
        if person
    ]
    for points in persons:
        if not body and not points[:, 2].any():
            points[:, 2] = 1
    return persons
