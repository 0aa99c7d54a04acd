"""How a puppet moves: joint angles as smooth functions of time, and the joints that follow from them."""

from dataclasses import dataclass

import numpy as np

from sa.benchmarks.puppet.draw.canvas import AROUND, Points, arc, turn
from sa.benchmarks.puppet.draw.identity import Identity

SIDES = ("right", "left")  # the puppet's own: its right is on the left of the picture
SIGN = {"right": -1.0, "left": 1.0}
# The order of OpenPose's body joints.
_CHAINS = [f"{side} {joint}" for chain in ("shoulder elbow wrist", "hip knee ankle") for side in SIDES
           for joint in chain.split()]  # fmt: skip
JOINTS = ("nose", "neck", *_CHAINS, "right eye", "left eye", "right ear", "left ear")

TORSO, UPPER_ARM, FOREARM, HAND, THIGH, SHIN = 0.25, 0.135, 0.125, 0.125, 0.2, 0.2
NECK_TO_HEAD = 1.28  # in head units


@dataclass(frozen=True)
class Wave:
    """Two sine waves around a mean: smooth, and never exactly the same again."""

    mean: float
    amplitudes: tuple[float, float]
    rates: tuple[float, float]  # radians a frame
    phases: tuple[float, float]

    def at(self, frame: float) -> float:
        waves = zip(self.amplitudes, self.rates, self.phases, strict=True)
        return self.mean + sum(a * np.sin(r * frame + p) for a, r, p in waves)


@dataclass(frozen=True)
class Motion:
    waves: dict[str, Wave]
    zoom: float
    centre: tuple[float, float]  # where the hips are

    def angle(self, name: str, frame: float) -> float:
        return self.waves[name].at(frame)


def random_motion(rng: np.random.Generator) -> Motion:
    def wave(means: tuple[float, float], amplitudes: tuple[float, float]) -> Wave:
        mean, size = rng.uniform(*means), rng.uniform(*amplitudes)
        periods, share = rng.uniform((16, 9), (40, 18)), rng.uniform(0.15, 0.4)
        phases = rng.uniform(0, 2 * np.pi, 2)
        return Wave(
            float(mean), (float(size * (1 - share)), float(size * share)), tuple(2 * np.pi / periods), tuple(phases)
        )

    waves = {
        "lean": wave((-0.05, 0.05), (0.0, 0.12)),
        "sway": wave((0, 0), (0.0, 0.035)),
        "bob": wave((0, 0), (0.0, 0.012)),
        "tilt": wave((-0.08, 0.08), (0.02, 0.22)),
        "yaw": wave((-0.3, 0.3), (0.1, 0.7)),
        "nod": wave((-0.2, 0.2), (0.0, 0.5)),
    }
    for side in SIDES:
        resting = rng.random() < 0.3
        waves[f"{side} shoulder"] = wave((0.15, 0.4) if resting else (0.4, 2.3), (0.1, 0.3) if resting else (0.3, 1.0))
        waves[f"{side} elbow"] = wave((0.0, 0.4) if resting else (0.2, 1.7), (0.1, 0.7))
        waves[f"{side} hand"] = wave((-0.2, 0.2), (0.1, 0.5))
        waves[f"{side} hip"] = wave((0.02, 0.18), (0.0, 0.06))
    zoom = float(rng.uniform(1.05, 1.35))
    return Motion(waves, zoom, (float(rng.uniform(0.44, 0.56)), float(rng.uniform(0.86, 0.94))))


@dataclass(frozen=True)
class Posture:
    """One moment of one puppet; positions are fractions of the picture."""

    body: dict[str, np.ndarray]  # the 18 joints, each [2]
    face: np.ndarray  # [68, 2] jaw, brows, nose, eyes, lips in the usual order
    hands: np.ndarray  # [2, 21, 2] left hand first
    head_centre: np.ndarray  # [2]
    head_unit: float
    head_tilt: float  # radians
    turned: np.ndarray  # [2] how far the features have moved over the head, in head units
    zoom: float

    def on_head(self, points: Points) -> np.ndarray:
        """Points [..., 2] in head units as fractions of the picture."""
        return self.head_centre + self.head_unit * turn(points, self.head_tilt)

    def on_face(self, points: Points) -> np.ndarray:
        """The same for the face's features, which shift as the head turns."""
        return self.on_head(np.asarray(points) + self.turned)


def posture(identity: Identity, motion: Motion, frame: float) -> Posture:
    zoom, angle = motion.zoom, lambda name: motion.angle(name, frame)
    hips = np.array(motion.centre) + zoom * np.array([angle("sway"), angle("bob")])
    lean = angle("lean")
    neck = hips + zoom * turn([0.0, -TORSO], lean)
    tilt, unit = lean + angle("tilt"), zoom * identity.head
    head_centre = neck + unit * turn([0.0, -NECK_TO_HEAD], tilt)
    yaw, nod = np.clip([angle("yaw"), angle("nod")], -1, 1)
    turned = np.array([0.3 * yaw, 0.12 * nod])
    points = face_points(identity)
    moved = np.concatenate([points[:17], points[17:] + turned])  # the jaw's outline stays
    face = head_centre + unit * turn(moved, tilt)

    body, hands = {"neck": neck, "nose": face[30]}, []
    for side, eye in (("right", face[36:42]), ("left", face[42:48])):
        sign = SIGN[side]
        shoulder = neck + zoom * turn([identity.shoulders * sign, 0.02], lean)
        raised = float(np.clip(angle(f"{side} shoulder"), 0.08, 2.8))
        bent = raised + float(np.clip(angle(f"{side} elbow"), -0.3, 2.3))
        elbow = shoulder + zoom * UPPER_ARM * _down(lean - sign * raised)
        wrist = elbow + zoom * FOREARM * _down(lean - sign * bent)
        at_hand = lean - sign * bent + angle(f"{side} hand")
        hip = hips + zoom * np.array([identity.hips * sign, 0.0])
        spread = -sign * angle(f"{side} hip")
        knee = hip + zoom * THIGH * _down(spread)
        ankle = knee + zoom * SHIN * _down(spread / 2)
        hands.append(wrist + zoom * HAND * turn(hand_points(sign), at_hand + np.pi))
        for joint, at in (("shoulder", shoulder), ("elbow", elbow), ("wrist", wrist),
                          ("hip", hip), ("knee", knee), ("ankle", ankle)):  # fmt: skip
            body[f"{side} {joint}"] = at
        body[f"{side} eye"] = eye.mean(axis=0)
        ear = [(identity.face_width + 0.04) * sign - turned[0] / 2, 0.05]
        body[f"{side} ear"] = head_centre + unit * turn(ear, tilt)
    return Posture(
        {name: body[name] for name in JOINTS}, face, np.stack(hands[::-1]), head_centre, unit, tilt, turned, zoom
    )


def _down(angle: float) -> np.ndarray:
    return turn([0.0, 1.0], angle)


def outline(identity: Identity, degrees: np.ndarray = AROUND) -> np.ndarray:
    """Points [n, 2] of the face's edge in head units: a superellipse, square only below the ears."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    exponent = np.where(s > 0, identity.jaw, 2.0)
    radius = (np.abs(c) ** exponent + np.abs(s) ** exponent) ** (-1 / exponent)
    return np.stack([identity.face_width * radius * c, 1.02 * radius * s], axis=1)


def face_points(identity: Identity) -> np.ndarray:
    """The 68 face points [68, 2] in head units, the head facing forward."""

    def lip(along: np.ndarray, depth: float) -> np.ndarray:
        bend = identity.smile * (1 - along**2)
        return np.stack([identity.mouth_width * along, 0.55 + bend + depth * (1 - along**2)], axis=1)

    gap, size = identity.eye_gap, identity.eye_size
    parts = [outline(identity, np.linspace(184, -4, 17))]
    for sign in (-1, 1):
        brow = arc((0, 0), (0.22, 0.1), np.linspace(215, 325, 5))
        parts += [np.add(turn(brow, sign * identity.brow_tilt), (sign * gap, -0.1 - size))]
    parts += [np.stack([np.zeros(4), np.linspace(-0.06, 0.2, 4)], axis=1)]
    parts += [arc((0, 0.22), (identity.nose, 0.08), np.linspace(170, 10, 5))]
    parts += [arc((sign * gap, 0), (size, size), np.array([180, 240, 300, 0, 60, 120])) for sign in (-1, 1)]
    parts += [lip(np.linspace(-1, 1, 7), 0.0), lip(np.linspace(0.66, -0.66, 5), 0.13)]
    parts += [lip(np.linspace(-0.84, 0.84, 5), 0.03), lip(np.linspace(0.4, -0.4, 3), 0.1)]
    return np.concatenate(parts)


def hand_points(sign: float) -> np.ndarray:
    """The 21 points [21, 2] of an upright hand of length 1; `sign` -1 is the right one, thumb to the middle.

    It is a cartoon's: its fingers are spread, so that they can be told apart where each is four pixels wide.
    """
    thumb, finger = [0.24, 0.42, 0.56, 0.68], np.array([0.47, 0.68, 0.83, 0.95])
    reach = np.array([thumb, 0.98 * finger, 1.03 * finger, 0.96 * finger, 0.84 * finger])
    angle = np.radians([64, 34, 11, -12, -35])
    fingers = reach[:, :, None] * np.stack([np.sin(angle), -np.cos(angle)], axis=1)[:, None]
    return np.concatenate([np.zeros((1, 2)), fingers.reshape(20, 2)]) * [-sign, 1.0]
