"""One job in a worker: from a case to its folder, by the same code as sa-run."""

import contextlib
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from sa.runtime.animator import MP4_FILE, animate, made_from
from sa.runtime.batch.job import Job, Outcome
from sa.runtime.case.case import Case
from sa.runtime.console.commands import unexpected
from sa.runtime.errors import InputError, LostWorkerError, UserError
from sa.runtime.events import Event, FrameDecoded, Listener, StepDone, TileDone
from sa.runtime.output.result import RUN_FILE, finish_delivery
from sa.runtime.output.video import frame_path
from sa.runtime.pipeline.pipeline import Pipeline

LOCKS = ".sa-batch"  # a folder in --out
DENOISED = 0.9  # share of a job that is done when its frames begin to be decoded


def work_on(pipeline: Callable[[], Pipeline], job: Job, listen: Listener | None = None) -> Outcome:
    """Do a job, unless it is done already or another command is at work on it. Nothing it does wrong gets out.

    `pipeline` opens the engine set, or gives the one that is open.
    """
    started = time.perf_counter()
    locks = job.out.parent / LOCKS
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{job.name}.lock", timeout=0):  # the system releases it when the process ends
            return _animated(pipeline(), job, listen, started)
    except Timeout:
        return Outcome("busy")
    except LostWorkerError as error:
        return Outcome("failed", str(error), again=True, seconds=time.perf_counter() - started)
    except UserError as error:
        return Outcome("failed", str(error), seconds=time.perf_counter() - started)
    except Exception as error:
        traceback.print_exception(error)
        reason = "out of memory; give fewer workers or frames." if isinstance(error, MemoryError) else unexpected(error)
        return Outcome("failed", reason, again=True, seconds=time.perf_counter() - started)


def share_done(event: Event) -> float | None:
    """How much of a job is done when its run tells this, 0 to 1; None: it says nothing of that."""
    match event:
        case TileDone():
            return DENOISED * (event.step - 1 + event.tile / event.tiles) / event.steps
        case StepDone():
            return DENOISED * event.step / event.steps
        case FrameDecoded(frame, frames):
            return DENOISED + (1 - DENOISED) * frame / frames
    return None


def _animated(pipeline: Pipeline, job: Job, listen: Listener | None, started: float) -> Outcome:
    case = Case.read(job.case)
    if job.part is not None:
        case = case.part(*job.part)
    try:
        # Here from the beginning, so that what is unfinished lies in it, whoever goes on with it.
        job.out.mkdir(exist_ok=True)
    except FileExistsError:
        raise InputError(f"{job.out} is a file: remove it, or choose another --out.") from None
    try:
        finish_delivery(job.out)
        earlier = None if job.force else _earlier(job.out)
        if earlier is not None and earlier.get("made_from") == _wanted(pipeline, case, job) and _whole(job.out, case):
            return _outcome(earlier, skipped=True)
        report = animate(pipeline, case, job.out, job.settings, listen, audio=job.audio, gif=job.gif)
    finally:
        with contextlib.suppress(OSError):
            job.out.rmdir()  # if it is empty
    return _outcome(report, seconds=time.perf_counter() - started)


def _wanted(pipeline: Pipeline, case: Case, job: Job) -> dict:
    # As run.json has it: JSON knows lists alone.
    made: dict = json.loads(json.dumps(made_from(pipeline.prepare(case, job.settings), job.audio, job.gif)))
    return made


def _earlier(out: Path) -> dict | None:
    """run.json of what is there."""
    try:
        report = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None


def _whole(out: Path, case: Case) -> bool:
    """Whether nobody has removed the video or its frames."""
    return (out / MP4_FILE).is_file() and all(frame_path(out / "frames", i).is_file() for i in range(case.frames))


def _outcome(report: dict, seconds: float | None = None, skipped: bool = False) -> Outcome:
    return Outcome(
        "skipped" if skipped else "done",
        seconds=seconds if seconds is not None else sum(report["seconds"].values()),
        frames=report["frames"],
        fps=report["fps"],
        resumed_after_step=report["resumed_after_step"],
    )
