"""preview.mp4 shows whether the poses fit the reference. It has four pictures side by side.

They are the reference; the driving frame; the pose over the driving frame, which is moved like the pose; and the pose
and face box over the reference.
"""

import cv2
import numpy as np
from PIL import Image

from sa.runtime.prepare.motion.alignment import Alignment
from sa.runtime.refinement.crops import Box

LONGEST = 512  # pixels of a picture's side
BOX_COLOUR = (0, 255, 0)
DIMMED = 0.5  # brightness of the picture behind a pose
COVERING = 100  # from this brightness on, a pose hides the picture under it
SHADES = (255 * DIMMED * (1 - np.minimum(np.arange(256) / COVERING, 1))).astype(np.uint8)
THICKER = np.ones((3, 3), np.uint8)


class Preview:
    """Makes the frames of preview.mp4."""

    def __init__(self, reference: Image.Image):
        scale = min(1, LONGEST / max(reference.size))
        self._width, self._height = (max(round(side * scale / 2) * 2, 2) for side in reference.size)
        self._reference = self._fitted(np.asarray(reference))

    def picture(
        self, driving: np.ndarray, pose: np.ndarray, box: Box | None, alignment: Alignment, note: str
    ) -> Image.Image:
        """One frame of the preview.

        driving [h, w, 3] and pose [H, W, 3]: uint8 RGB; box: the face's, in the pose's pixels; alignment: brings the
        driving picture under the pose; note: a few words to be written over the last picture.
        """
        small_pose = self._fitted(cv2.dilate(pose, THICKER))  # its lines are broken and only one or two pixels wide
        over_reference = self._under(self._reference, small_pose)
        if box is not None:
            across, down = self._width / pose.shape[1], self._height / pose.shape[0]
            first = round(box.left * across), round(box.top * down)
            last = round(box.right * across), round(box.bottom * down)
            cv2.rectangle(over_reference, first, last, BOX_COLOUR, 2)
        self._write(over_reference, note)
        moved = self._under(self._moved(driving, alignment), small_pose)
        return Image.fromarray(np.hstack([self._reference, self._contained(driving), moved, over_reference]))

    def _fitted(self, picture: np.ndarray) -> np.ndarray:
        return cv2.resize(picture, (self._width, self._height), interpolation=cv2.INTER_AREA)

    def _contained(self, picture: np.ndarray) -> np.ndarray:
        """The whole picture with black bars."""
        scale = min(self._width / picture.shape[1], self._height / picture.shape[0])
        width, height = max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1)
        left, top = (self._width - width) // 2, (self._height - height) // 2
        panel = np.zeros((self._height, self._width, 3), np.uint8)
        panel[top : top + height, left : left + width] = cv2.resize(
            picture, (width, height), interpolation=cv2.INTER_AREA
        )
        return panel

    def _write(self, picture: np.ndarray, note: str) -> None:
        """The note along the lower edge."""
        scale = picture.shape[1] / LONGEST
        place = round(8 * scale), picture.shape[0] - round(10 * scale)
        for colour, thickness in ((0, 0, 0), 4), ((255, 255, 255), 1):
            cv2.putText(
                picture, note, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, colour, thickness, lineType=cv2.LINE_AA
            )

    def _moved(self, picture: np.ndarray, alignment: Alignment) -> np.ndarray:
        """The driving frame, moved so that its person is where the output has it."""
        panel = np.array([self._width, self._height])
        scale = alignment.scale * panel / picture.shape[1::-1]
        matrix = np.column_stack([np.diag(scale), alignment.offset * panel])
        return cv2.warpAffine(picture, matrix, (self._width, self._height), flags=cv2.INTER_LINEAR)

    @staticmethod
    def _under(picture: np.ndarray, pose: np.ndarray) -> np.ndarray:
        shade = cv2.LUT(np.maximum.reduce(cv2.split(pose)), SHADES)
        return cv2.add(cv2.multiply(picture, cv2.merge([shade] * 3), scale=1 / 255), pose)
