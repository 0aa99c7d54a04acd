"""People who never were: articulated bodies in three dimensions, seen by a camera, with what estimators get wrong.

Reference and driver are the same body at two scales, so the scale between them is known exactly.
"""

from dataclasses import dataclass

import numpy as np

SIZES = ((1920, 1080), (1080, 1920), (1280, 720), (640, 640))  # of driving videos
OUTPUTS = ((512, 512), (576, 1024))
CAMERA = 5.0  # distance in body heights: near enough for some perspective
HIDDEN_SHARE = 0.05  # of the points of a frame, besides limbs that stay hidden: misplaced, and known to be
OUTLIER_SHARE = 0.02  # misplaced, and thought to be seen
JITTER = 0.004  # of the body's height, in every point
FRAMES = (16, 64)


# joint: (the one it hangs from, offset at rest: x to the picture's right, y down, z away), in body heights
REST = {
    "pelvis": (None, (0, 0, 0)),
    8: ("pelvis", (-0.055, 0, 0)),
    11: ("pelvis", (0.055, 0, 0)),
    1: ("pelvis", (0, -0.3, 0)),
    2: (1, (-0.1, 0.01, 0)),
    5: (1, (0.1, 0.01, 0)),
    0: (1, (0, -0.1, -0.06)),
    14: (0, (-0.018, -0.022, 0.01)),
    15: (0, (0.018, -0.022, 0.01)),
    16: (0, (-0.04, -0.012, 0.06)),
    17: (0, (0.04, -0.012, 0.06)),
    3: (2, (-0.02, 0.17, 0)),
    4: (3, (0, 0.15, 0)),
    6: (5, (0.02, 0.17, 0)),
    7: (6, (0, 0.15, 0)),
    9: (8, (0, 0.245, 0)),
    10: (9, (0, 0.24, 0)),
    12: (11, (0, 0.245, 0)),
    13: (12, (0, 0.24, 0)),
}
# joint whose children turn: degrees of pitch (about x), yaw (about y), roll (about z)
SWING = {
    "pelvis": (12, 25, 8),
    1: (8, 10, 5),
    0: (12, 20, 8),
    **dict.fromkeys((2, 5), (50, 10, 45)),
    **dict.fromkeys((3, 6), (60, 0, 0)),
    **dict.fromkeys((8, 11), (30, 5, 12)),
    **dict.fromkeys((9, 12), (35, 0, 0)),
}


@dataclass(frozen=True)
class Actor:
    """A reference and a driving video's keypoints, and the truth about them."""

    reference: np.ndarray  # [18, 2] float64, shares of the output's width and height
    reference_scores: np.ndarray  # [18]
    points: np.ndarray  # [frames, 18, 2] float64, shares of the video's width and height
    scores: np.ndarray  # [frames, 18]
    size: tuple[int, int]  # width and height of the video
    output: tuple[int, int]  # of the output
    scale: np.ndarray  # [2] the true scale of x and y, shares to shares


def actor(seed: int) -> Actor:
    """One of an endless row of people, always the same for a seed."""
    random = np.random.default_rng(seed)
    body = _Body(random)
    size, output = SIZES[random.integers(len(SIZES))], OUTPUTS[random.integers(len(OUTPUTS))]
    frames = int(random.integers(*FRAMES))
    height, driver_height = random.uniform(0.5, 0.95), random.uniform(0.3, 0.9)  # shares of the pictures' heights
    standing = body.project(np.zeros(1), 0.3 * body.amplitudes)[0]
    dancing = body.project(np.sort(random.uniform(0, 4, frames)), body.amplitudes)
    walk = random.uniform(-0.25, 0.25) * np.linspace(-1, 1, frames)
    jump = random.uniform(0, 0.2) * np.abs(np.sin(np.linspace(0, random.uniform(3, 12), frames)))
    way = np.stack([walk, -jump], axis=-1)[:, None]
    reference = standing * height * [output[1] / output[0], 1] + [0.5, random.uniform(0.4, 0.6)]
    points = (dancing * driver_height + way) * [size[1] / size[0], 1] + [random.uniform(0.3, 0.7), 0.5]
    limbs = [[3, 4], [6, 7], [9, 10], [12, 13], [10], [13], [16], [17]]
    hidden_limbs = [joint for limb in limbs if random.random() < 0.15 for joint in limb]
    reference, reference_scores = _estimated(random, reference[None], height, hidden_limbs, output)
    hidden_limbs = [joint for limb in limbs if random.random() < 0.15 for joint in limb]
    points, scores = _estimated(random, points, driver_height, hidden_limbs, size)
    true = height / driver_height
    stretch = (size[0] / size[1]) / (output[0] / output[1])
    return Actor(reference[0], reference_scores[0], points, scores, size, output, np.array([true * stretch, true]))


def _estimated(
    random: np.random.Generator, points: np.ndarray, height: float, hidden_limbs: list[int], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """points [n, 18, 2] as an estimator would give them, with scores [n, 18]."""
    unit = height * np.array([size[1] / size[0], 1])  # the body's height in shares of the picture
    points = points + random.normal(0, JITTER, points.shape) * unit
    scores = random.uniform(0.35, 1, points.shape[:2])
    hidden = random.random(scores.shape) < HIDDEN_SHARE
    hidden[:, hidden_limbs] = True
    scores[hidden] = random.uniform(0, 0.3, hidden.sum())
    outlier = (random.random(scores.shape) < OUTLIER_SHARE) & ~hidden
    misplaced = hidden | outlier
    points[misplaced] += random.normal(0, 0.3, (misplaced.sum(), 2)) * unit
    scores[:, 1] = (scores[:, [2, 5]] > 0.3).all(axis=1)
    return points, scores


class _Body:
    """A skeleton of bones, each turned against the one before it by angles that swing in time."""

    def __init__(self, random: np.random.Generator):
        build = random.uniform(0.9, 1.1, (len(REST), 3))
        self._rest = {
            joint: (parent, np.array(offset) * build[i]) for i, (joint, (parent, offset)) in enumerate(REST.items())
        }
        joints = len(SWING)
        self.amplitudes = np.radians(list(SWING.values())) * random.normal(0, 1, (joints, 3))
        self._phases = random.uniform(0, 2 * np.pi, (joints, 3))
        self._pace = random.uniform(0.5, 2, (joints, 3))

    def project(self, times: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
        """[n, 18, 2]: x to the right, y down, in body heights, the pelvis at 0."""
        angles = amplitudes * np.sin(times[:, None, None] * self._pace * 2 * np.pi + self._phases)
        turns = {joint: _rotation(angles[:, i]) for i, joint in enumerate(SWING)}
        place, frame = {}, {}
        for joint, (parent, offset) in self._rest.items():
            if parent is None:
                place[joint], frame[joint] = np.zeros((len(times), 3)), turns[joint]
            else:
                place[joint] = place[parent] + frame[parent] @ offset
                frame[joint] = frame[parent] @ turns[joint] if joint in turns else frame[parent]
        body = np.stack([place[joint] for joint in range(18)], axis=1)
        return body[..., :2] * (CAMERA / (CAMERA + body[..., 2:]))


def _rotation(angles: np.ndarray) -> np.ndarray:
    """[n, 3] pitch, yaw, roll in radians -> [n, 3, 3]."""
    sines, cosines = np.sin(angles).T, np.cos(angles).T
    one, zero = np.ones(len(angles)), np.zeros(len(angles))

    def matrix(*rows: tuple) -> np.ndarray:
        return np.array(rows).transpose(2, 0, 1)

    pitch = matrix((one, zero, zero), (zero, cosines[0], -sines[0]), (zero, sines[0], cosines[0]))
    yaw = matrix((cosines[1], zero, sines[1]), (zero, one, zero), (-sines[1], zero, cosines[1]))
    roll = matrix((cosines[2], -sines[2], zero), (sines[2], cosines[2], zero), (zero, zero, one))
    return yaw @ pitch @ roll
