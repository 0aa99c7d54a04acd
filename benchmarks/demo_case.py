"""Draws a small case for the demo: a cartoon person who waves, and the poses that make them wave.

One joint model drives both the picture of the person and the pose frames, so the skeleton of frame 0 lies
exactly on the person. Positions are fractions of the picture, x to the right and y down; "right" and "left"
are the person's own, so the right hand is on the left of the picture.
"""

import colorsys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = np.ndarray | list  # anything [..., 2]

OVERSAMPLE = 4  # everything is drawn this much larger and reduced: Pillow's own edges are not anti-aliased
IDENTITY_KEY = 512
IDENTITY_NORM = 20.0  # about the length of a face recogniser's raw embedding

# The order of OpenPose's body joints: nose, neck, arms, legs, eyes, ears, the right side first.
SIDES = ("right", "left")
ARM, LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
_CHAINS = tuple(f"{side} {joint}" for chain in (ARM, LEG) for side in SIDES for joint in chain)
JOINTS = ("nose", "neck", *_CHAINS, "right eye", "left eye", "right ear", "left ear")
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
HAND_BONES = tuple((0 if k == 0 else 4 * f + k, 4 * f + k + 1) for f in range(5) for k in range(4))

HEAD_UNIT = 0.112  # the head is laid out in units of this fraction, about its centre
HEAD_HALF = (0.84, 1.04)  # half width and half height of the face, in head units
HAND_LENGTH = 0.125
AROUND = np.linspace(0, 360, 73)

WALL, SPOT, SPOT_RIM = (244, 236, 222), (196, 222, 214), (214, 231, 222)
SKIN, SKIN_SHADE, CHEEK = (240, 190, 152), (222, 163, 124), (238, 154, 128)
HAIR, HAIR_LIGHT, INK = (78, 50, 42), (104, 68, 54), (54, 38, 40)
JUMPER, JUMPER_SHADE, TROUSERS, TROUSERS_SHADE = (226, 112, 84), (198, 90, 68), (62, 84, 122), (48, 66, 100)
WHITE, MOUTH = (255, 252, 246), (176, 66, 66)


@dataclass(frozen=True)
class Posture:
    """One moment of the movement, all positions as fractions of the picture."""

    body: dict[str, np.ndarray]  # the 18 joints, each [2]
    face: np.ndarray  # [68, 2] jaw, brows, nose, eyes, lips in the usual order
    hands: np.ndarray  # [2, 21, 2] left hand first
    head_centre: np.ndarray  # [2]
    head_tilt: float  # radians

    def on_head(self, points: Points) -> np.ndarray:
        """Points [..., 2] in head units as fractions of the picture."""
        return self.head_centre + HEAD_UNIT * _turn(points, self.head_tilt)


def posture_at(phase: float) -> Posture:
    """The waving person at `phase` radians of one loop; the reference shows phase 0."""
    # Without the shift the wave would stand still in a loop of four frames.
    lean, wave = 0.035 * np.cos(phase), np.sin(2 * phase + np.pi / 4)
    hips = np.array([0.51 + 0.012 * np.cos(phase), 0.745])
    neck = hips + _turn([0.0, -0.315], lean)
    tilt = 0.085 * np.cos(phase - 0.5) - 0.03
    head_centre = neck + _turn([0.0, -0.187], tilt)
    face = head_centre + HEAD_UNIT * _turn(_face(), tilt)

    body = {"neck": neck, "nose": face[30]}
    for side, sign, eye in (("right", -1, face[36:42]), ("left", 1, face[42:48])):
        body[f"{side} shoulder"] = neck + _turn([0.095 * sign, 0.0], lean)
        body[f"{side} hip"] = hips + np.array([0.055 * sign, 0.0])
        body[f"{side} ankle"] = np.array([0.51 + 0.07 * sign, 1.16])
        body[f"{side} knee"] = (body[f"{side} hip"] + body[f"{side} ankle"]) / 2
        body[f"{side} eye"] = eye.mean(axis=0)
        body[f"{side} ear"] = head_centre + HEAD_UNIT * _turn([0.88 * sign, 0.05], tilt)

    # Arm angles are measured from straight up, clockwise as seen.
    body["right elbow"] = body["right shoulder"] + _turn([0.0, -0.15], 0.08 * wave - 2.05)
    body["right wrist"] = body["right elbow"] + _turn([0.0, -0.15], 0.3 * wave - 0.3)
    right_hand = _turn(_hand(spread=1.0), 0.5 * wave - 0.12)
    resting = np.pi - 0.24 + 1.5 * lean
    body["left elbow"] = body["left shoulder"] + _turn([0.0, -0.155], resting)
    body["left wrist"] = body["left elbow"] + _turn([0.0, -0.15], resting + 0.2)
    left_hand = _turn(_hand(spread=0.55), resting + 0.25)
    hands = [body["left wrist"] + HAND_LENGTH * left_hand, body["right wrist"] + HAND_LENGTH * right_hand]
    return Posture({name: body[name] for name in JOINTS}, face, np.stack(hands), head_centre, tilt)


def _turn(points: Points, angle: float) -> np.ndarray:
    """Points [..., 2] turned clockwise (as seen, y down) about the origin by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points, dtype=float) @ np.array([[c, s], [-s, c]])


def _arc(centre: tuple[float, float], radii: tuple[float, float], degrees: np.ndarray) -> np.ndarray:
    """Points [n, 2] of an ellipse; 0 degrees is to the right, 90 straight down."""
    angle = np.radians(degrees)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


def _face() -> np.ndarray:
    """The 68 face points [68, 2] in head units."""

    def lip(along: np.ndarray, depth: float) -> np.ndarray:
        """A smile: the corners (`along` -1 and 1) sit higher than the middle, which hangs by `depth`."""
        return np.stack([0.32 * along, 0.52 + depth * (1 - along**2)], axis=1)

    parts = [_arc((0, 0), HEAD_HALF, np.linspace(184, -4, 17))]
    parts += [_arc((x, -0.25), (0.22, 0.1), np.linspace(215, 325, 5)) for x in (-0.38, 0.38)]
    parts += [np.stack([np.zeros(4), np.linspace(-0.06, 0.22, 4)], axis=1)]
    parts += [_arc((0, 0.26), (0.12, 0.07), np.linspace(170, 10, 5))]
    parts += [_arc((x, 0), (0.13, 0.13), np.array([180, 240, 300, 0, 60, 120])) for x in (-0.36, 0.36)]
    parts += [lip(np.linspace(-1, 1, 7), 0.07), lip(np.linspace(0.66, -0.66, 5), 0.28)]
    parts += [lip(np.linspace(-0.84, 0.84, 5), 0.1), lip(np.linspace(0.4, -0.4, 3), 0.22)]
    return np.concatenate(parts)


def _hand(spread: float) -> np.ndarray:
    """The 21 points [21, 2] of an upright hand of length 1, thumb to the right; `spread` opens the fan."""
    thumb, finger = [0.24, 0.42, 0.56, 0.68], np.array([0.47, 0.68, 0.83, 0.95])
    reach = np.array([thumb, 0.98 * finger, 1.03 * finger, 0.96 * finger, 0.84 * finger])
    angle = np.radians([52, 19, 2, -14, -31]) * spread
    fingers = reach[:, :, None] * np.stack([np.sin(angle), -np.cos(angle)], axis=1)[:, None]
    return np.concatenate([np.zeros((1, 2)), fingers.reshape(20, 2)])


class _Sheet:
    """A picture drawn larger than it will be; positions are fractions, widths fractions of the short side."""

    def __init__(self, height: int, width: int, colour: Colour) -> None:
        self.final = (width, height)
        self.size = np.array(self.final) * OVERSAMPLE
        self.short = min(self.final) * OVERSAMPLE
        self.image = Image.new("RGB", (width * OVERSAMPLE, height * OVERSAMPLE), colour)
        self.draw = ImageDraw.Draw(self.image)

    def disc(self, at: Points, radius: float, colour: Colour) -> None:
        x, y = (np.asarray(at) * self.size).tolist()
        r = radius * self.short
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def polygon(self, points: Points, colour: Colour) -> None:
        self.draw.polygon([tuple(p) for p in (np.asarray(points) * self.size).tolist()], fill=colour)

    def line(self, points: Points, width: float, colour: Colour, round_ends: bool = True) -> None:
        pixels = [tuple(p) for p in (np.asarray(points) * self.size).tolist()]
        thick = max(1, round(width * self.short))
        self.draw.line(pixels, fill=colour, width=thick)
        for at in points if round_ends else ():
            self.disc(at, (thick - 1) / 2 / self.short, colour)

    def finished(self, how: Image.Resampling) -> Image.Image:
        return self.image.resize(self.final, how)


def draw_person(posture: Posture, size: int) -> Image.Image:
    """The cartoon person as a square RGB picture of `size` pixels."""
    sheet = _Sheet(size, size, WALL)
    sheet.disc([0.5, 0.5], 0.465, SPOT_RIM)
    sheet.disc([0.5, 0.5], 0.44, SPOT)
    sheet.polygon(posture.on_head(_arc((0, -0.12), (1.06, 1.14), AROUND)), HAIR)
    for x in (-1, 1):
        sheet.line(posture.on_head([[0.76 * x, 0.0], [0.73 * x, 0.8]]), 0.07, HAIR)
    _paint_clothes(sheet, posture)
    _paint_head(sheet, posture)
    for side, hand in zip(("left", "right"), posture.hands, strict=True):
        _paint_arm(sheet, [posture.body[f"{side} {joint}"] for joint in ARM], hand)
    return sheet.finished(Image.Resampling.LANCZOS)


def _paint_clothes(sheet: _Sheet, posture: Posture) -> None:
    body, neck = posture.body, posture.body["neck"]
    for side in SIDES:
        leg = [body[f"{side} {joint}"] for joint in LEG]
        sheet.line(leg, 0.122, TROUSERS_SHADE)
        sheet.line(leg, 0.112, TROUSERS)
    shoulders, hips = ([body[f"{side} {joint}"] for side in SIDES] for joint in ("shoulder", "hip"))
    outward = np.array([[-1.0, 0.0], [1.0, 0.0]])
    hem = np.array(hips) + 0.064 * outward
    chest = shoulders + 0.047 * outward
    sheet.line(shoulders, 0.094, JUMPER)
    sheet.polygon([*chest, *hem[::-1]], JUMPER)
    for down in (0.34, 0.46):
        sheet.line(chest + down * (hem - chest), 0.022, WALL, round_ends=False)
    sheet.line(hem, 0.034, JUMPER_SHADE, round_ends=False)
    sheet.line([neck + np.array([0.0, -0.035]), neck + np.array([0.0, -0.12])], 0.084, SKIN_SHADE)
    collar = neck + _arc((0, -0.044), (0.05, 0.03), np.linspace(0, 180, 25))
    sheet.polygon(collar, SKIN_SHADE)
    sheet.line(collar, 0.02, JUMPER_SHADE)


def _paint_arm(sheet: _Sheet, arm: list[np.ndarray], hand: np.ndarray) -> None:
    for width, colour in ((0.032, SKIN_SHADE), (0.026, SKIN)):
        sheet.polygon(hand[[0, 1, 2, 5, 9, 13, 17]], colour)
        for first in range(1, 21, 4):
            sheet.line(hand[[0, *range(first, first + 4)]], width, colour)
    cuff = arm[2] + 0.1 * (arm[1] - arm[2])
    sleeve = [arm[0], arm[1], cuff]
    for width, colour in ((0.086, JUMPER_SHADE), (0.077, JUMPER)):
        sheet.line(sleeve, width, colour, round_ends=False)
        sheet.disc(arm[1], width / 2, colour)
    # Covers the sleeve's outline where it would cut across the chest.
    sheet.disc(arm[0], 0.046, JUMPER)
    sheet.line([cuff + 0.12 * (arm[1] - arm[2]), arm[2]], 0.086, JUMPER_SHADE, round_ends=False)


def _paint_head(sheet: _Sheet, posture: Posture) -> None:
    face, placed = posture.face, posture.on_head
    for side in SIDES:
        sheet.disc(posture.body[f"{side} ear"], 0.019, SKIN_SHADE)
    sheet.polygon(placed(_arc((0, 0), HEAD_HALF, AROUND)), SKIN)
    crown = _arc((0, -0.12), (0.98, 1.1), np.linspace(176, 364, 48))
    fringe = [[0.8, -0.2], [0.62, -0.5], [0.3, -0.62], [-0.1, -0.58], [-0.5, -0.42], [-0.78, -0.1]]
    sheet.polygon(placed([*crown, *fringe]), HAIR)
    sheet.line(placed(_arc((0.1, -0.2), (0.62, 0.78), np.linspace(235, 300, 12))), 0.012, HAIR_LIGHT)
    for x in (-0.56, 0.56):
        sheet.polygon(placed(_arc((x, 0.34), (0.16, 0.1), AROUND)), CHEEK)
    for eye, brow in ((slice(36, 42), slice(17, 22)), (slice(42, 48), slice(22, 27))):
        sheet.disc(face[eye].mean(axis=0), 0.0155, INK)
        sheet.disc(face[eye].mean(axis=0) + np.array([0.0045, -0.0055]), 0.005, WHITE)
        sheet.line(face[brow], 0.0085, HAIR)
    sheet.line(face[31:36], 0.008, SKIN_SHADE)
    sheet.polygon(face[48:60], MOUTH)
    sheet.polygon(face[[49, 50, 51, 52, 53, 63, 62, 61]], WHITE)


def draw_pose(posture: Posture, height: int, width: int) -> Image.Image:
    """The skeleton of `posture` on black, RGB [height, width], in the colours PoseNet was trained on."""
    sheet = _Sheet(height, width, (0, 0, 0))
    body = np.stack([posture.body[name] for name in JOINTS])

    def stroke(convention: float, least: float) -> float:
        """A radius of the convention's 2160-pixel canvas as a fraction, but at least `least` final pixels:
        thinner strokes would fade away in a picture as small as the demo's."""
        return max(convention / 2160, least / min(height, width))

    for (a, b), colour in zip(LIMBS, rainbow(18), strict=False):
        red, green, blue = (v * 3 // 5 for v in colour)
        _paint_limb(sheet, body[a], body[b], stroke(4, 1.2), (red, green, blue))
    for at, colour in zip(body, rainbow(18), strict=True):
        sheet.disc(at, stroke(4, 1.2), colour)
    for hand in posture.hands:
        for (a, b), colour in zip(HAND_BONES, rainbow(20), strict=True):
            sheet.line(hand[[a, b]], 2 * stroke(1, 0.4), colour)
        for at in hand:
            sheet.disc(at, stroke(4, 0.45), (0, 0, 255))
    for at in posture.face:
        sheet.disc(at, stroke(3, 0.45), (255, 255, 255))
    # A plain mean: a sharper filter overshoots and would brighten the thin strokes beyond their colours.
    return sheet.finished(Image.Resampling.BOX)


def rainbow(count: int) -> list[Colour]:
    """Even steps round the colour wheel from red: 18 for the joints and limbs, 20 for the bones of a hand."""
    wheel = (colorsys.hsv_to_rgb(step / count, 1.0, 1.0) for step in range(count))
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in wheel]


def _paint_limb(sheet: _Sheet, a: np.ndarray, b: np.ndarray, radius: float, colour: Colour) -> None:
    """A thin ellipse from `a` to `b`, `radius` being half its thickness."""
    along = (b - a) * sheet.size
    radii = (float(np.hypot(*along)) / 2, radius * sheet.short)
    outline = _turn(_arc((0, 0), radii, AROUND), float(np.arctan2(along[1], along[0])))
    sheet.polygon((a + b) / 2 + outline / sheet.size, colour)


def draw_face_box(posture: Posture, height: int, width: int) -> Image.Image:
    """A mask [height, width] of 8 bits: 255 in the box about the face, 0 elsewhere."""
    points = np.stack([*posture.face, posture.body["right ear"], posture.body["left ear"]])
    low, high = points.min(axis=0), points.max(axis=0)
    # The face points stop at the brows; a face detector's box reaches some way up the forehead.
    low, high = low - (high - low) * [0.04, 0.25], high + (high - low) * [0.04, 0.03]
    size = np.array([width, height])
    box = np.clip(np.round([low * size, high * size]), 0, size - 1).astype(int)
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).rectangle(box.ravel().tolist(), fill=255)
    return mask


def identity_vector() -> np.ndarray:
    """A fixed vector [512] float32 of length 20 in place of a face recogniser's embedding of the reference.

    The demo's checkpoint is untrained and could make nothing of a real one.
    """
    vector = np.random.Generator(np.random.Philox(key=IDENTITY_KEY)).standard_normal(512)
    return (vector * (IDENTITY_NORM / np.linalg.norm(vector))).astype(np.float32)


def draw_case(folder: Path, frames: int = 12, height: int = 128, width: int = 128, reference_size: int = 256) -> None:
    """Writes a whole case into `folder`: reference, `frames` poses of height x width, masks and identity.

    The movement is one loop: the first frame follows the last. Where height and width differ, the poses are
    stretched just as the square reference is when it is resized to them.
    """
    for part in ("poses", "faces"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    first = posture_at(0.0)
    draw_person(first, reference_size).save(folder / "reference.png")
    draw_face_box(first, reference_size, reference_size).save(folder / "reference_mask.png")
    np.save(folder / "identity.npy", identity_vector())
    for frame in range(frames):
        posture = posture_at(2 * np.pi * frame / frames)
        draw_pose(posture, height, width).save(folder / "poses" / f"frame_{frame}.png")
        draw_face_box(posture, height, width).save(folder / "faces" / f"frame_{frame}.png")
