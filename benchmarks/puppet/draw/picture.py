"""A puppet's picture, and the box of its face."""

import numpy as np
from PIL import Image, ImageDraw

from sa.benchmarks.puppet.draw.canvas import AROUND, Canvas, Colour, arc
from sa.benchmarks.puppet.draw.identity import Identity, shade
from sa.benchmarks.puppet.draw.motion import SIDES, Posture, outline

INK, WHITE = (46, 36, 40), (255, 252, 246)
FINGER_WIDTH = 0.026  # of the picture at zoom 1
FINGER = 2  # pixels around the points of a hand that its fingers take


def draw_puppet(identity: Identity, posture: Posture, size: int) -> Image.Image:
    """The puppet in front of its backdrop: a square RGB picture, `size` pixels along a side."""
    canvas = Canvas(size, identity.wall)
    _backdrop(canvas, identity)
    _back_hair(canvas, identity, posture)
    _clothes(canvas, identity, posture)
    _head(canvas, identity, posture)
    for side, hand in zip(("left", "right"), posture.hands, strict=True):
        _arm(canvas, identity, posture, side, hand)
    return canvas.finished()


def face_box(posture: Posture, size: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels, inclusive: about the box a face detector gives."""
    low, high = posture.face.min(axis=0), posture.face.max(axis=0)
    # The points stop at the brows; a detector's box reaches some way up the forehead.
    low = low - (high - low) * [0.02, 0.3]
    return tuple(np.clip(np.round([low * size, high * size]), 0, size - 1).astype(int).ravel().tolist())


def hand_boxes(posture: Posture, size: int) -> np.ndarray:
    """Left, top, right, bottom of both hands [2, 4] int in pixels, inclusive, cut off a pixel beside the picture."""
    ends = posture.hands.min(axis=1) * size - FINGER, posture.hands.max(axis=1) * size + FINGER
    return np.clip(np.round(np.concatenate(ends, axis=1)), -1, size).astype(int)


def draw_face_mask(posture: Posture, size: int) -> Image.Image:
    """8 bits: 255 in the face's box, 0 elsewhere."""
    mask = Image.new("L", (size, size), 0)
    ImageDraw.Draw(mask).rectangle(face_box(posture, size), fill=255)
    return mask


def _backdrop(canvas: Canvas, identity: Identity) -> None:
    accent = identity.accent
    if identity.backdrop == "disc":
        canvas.disc([0.5, 0.45], 0.42, accent)
    elif identity.backdrop == "floor":
        canvas.polygon([[0, 0.74], [1, 0.74], [1, 1.01], [0, 1.01]], accent)
    elif identity.backdrop == "halves":
        canvas.polygon([[0, 0], [0.5, 0], [0.36, 1.01], [0, 1.01]], accent)


def _back_hair(canvas: Canvas, identity: Identity, posture: Posture) -> None:
    width, hair = identity.face_width, shade(identity.hair, 0.8)
    if identity.hair_style in ("bob", "long"):
        end = 0.75 if identity.hair_style == "bob" else 1.75
        sides = [[width + 0.2, 0.0], [width + 0.26, end], [-width - 0.26, end], [-width - 0.2, 0.0]]
        canvas.polygon(posture.on_head(sides), hair)
    elif identity.hair_style == "bun":
        canvas.disc(posture.on_head([0.0, -1.3]), 0.42 * posture.head_unit, hair)
    elif identity.hair_style == "afro":
        canvas.polygon(posture.on_head(arc((0, -0.32), (width + 0.5, 1.25), AROUND)), identity.hair)


def _clothes(canvas: Canvas, identity: Identity, posture: Posture) -> None:
    body, zoom = posture.body, posture.zoom
    for side in SIDES:
        leg = [body[f"{side} {joint}"] for joint in ("hip", "knee", "ankle")]
        canvas.line(leg, 0.125 * zoom, identity.legs)
    middle = (body["right hip"] + body["left hip"]) / 2
    canvas.line([body["right hip"], middle, body["left hip"]], 0.11 * zoom, identity.legs)
    shoulders, hips = ([body[f"{side} {joint}"] for side in SIDES] for joint in ("shoulder", "hip"))
    outward = np.array([[-1.0, 0.0], [1.0, 0.0]]) * zoom
    chest, hem = np.array(shoulders) + 0.03 * outward, np.array(hips) + 0.052 * outward
    canvas.line(shoulders, identity.limb * zoom, identity.top)
    canvas.polygon([*chest, *hem[::-1]], identity.top)
    _pattern(canvas, identity, posture, chest, hem)
    canvas.line(hem, 0.02 * zoom, shade(identity.top), round_ends=False)
    neck = posture.on_head([[0.0, 0.7], [0.0, 1.12]])
    canvas.line(neck, 0.085 * zoom, shade(identity.skin))


def _pattern(canvas: Canvas, identity: Identity, posture: Posture, chest: np.ndarray, hem: np.ndarray) -> None:
    def across(down: float, inset: float = 0.0) -> np.ndarray:
        left, right = chest + down * (hem - chest)
        return np.array([left + inset * (right - left), right - inset * (right - left)])

    if identity.pattern == "stripes":
        for down in (0.26, 0.5, 0.74):
            canvas.line(across(down), 0.032 * posture.zoom, identity.trim, round_ends=False)
    elif identity.pattern == "badge":
        canvas.disc(across(0.42).mean(axis=0), 0.052 * posture.zoom, identity.trim)
    elif identity.pattern == "block":
        canvas.polygon([*across(0.5), *across(1.0)[::-1]], identity.trim)
    elif identity.pattern == "sash":
        canvas.polygon([*across(0.0, 0.38), *across(1.0, 0.38)[::-1]], identity.trim)


def _arm(canvas: Canvas, identity: Identity, posture: Posture, side: str, hand: np.ndarray) -> None:
    zoom = posture.zoom
    shoulder, elbow, wrist = (posture.body[f"{side} {joint}"] for joint in ("shoulder", "elbow", "wrist"))
    skin = identity.skin
    canvas.polygon(hand[[0, 1, 2, 5, 9, 13, 17]], skin)
    for first in range(1, 21, 4):
        canvas.line(hand[[0, *range(first, first + 4)]], FINGER_WIDTH * zoom, skin)
    end = wrist if identity.long_sleeves else shoulder + 0.62 * (elbow - shoulder)
    sleeve = [shoulder, elbow, wrist] if identity.long_sleeves else [shoulder, end]
    if not identity.long_sleeves:
        canvas.line([shoulder, elbow, wrist], 0.056 * zoom, skin)
    width = identity.limb * zoom
    canvas.line(sleeve, width, shade(identity.top), round_ends=identity.long_sleeves)
    canvas.line(sleeve, width * 0.78, identity.top, round_ends=identity.long_sleeves)
    canvas.disc(shoulder, width / 2, identity.top)  # hides the sleeve's edge across the chest


def _head(canvas: Canvas, identity: Identity, posture: Posture) -> None:
    unit, dark = posture.head_unit, shade(identity.skin)
    for side in SIDES:
        canvas.disc(posture.body[f"{side} ear"], 0.16 * unit, dark)
    canvas.polygon(posture.on_head(outline(identity)), identity.skin)
    if identity.beard:
        jaw = outline(identity, np.linspace(-8, 188, 33))
        inner = outline(identity, np.linspace(188, -8, 33)) * [0.72, 0.42] + [0.0, 0.05]
        canvas.polygon(posture.on_head([*jaw, *inner]), identity.hair)
    if identity.cheeks:
        for sign in (-1, 1):
            canvas.disc(posture.on_face([sign * (identity.eye_gap + 0.16), 0.34]), 0.15 * unit, _blush(identity.skin))
    _features(canvas, identity, posture)
    _front_hair(canvas, identity, posture)


def _blush(skin: Colour) -> Colour:
    return tuple(round(0.72 * a + 0.28 * b) for a, b in zip(skin, (235, 90, 90), strict=True))


def _features(canvas: Canvas, identity: Identity, posture: Posture) -> None:
    face, unit, size = posture.face, posture.head_unit, identity.eye_size
    for eye, brow, sign in ((slice(36, 42), slice(17, 22), -1), (slice(42, 48), slice(22, 27), 1)):
        centre = face[eye].mean(axis=0)
        canvas.disc(centre, size * 1.15 * unit, WHITE)
        canvas.disc(centre, size * 0.82 * unit, identity.iris)
        canvas.disc(centre, size * 0.42 * unit, INK)
        canvas.line(face[brow], identity.brow_weight * unit, shade(identity.hair, 0.75))
        if identity.glasses:
            rim = posture.on_face(arc((sign * identity.eye_gap, 0.0), (0.3, 0.27), AROUND))
            canvas.line(rim, 0.07 * unit, INK)
    if identity.glasses:
        canvas.line(posture.on_face([[-0.1, -0.04], [0.1, -0.04]]), 0.07 * unit, INK)
    canvas.line(face[31:36], 0.08 * unit, shade(identity.skin, 0.74))
    canvas.polygon(face[48:60], (176, 62, 66))
    canvas.line(face[48:55], 0.06 * unit, (140, 44, 52))


def _front_hair(canvas: Canvas, identity: Identity, posture: Posture) -> None:
    if identity.hair_style == "bald":
        return
    wide = identity.face_width
    crown = arc((0, -0.1), (wide + 0.14, 1.12), np.linspace(176, 364, 33))
    fringes = {
        "short": [[0.9, -0.35], [0.6, -0.56], [0.2, -0.62], [-0.3, -0.5], [-0.7, -0.6], [-0.94, -0.3]],
        "bob": [[0.86, 0.15], [0.8, -0.36], [0.0, -0.42], [-0.8, -0.36], [-0.86, 0.15]],
        "long": [[0.86, 0.25], [0.74, -0.3], [0.1, -0.84], [-0.74, -0.3], [-0.86, 0.25]],
        "bun": [[0.92, -0.2], [0.7, -0.6], [0.0, -0.74], [-0.7, -0.6], [-0.92, -0.2]],
        "afro": [[0.96, -0.2], [0.62, -0.5], [0.0, -0.6], [-0.62, -0.5], [-0.96, -0.2]],
    }
    fringe = np.array(fringes[identity.hair_style]) * [wide, 1.0]
    canvas.polygon(posture.on_head([*crown, *fringe]), identity.hair)
