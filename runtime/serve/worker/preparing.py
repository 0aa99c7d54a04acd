"""A job's case: made of a photo and a video as sa-prepare does it, or as it was uploaded; and its preview."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from sa.runtime.case.case import CASE_FILE, Case, open_pose
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import Shapes
from sa.runtime.errors import InputError
from sa.runtime.output.video import encode_mp4
from sa.runtime.prepare.options import ALL, number_from
from sa.runtime.serve.settings import VideoSettings
from sa.runtime.serve.store.folders import CASE, DRIVING, KEYPOINTS, PREVIEW, REFERENCE
from sa.runtime.serve.worker.recorder import PREPARED, Recorder

SIDE = 256  # pixels of a picture in the preview of an uploaded case
SHARES = {"poses": (0.0, 0.6), "drawing": (0.6, 1.0)}  # of the preparation
FPS = 8.0


class JobReporter(Reporter):
    """sa-prepare's reporter, for a job. Each unit of work asks whether to go on."""

    def __init__(self, recorder: Recorder, check: Callable[[], None], frames: int):
        """`frames`: more of them are refused, whatever the video's header said."""
        super().__init__(quiet=True)
        self._recorder, self._check, self._frames = recorder, check, frames

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[..., None]]:
        self._check()
        if name == "poses" and total is not None:
            self._require(total)
        self._recorder.stage_started(name, total)
        began, done = time.perf_counter(), 0
        first, last = SHARES.get(name, (0.0, 0.0))

        def advance(note: str = "") -> None:
            nonlocal done
            done += 1
            self._check()
            if name == "poses":
                self._require(done)
            share = first + (last - first) * min(done / (total or self._frames), 1)
            self._recorder.progress(PREPARED * share, done, total, None, reached=share)

        try:
            yield advance
        finally:
            spent = time.perf_counter() - began
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            self._recorder.stage_ended(name, spent)

    def _require(self, frames: int) -> None:
        """InputError for more frames than one job may take."""
        if frames > self._frames:
            raise InputError(
                f"driving has more than {self._frames} frames to take: give a shorter video, fewer frames, or a lower "
                "prepare.fps."
            )

    def warn(self, text: str) -> None:
        self._recorder.warn(text)


def prepare(
    settings: VideoSettings,
    shapes: Shapes,
    models: Path | None,
    device: str,
    frames: int,
    recorder: Recorder,
    check: Callable[[], None],
) -> Case:
    """The case of the job in whose folder this works, made unless an earlier attempt did.

    InputError for files that cannot be used, CancelledError by `check`.
    """
    reporter = JobReporter(recorder, check, frames)
    if REFERENCE.exists() and not (CASE / CASE_FILE).exists():
        _make(settings, shapes, models, device, reporter)
    if (CASE / PREVIEW.name).exists():
        os.replace(CASE / PREVIEW.name, PREVIEW)
    case = read(settings)
    if not PREVIEW.exists():
        _preview(case, shapes, reporter)
    if settings.identity == "case" and case.identity is None and models is None:
        raise InputError(
            "the case has no identity: put identity.npy into the archive, or set identity to none, which does not keep "
            "the person's face."
        )
    return case


def read(settings: VideoSettings) -> Case:
    """The prepared case, or the part of it that is wanted."""
    case = Case.read(CASE)
    if REFERENCE.exists() or settings.frames is None:
        return case
    start, stop, step = settings.selection
    if step != 1:
        raise InputError("frames of a case are START:STOP, one after another: leave out the step.")
    return case.part(start, case.frames if stop is None else stop)


def _make(settings: VideoSettings, shapes: Shapes, models: Path | None, device: str, reporter: Reporter) -> None:
    try:
        from sa.runtime.prepare.input.timeline import Selection
        from sa.runtime.prepare.preparation import prepare_case
        from sa.runtime.prepare.settings import Settings, with_options
    except ImportError as error:
        raise InputError(
            f"this server makes no cases, as {error.name or error} is not installed: upload a case, as sa-prepare "
            "makes it."
        ) from None
    chosen = Settings(
        reference=REFERENCE,
        driving=DRIVING,
        size=(shapes.width, shapes.height),
        frames=Selection(*settings.selection),
        person=number_from(settings.person),
        everybody=settings.person == ALL,
        models=models,
        identity=settings.identity != "none",
        keypoints=KEYPOINTS if KEYPOINTS.exists() else None,
        device=device,
    )
    prepare_case(with_options(chosen, settings.prepare), CASE, overwrite=True, reporter=reporter)


def _preview(case: Case, shapes: Shapes, reporter: Reporter) -> None:
    """Reference and pose side by side, of a case that was uploaded."""
    scale = min(1, SIDE / max(shapes.width, shapes.height))
    size = round(shapes.width * scale / 2) * 2, round(shapes.height * scale / 2) * 2
    reference = case.reference.resize(size, Image.Resampling.BOX)
    unfinished = PREVIEW.with_suffix(".part")
    with reporter.stage("drawing", case.frames) as advance:

        def pictures() -> Iterator[Image.Image]:
            for pose in case.poses:
                both = Image.new("RGB", (2 * size[0], size[1]))
                both.paste(reference, (0, 0))
                both.paste(open_pose(pose).resize(size, Image.Resampling.BILINEAR), (size[0], 0))
                yield both
                advance()

        encode_mp4(unfinished, pictures(), case.fps or FPS)
    os.replace(unfinished, PREVIEW)
