"""Writes the case's pictures frame by frame: poses, face masks and the preview."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from sa.runtime.output.video import frame_path
from sa.runtime.prepare.draw.drawing import draw_pose
from sa.runtime.prepare.draw.face_boxes import draw_mask, face_box
from sa.runtime.prepare.draw.preview import Preview
from sa.runtime.prepare.estimate.face_networks import FaceNetworks, published_boxes
from sa.runtime.prepare.input.driving import Frame
from sa.runtime.prepare.motion.alignment import Alignment
from sa.runtime.prepare.whole_body import to_pose
from sa.runtime.refinement.crops import Box


@dataclass
class Renderer:
    """Writes poses/ and faces/ in `folder`. Pictures that a killed run has already written are kept."""

    folder: Path
    reference: Image.Image
    alignment: Alignment
    everybody: bool  # draw all persons, not only the one that is followed
    detector: FaceNetworks | None  # for published masks, which mark the faces of the driving frames
    face_masks: bool = True
    names: dict[str, str] = field(default_factory=dict)
    without_face: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "poses").mkdir(exist_ok=True)
        if self.face_masks:
            (self.folder / "faces").mkdir(exist_ok=True)
        self._preview = Preview(self.reference, self.alignment)

    def render(self, frame: Frame, keypoints: np.ndarray, person: int | None) -> Image.Image:
        """Write the next frame and return its preview. keypoints: [persons, 133, 3]; person: whom to follow."""
        number = len(self.names)
        pose_file, mask_file = (frame_path(self.folder / name, number) for name in ("poses", "faces"))
        self.names[pose_file.name] = frame.name
        height, width = frame.pixels.shape[:2]
        pose = to_pose(keypoints, width, height).moved(self.alignment.scale, self.alignment.offset)
        followed = [] if person is None else [person]
        box = None
        if followed and self.detector is None:
            box = face_box(pose.points[person], pose.scores[person], *self.reference.size)
        if self.face_masks:
            self._write_mask(mask_file, number, frame, box)
        if not pose_file.exists():
            _save(pose_file, draw_pose(pose if self.everybody else pose.of(followed), *self.reference.size))
        with Image.open(pose_file) as drawn:
            return self._preview.picture(frame.pixels, np.asarray(drawn), box)

    def warnings(self) -> list[str]:
        """Sentences for the user about the masks."""
        if not self.face_masks:
            return ["no faces/ were made: the published masks need a face detector, give --models."]
        if not self.without_face:
            return []
        how = "all white, as published" if self.detector is not None else "black"
        return [f"{len(self.without_face)} of {len(self.names)} frames show no face: their masks are {how}."]

    def _write_mask(self, file: Path, number: int, frame: Frame, box: Box | None) -> None:
        if self.detector is None:
            if box is None:
                self.without_face.append(number)
            if not file.exists():
                _save(file, draw_mask([] if box is None else [box], *self.reference.size))
            return
        height, width = frame.pixels.shape[:2]
        if not file.exists():
            boxes = published_boxes(self.detector.detect(frame.pixels), width, height)
            _save(file, draw_mask(boxes or [Box(0, height - 1, 0, width - 1)], width, height))
        with Image.open(file) as mask:
            if np.asarray(mask).all():
                self.without_face.append(number)


def _save(file: Path, pixels: np.ndarray) -> None:
    """Write the file completely or not at all."""
    part = file.with_suffix(".part")
    Image.fromarray(pixels).save(part, format="PNG")
    os.replace(part, file)
