"""Writes the case's pictures: poses, face masks and the preview."""

import os
import time
from collections import Counter, deque
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


@dataclass(frozen=True)
class Rendered:
    """What became of one frame."""

    preview: Image.Image
    black: bool  # the pose shows nothing
    faceless: bool
    seconds: dict[str, float]  # by part


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
    seconds: Counter[str] = field(default_factory=Counter)  # by part, of all workers together

    def __post_init__(self) -> None:
        (self.folder / "poses").mkdir(exist_ok=True)
        if self.face_masks:
            (self.folder / "faces").mkdir(exist_ok=True)
        self._preview = Preview(self.reference)

    def render(self, scenes: Iterable[Scene]) -> Iterator[Image.Image]:
        """Write the pictures of all frames; yields the preview of each.

        Threads draw ahead of what was yielded. OpenCV and Pillow let others run while they work.
        """
        with ThreadPoolExecutor(self.workers, "drawing") as pool:
            waiting: deque[tuple[str, Future[Rendered]]] = deque()
            try:
                for number, scene in enumerate(scenes):
                    waiting.append((scene.frame.name, pool.submit(self._render, scene, number)))
                    if len(waiting) > AHEAD * self.workers:
                        yield self._noted(*waiting.popleft())
                while waiting:
                    yield self._noted(*waiting.popleft())
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

    def _noted(self, name: str, rendering: "Future[Rendered]") -> Image.Image:
        """Wait for the next frame and note what became of it."""
        number, frame = len(self.names), rendering.result()
        self.names[frame_path(self.folder, number).name] = name
        if frame.faceless:
            self.without_face.append(number)
        if frame.black:
            self.black.append(number)
        self.seconds.update(frame.seconds)
        return frame.preview

    def _render(self, scene: Scene, number: int) -> Rendered:
        """Write pose and mask of a frame."""
        began = time.perf_counter()
        pose = self._pose(frame_path(self.folder / "poses", number), scene)
        drawn = time.perf_counter()
        box = None
        if scene.followed is not None and self.detector is None:
            box = face_box(scene.followed.points[0], scene.followed.scores[0], *self.reference.size)
        faceless = self.face_masks and self._mask(frame_path(self.folder / "faces", number), scene.frame, box)
        masked = time.perf_counter()
        preview = self._preview.picture(scene.frame.pixels, pose, box, scene.alignment, scene.note)
        ended = time.perf_counter()
        parts = {"pose": drawn - began, "mask": masked - drawn, "preview": ended - masked}
        return Rendered(preview, not pose.any(), faceless, parts)

    def _pose(self, file: Path, scene: Scene) -> np.ndarray:
        """[H, W, 3] uint8: the pose image, written unless it is there."""
        if file.exists():
            with Image.open(file) as drawn:
                return np.asarray(drawn)
        pose = (draw_pose if self.published else draw_reduced)(scene.drawn, *self.reference.size)
        _save(file, pose)
        return pose

    def _mask(self, file: Path, frame: Frame, box: Box | None) -> bool:
        """Write the mask unless it is there. True if the frame shows no face."""
        if self.detector is None:
            if not file.exists():
                _save(file, draw_mask([] if box is None else [box], *self.reference.size))
            return box is None
        height, width = frame.pixels.shape[:2]
        if not file.exists():
            boxes = published_boxes(self.detector.detect(frame.pixels), width, height)
            _save(file, draw_mask(boxes or [Box(0, height - 1, 0, width - 1)], width, height))
        with Image.open(file) as mask:
            return bool(np.asarray(mask).all())


def _save(file: Path, pixels: np.ndarray) -> None:
    """Write the file completely or not at all."""
    part = file.with_suffix(".part")
    Image.fromarray(pixels).save(part, format="PNG")
    os.replace(part, file)
