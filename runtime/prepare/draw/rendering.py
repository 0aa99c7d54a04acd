"""Writes the case's pictures: poses, face masks and the preview."""

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from sa.runtime.output.video import frame_path
from sa.runtime.prepare.draw.drawing import draw_pose
from sa.runtime.prepare.draw.face_boxes import draw_mask, face_box
from sa.runtime.prepare.draw.preview import Preview
from sa.runtime.prepare.draw.reduced import draw_reduced
from sa.runtime.prepare.estimate.face_networks import FaceNetworks, published_boxes
from sa.runtime.prepare.input.driving import Frame
from sa.runtime.prepare.motion.alignment import Alignment
from sa.runtime.prepare.whole_body import Pose
from sa.runtime.refinement.crops import Box

AHEAD = 2  # frames for each worker that are read before their poses are drawn


@dataclass(frozen=True)
class Scene:
    """What is to be drawn of one frame."""

    frame: Frame
    drawn: Pose  # the persons to draw, in shares of the output
    followed: Pose | None  # the followed person; None: it is not there
    alignment: Alignment  # that brings the driving picture under the pose
    note: str  # for the preview


@dataclass
class Renderer:
    """Writes poses/ and faces/ in `folder`. Pictures that a killed run has already written are kept."""

    folder: Path
    reference: Image.Image
    published: bool  # draw small outputs as published too
    detector: FaceNetworks | None  # for published masks, which mark the faces of the driving frames
    face_masks: bool = True
    workers: int = 1
    names: dict[str, str] = field(default_factory=dict)
    without_face: list[int] = field(default_factory=list)
    black: list[int] = field(default_factory=list)  # frames whose pose shows nothing
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("poses", "masks", "preview"), 0.0))

    def __post_init__(self) -> None:
        (self.folder / "poses").mkdir(exist_ok=True)
        if self.face_masks:
            (self.folder / "faces").mkdir(exist_ok=True)
        self._preview = Preview(self.reference)

    def render(self, scenes: Iterable[Scene]) -> Iterator[Image.Image]:
        """Write the pictures of all frames; yields the preview of each.

        Poses are drawn ahead by threads: OpenCV and Pillow let others run while they work.
        """
        with ThreadPoolExecutor(self.workers, "drawing") as pool:
            waiting: deque[tuple[Scene, Future[float]]] = deque()
            try:
                for number, scene in enumerate(scenes):
                    waiting.append((scene, pool.submit(self._draw, scene, number)))
                    if len(waiting) > AHEAD * self.workers:
                        yield self._finish(*waiting.popleft())
                while waiting:
                    yield self._finish(*waiting.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def warnings(self) -> list[str]:
        """Sentences for the user about the masks."""
        if not self.face_masks:
            return ["no faces/ were made: the published masks need a face detector, give --models."]
        if not self.without_face:
            return []
        how = "all white, as published" if self.detector is not None else "black"
        return [f"{len(self.without_face)} of {len(self.names)} frames show no face: their masks are {how}."]

    def _draw(self, scene: Scene, number: int) -> float:
        """Write the pose of a frame; returns the seconds it took."""
        began = time.perf_counter()
        file = frame_path(self.folder / "poses", number)
        if not file.exists():
            _save(file, (draw_pose if self.published else draw_reduced)(scene.drawn, *self.reference.size))
        return time.perf_counter() - began

    def _finish(self, scene: Scene, drawing: "Future[float]") -> Image.Image:
        """Write the mask of the next frame, whose pose is being drawn, and return its preview."""
        number = len(self.names)
        self.seconds["poses"] += drawing.result()
        began = time.perf_counter()
        pose_file, mask_file = (frame_path(self.folder / name, number) for name in ("poses", "faces"))
        self.names[pose_file.name] = scene.frame.name
        box = None
        if scene.followed is not None and self.detector is None:
            box = face_box(scene.followed.points[0], scene.followed.scores[0], *self.reference.size)
        if self.face_masks:
            self._write_mask(mask_file, number, scene.frame, box)
        masked = time.perf_counter()
        with Image.open(pose_file) as drawn:
            pose = np.asarray(drawn)
        if not pose.any():
            self.black.append(number)
        picture = self._preview.picture(scene.frame.pixels, pose, box, scene.alignment, scene.note)
        self.seconds["masks"] += masked - began
        self.seconds["preview"] += time.perf_counter() - masked
        return picture

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
