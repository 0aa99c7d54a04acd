"""Archives of NumPy arrays (.npz): our own, rtmlib's keypoints and scores, DWPose's candidates and subsets."""

import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.prepare.input.keypoints.layouts import whole_bodies
from sa.runtime.prepare.input.keypoints.poses import FARTHEST, Poses, Size, check_points
from sa.runtime.prepare.whole_body import KEYPOINTS

FORMAT = "an .npz with driving [frames, persons, 133, 3] and reference [persons, 133, 3]: x and y in pixels, score"
Arrays = dict[str, np.ndarray]
OWN = ("driving", "reference", "size", "reference_size", "frames")
RTMLIB = ("keypoints", "scores")
DWPOSE = ("candidate", "subset", "score", "faces", "faces_score", "hands", "hands_score")
NAMES = (*OWN, *RTMLIB, *DWPOSE)  # what is read of an archive


def own_poses(arrays: Arrays) -> tuple[Poses | None, Poses | None]:
    """The poses of the driving frames and of the reference, as our own archives keep them."""
    found: list[Poses | None] = []
    for name, dimensions, size in (("driving", 4, "size"), ("reference", 3, "reference_size")):
        value = arrays.get(name)
        if value is None:
            found.append(None)
            continue
        if value.ndim != dimensions or value.shape[-2:] != (KEYPOINTS, 3) or value.dtype.kind != "f":
            raise InputError(f"{name} is {value.dtype} {list(value.shape)}: --keypoints takes {FORMAT}, as floats.")
        numbers = _numbers(arrays.get("frames"), len(value)) if name == "driving" else None
        frames = value if name == "driving" else value[None]
        check_points(frames, name)
        found.append(Poses("arrays of our own", frames, _size(arrays.get(size), size), numbers))
    return found[0], found[1]


def rtmlib_poses(arrays: Arrays, photo: bool) -> Poses:
    """keypoints [frames, persons, points, 2] and scores [frames, persons, points].

    Without one of the first two: the persons of a photo, or the one person of each frame.
    """
    points, scores = arrays["keypoints"], arrays["scores"]
    if points.ndim not in (3, 4) or points.shape[-1] < 2 or scores.shape != points.shape[:-1]:
        raise InputError(
            f"keypoints is {list(points.shape)} and scores {list(scores.shape)}: expected [frames, persons, points, 2] "
            "and [frames, persons, points]."
        )
    persons = whole_bodies(np.concatenate([points[..., :2], scores[..., None]], axis=-1))
    if points.ndim == 3:
        persons = persons[None] if photo else persons[:, None]
    return Poses("rtmlib keypoints", persons)


def dwpose_poses(arrays: Arrays) -> Poses:
    """candidate and subset as DWPose has them: of all 134 points, or of the body, with faces and hands beside it.

    With one dimension more, they are those of several frames.
    """
    candidate, subset = arrays["candidate"].astype(np.float64), arrays["subset"].astype(np.float64)
    if candidate.shape[-2:] == (134, 2) and subset.shape == candidate.shape[:-1]:
        persons = whole_bodies(np.concatenate([candidate, subset[..., None]], axis=-1))
        return Poses("DWPose keypoints", persons if persons.ndim == 4 else persons[None])
    if subset.ndim == 2:
        arrays = {name: array[None] for name, array in arrays.items()}
    return Poses("DWPose keypoints", [_dwpose_frame(arrays, frame) for frame in range(len(arrays["subset"]))])


def _dwpose_frame(arrays: Arrays, frame: int) -> np.ndarray:
    """[persons, 133, 3] from the arrays that are drawn: hands hold all left ones, then all right ones."""
    subset = arrays["subset"][frame].astype(np.float64)
    count = len(subset)
    whole = np.full((count, 134, 3), np.nan)
    parts = {"candidate": (0, 18, "score"), "faces": (24, 68, "faces_score")}
    for name, (first, points, scored) in parts.items():
        if name in arrays:
            whole[:, first : first + points] = _scored(arrays, name, scored, frame, (count, points))
    if "score" not in arrays:
        whole[:, :18, 2] = subset >= 0  # the index of a candidate, or -1
    if "hands" in arrays:
        hands = _scored(arrays, "hands", "hands_score", frame, (2 * count, 21))
        whole[:, 92:113], whole[:, 113:134] = hands[:count], hands[count:]
    return whole_bodies(whole)


def _scored(arrays: Arrays, name: str, scored: str, frame: int, shape: tuple[int, int]) -> np.ndarray:
    """[persons, points, 3]. Points that were not found lie at -1. Without scores, all others have 1."""
    points = arrays[name][frame].astype(np.float64)
    if points.size != shape[0] * shape[1] * 2:
        raise InputError(f"{name} is {list(points.shape)}: expected {list(shape)} points of x and y.")
    points = points.reshape(*shape, 2)
    scores = arrays[scored][frame].reshape(shape) if scored in arrays else np.ones(shape)
    scores = np.where((points == -1).all(axis=-1), np.nan, scores)
    return np.concatenate([points, scores[..., None]], axis=-1)


def _numbers(value: np.ndarray | None, count: int) -> np.ndarray | None:
    if value is not None and (
        value.dtype.kind not in "iu" or value.shape != (count,) or not count or (np.diff(value, prepend=-1) <= 0).any()
    ):
        raise InputError(f"frames is {value.dtype} {list(value.shape)}: expected the rising numbers of {count} frames.")
    return value


def _size(value: np.ndarray | None, name: str) -> Size | None:
    if value is None:
        return None
    if value.shape != (2,) or not ((value >= 1) & (value <= FARTHEST)).all():
        raise InputError(f"{name} is {value.dtype} {list(value.shape)}: expected width and height.")
    return int(value[0]), int(value[1])
