"""Writes what a job's run tells into the store: events for clients, progress, and what things took."""

import os
import time
from pathlib import Path

import numpy as np
from PIL import Image

from sa.runtime.events import (
    Event,
    FrameDecoded,
    Message,
    PoseEncoded,
    RefinementIteration,
    StageEnded,
    StageStarted,
    StepDone,
    TileDone,
    Warned,
)
from sa.runtime.serve.store.folders import STEP
from sa.runtime.serve.store.job import Job
from sa.runtime.serve.store.measured import FRAME, GRADIENT, UNET_CALL
from sa.runtime.serve.store.work import Work
from sa.runtime.serve.worker.public import Public

EVERY = 0.5  # seconds between events of progress: steps, stages and warnings are all told
SHOWN = 8  # frames of a step's preview, side by side
# Percent of a job: preparing until the first, denoising until the second, decoding until the third.
PREPARED, DENOISED, DECODED = 10.0, 85.0, 99.0


class Recorder:
    """A listener of a run, which also counts what is done."""

    def __init__(self, work: Work, job: Job, public: Public):
        self._work, self._job, self._public = work, job, public
        self._told = 0.0  # when there was last an event of progress
        self._lap = time.perf_counter()  # when the last call of an engine ended
        self._stage: str | None = None
        self.spent: dict[str, tuple[int, float]] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted(stage, total):
                self.stage_started(stage, total)
            case StageEnded(stage, seconds):
                self.stage_ended(stage, seconds)
            case PoseEncoded(pose, poses):
                self.progress(PREPARED, pose, poses, None)
            case TileDone():
                self._lap_ended(UNET_CALL)
                done = (event.step - 1) * event.tiles + event.tile
                self._denoising(done, event.steps * event.tiles, event.seconds_left)
            case RefinementIteration():
                self._lap_ended(GRADIENT)
                done = event.step - 1
                self._denoising(done, event.steps, event.seconds_left)
            case StepDone():
                self._step(event)
            case FrameDecoded(frame, frames, left):
                self._lap_ended(FRAME)
                percent = DENOISED + (DECODED - DENOISED) * frame / frames
                self.progress(percent, frame, frames, left, reached=1002 + frame)
            case Message(text):
                self._work.tell(self._job.id, "message", {"text": self._public(text)})
            case Warned(text):
                self.warn(text)

    def stage_started(self, stage: str, total: int | None) -> None:
        self._stage, self._lap, self._told = stage, time.perf_counter(), 0.0
        self._work.tell(self._job.id, "stage", {"stage": stage, "total": total}, stage=stage)

    def stage_ended(self, stage: str, seconds: float) -> None:
        self._add(f"stage {stage}", seconds)

    def progress(
        self, percent: float, done: int, total: int | None, left: float | None, reached: float = 0, now: bool = False
    ) -> None:
        """Tell of it, unless that was done just now."""
        if not now and time.monotonic() - self._told < EVERY:
            return
        self._told = time.monotonic()
        told = {"stage": self._stage, "progress": round(percent, 1), "done": done, "total": total}
        if left is not None:
            told["seconds_left"] = round(left, 1)
        self._work.tell(
            self._job.id, "progress", told, self._stage, progress=percent, seconds_left=left, reached=reached
        )

    def warn(self, text: str) -> None:
        self._work.warn(self._job.id, self._public(text))

    def _denoising(self, done: int, total: int, left: float | None) -> None:
        self.progress(PREPARED + (DENOISED - PREPARED) * done / total, done, total, left)

    def _step(self, event: StepDone) -> None:
        if event.preview is not None:
            _write_strip(event.preview(), STEP)
        percent = PREPARED + (DENOISED - PREPARED) * event.step / event.steps
        left = event.seconds_left
        told = {"step": event.step, "steps": event.steps, "progress": round(percent, 1)}
        if left is not None:
            told["seconds_left"] = round(left, 1)
        self._work.tell(
            self._job.id, "step", told, self._stage, progress=percent, seconds_left=left, reached=1 + event.step
        )
        self._lap = time.perf_counter()

    def _lap_ended(self, what: str) -> None:
        now = time.perf_counter()
        self._add(what, now - self._lap)
        self._lap = now

    def _add(self, what: str, seconds: float) -> None:
        count, spent = self.spent.get(what, (0, 0.0))
        self.spent[what] = count + 1, spent + seconds


def _write_strip(frames: np.ndarray, path: Path) -> None:
    """frames: [T, h, w, 3] uint8 RGB. Some of them side by side; the file is there whole or not at all."""
    chosen = np.linspace(0, len(frames) - 1, min(SHOWN, len(frames))).round().astype(int)
    unfinished = path.with_suffix(".part")
    Image.fromarray(np.hstack(list(frames[chosen]))).save(unfinished, format="PNG")
    os.replace(unfinished, path)
