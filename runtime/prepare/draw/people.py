"""A picture of the persons in a frame, with the numbers by which --person chooses one."""

import cv2
import numpy as np
from PIL import Image

from sa.runtime.prepare.motion.tracking import visible_boxes

LONGEST = 1024  # pixels of the picture's longer side
COLOURS = ((255, 80, 60), (60, 170, 255), (90, 220, 90), (255, 200, 40), (220, 110, 255), (60, 230, 220))
MARGIN = 0.08  # of the box's longer side, around the body points


def number_people(picture: np.ndarray, keypoints: np.ndarray) -> Image.Image:
    """picture: [H, W, 3] uint8 RGB; keypoints: [persons, 133, 3] in its pixels. A box and a number for each person."""
    scale = min(1, LONGEST / max(picture.shape[:2]))
    size = max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1)
    shown = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    unit = max(size) / LONGEST
    boxes = visible_boxes(keypoints)
    for number, box in enumerate(boxes[~np.isnan(boxes[:, 0])] * scale):
        colour = COLOURS[number % len(COLOURS)]
        margin = MARGIN * (box[2:] - box[:2]).max()
        first, last = (np.clip(corner, 0, np.subtract(size, 1)) for corner in (box[:2] - margin, box[2:] + margin))
        corners = [(int(x), int(y)) for x, y in (first, last)]
        cv2.rectangle(shown, corners[0], corners[1], colour, max(round(3 * unit), 1))
        place = corners[0][0] + round(8 * unit), corners[0][1] + round(48 * unit)
        for ink, thickness in ((0, 0, 0), 10), (colour, 4):
            cv2.putText(
                shown, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, 1.6 * unit, ink, max(round(thickness * unit), 1),
                lineType=cv2.LINE_AA,
            )  # fmt: skip
    return Image.fromarray(shown)
