"""Gives the driving person the reference's bone lengths and keeps its joints' angles.

The body is a tree of bones from the middle of the hips. Each bone keeps its direction, and its length is multiplied by
the ratio of the reference's bone to the driving person's. Foreshortening remains: a bone that looks half as long as it
is still does. The path of the hips is multiplied by the ratio of the legs, so feet stay on the ground. Face and hands
follow nose and wrists.
"""

import numpy as np

from sa.runtime.prepare.motion.proportions import BONE_QUANTILE
from sa.runtime.prepare.whole_body import BODY, FACE, LEFT_HAND, NECK, RIGHT_HAND, VISIBLE, Pose

HIPS = 18  # a point added to the 18 of the body: the middle of both hips
RIGHT_HIP, LEFT_HIP, NOSE, RIGHT_WRIST, LEFT_WRIST = 8, 11, 0, 4, 7
# parent, child, and what bones are of equal length: a person's sides are alike, so the longer one counts in the
# reference, which may show the other foreshortened
TREE = (
    *((HIPS, NECK, "torso"), (HIPS, RIGHT_HIP, "hips"), (HIPS, LEFT_HIP, "hips")),
    *((RIGHT_HIP, 9, "thigh"), (9, 10, "shin"), (LEFT_HIP, 12, "thigh"), (12, 13, "shin")),
    *((NECK, 2, "shoulder"), (2, 3, "upper arm"), (3, RIGHT_WRIST, "forearm")),
    *((NECK, 5, "shoulder"), (5, 6, "upper arm"), (6, LEFT_WRIST, "forearm")),
    *((NECK, NOSE, "neck"), (NOSE, 14, "eye"), (NOSE, 15, "eye"), (14, 16, "ear"), (15, 17, "ear")),
)
FOLLOWERS = ((FACE, NOSE, "eye"), (LEFT_HAND, LEFT_WRIST, "forearm"), (RIGHT_HAND, RIGHT_WRIST, "forearm"))
FARTHEST = 3.0  # a bone's ratio over the scale, either way, beyond which a point is misplaced
FARTHEST_HEAD = 1.5  # heads differ less, and their short bones are less sure
HEAD = ("eye", "ear")  # both have one ratio, which the face takes too


def retarget(pose: Pose, reference: Pose, scale: float, aspect: float, output_aspect: float) -> Pose:
    """The poses with the reference's proportions, in shares of the output, up to an offset.

    pose: one person's, with its frames as persons, in shares of the driving picture; reference: one person, in shares
    of the output; scale: from heights of the driving picture to heights of the output, for bones not seen in both.
    """
    points = pose.points * [aspect, 1]
    body, seen = _with_hips(points[:, BODY], pose.scores[:, BODY] > VISIBLE)
    standing = reference.points[:, BODY] * [output_aspect, 1]
    target, target_seen = _with_hips(standing, reference.scores[:, BODY] > VISIBLE)
    ratios = _ratios(body, seen, target[0], target_seen[0], scale)
    body = _completed(body, seen)
    moved = np.empty_like(body)
    moved[:, HIPS] = body[:, HIPS] * np.mean([ratios["thigh"], ratios["shin"]])
    for parent, child, kind in TREE:
        moved[:, child] = moved[:, parent] + ratios[kind] * (body[:, child] - body[:, parent])
    result = points * scale
    result[:, BODY] = moved[:, :HIPS]
    for part, joint, kind in FOLLOWERS:
        result[:, part] = moved[:, [joint]] + ratios[kind] * (points[:, part] - body[:, [joint]])
    return Pose(result / [output_aspect, 1], pose.scores)


def common_root(pose: Pose, reference: Pose) -> int | None:
    """HIPS if the reference and some frame of the poses show both hips, else NECK likewise, else None."""

    def shows(one: Pose, joint: int) -> bool:
        seen = _with_hips(one.points[:, BODY], one.scores[:, BODY] > VISIBLE)[1]
        return bool(seen[:, joint].any())

    return next((joint for joint in (HIPS, NECK) if shows(pose, joint) and shows(reference, joint)), None)


def root_path(pose: Pose, joint: int) -> np.ndarray:
    """[frames, 2] one person's HIPS or NECK in shares of the picture; where it is not seen, on a straight line."""
    body, seen = _with_hips(pose.points[:, BODY], pose.scores[:, BODY] > VISIBLE)
    if joint == HIPS:
        return _completed(body, seen)[:, HIPS]
    return _interpolated(np.arange(len(body)), seen[:, joint], body[:, joint])


def _with_hips(body: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Adds the middle of the hips to [n, 18, 2] and [n, 18]."""
    hips = [RIGHT_HIP, LEFT_HIP]
    middle, both = body[:, hips].mean(axis=1, keepdims=True), seen[:, hips].all(axis=1, keepdims=True)
    return np.concatenate([body, middle], axis=1), np.concatenate([seen, both], axis=1)


def _ratios(
    body: np.ndarray, seen: np.ndarray, target: np.ndarray, target_seen: np.ndarray, scale: float
) -> dict[str, float]:
    """The length of each kind of bone in the reference over that in the driving frames."""
    driven: dict[str, list[float]] = {}
    wanted: dict[str, list[float]] = {}
    for parent, child, kind in TREE:
        both = seen[:, parent] & seen[:, child]
        if both.any() and target_seen[[parent, child]].all():
            lengths = np.linalg.norm(body[both, child] - body[both, parent], axis=-1)
            driven.setdefault(kind, []).append(float(np.quantile(lengths, BONE_QUANTILE)))
            wanted.setdefault(kind, []).append(float(np.linalg.norm(target[child] - target[parent])))
    ratios = {}
    for kind in {kind for _, _, kind in TREE}:
        together = [one for one in (HEAD if kind in HEAD else (kind,)) if one in driven]
        usual = sum(float(np.mean(driven[one])) for one in together)
        ratio = sum(max(wanted[one]) for one in together) / usual if usual > 0 else scale
        farthest = FARTHEST_HEAD if kind in HEAD else FARTHEST
        ratios[kind] = float(np.clip(ratio, scale / farthest, scale * farthest))
    return ratios


def _completed(body: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """[frames, 19, 2] with the hips in every frame, and each other point that is not seen where its parent is."""
    body = body.copy()
    frames = np.arange(len(body))
    both = seen[:, HIPS] & seen[:, NECK]
    if both.any():
        below = _interpolated(frames, both, body[:, HIPS] - body[:, NECK])
        rebuilt = seen[:, NECK] & ~seen[:, HIPS]
        body[rebuilt, HIPS] = body[rebuilt, NECK] + below[rebuilt]
    elif not seen[:, HIPS].any():
        body[:, HIPS] = body[:, NECK]
    known = seen[:, HIPS] | seen[:, NECK] if both.any() or not seen[:, HIPS].any() else seen[:, HIPS]
    if known.any():
        body[:, HIPS] = _interpolated(frames, known, body[:, HIPS])
    for parent, child, _ in TREE:
        body[:, child] = np.where(seen[:, [child]], body[:, child], body[:, parent])
    return body


def _interpolated(frames: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(frames, frames[known], values[known, axis]) for axis in (0, 1)], axis=1)
