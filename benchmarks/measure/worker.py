"""The process that sa-bench starts for one contender in one round, so that contenders share no memory and no caches.

It reads a job (JSON) from its argument. It prints one JSON line per subject measured, then one with its peak memory.
Nothing else goes to stdout.
"""

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sa.benchmarks.measure.results import QUALITY, WHOLE_RUN
from sa.benchmarks.measure.subjects import Subject, open_subject
from sa.benchmarks.measure.timing import Samples, sample
from sa.benchmarks.peers import REFERENCE
from sa.runtime.animator import animate
from sa.runtime.backends.base import Engine
from sa.runtime.backends.composed.plain_unet import PlainUNet
from sa.runtime.backends.composed.window_gradient import WindowGradient
from sa.runtime.backends.video_unet import VideoUNet
from sa.runtime.case.case import Case
from sa.runtime.contract import ROLES, Manifest, Role
from sa.runtime.engine_set.memory_plan import Choices
from sa.runtime.engine_set.open import EngineSet, EngineSource, OpenSingle
from sa.runtime.engine_set.verify import read_manifest
from sa.runtime.errors import UserError
from sa.runtime.events import Event, FrameDecoded, RefinementIteration, StageEnded, StageStarted, TileDone
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.pipeline.settings import Settings
from sa.runtime.refinement.hjb import RefineSettings
from sa.runtime.system.memory import peak_memory


def main() -> None:
    job = json.loads(sys.argv[1])
    if job.get("memory_limit") is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (job["memory_limit"], job["memory_limit"]))
    # Engine libraries may print to stdout at any time, so only the results keep the real one.
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    contender, subject = _contender(job), job["subject"]

    def emit(**line: object) -> None:
        print(json.dumps(line), file=results, flush=True)

    if isinstance(contender, Peer):
        contender.prepare(ROLES if subject in (WHOLE_RUN, QUALITY) else [subject])
    if job["peer"] == REFERENCE:
        with open_subject(contender, subject) as opened:
            _store(opened, job["outputs"])
    elif subject == QUALITY:
        from sa.benchmarks.measure.quality_trial import measure_quality

        emit(**measure_quality(contender, job["puppets"]))
    elif subject == WHOLE_RUN:
        for line in measure_run(contender, job["frames"], job["steps"]):
            emit(**line)
    else:
        emit(**measure_engine(contender, subject, job["repetitions"], job["outputs"]))
    emit(peak_memory=peak_memory())


def _contender(job: dict) -> EngineSource:
    engines = Path(job["engines"])
    if job["peer"] is None:
        return EngineSet.open(engines, device=job.get("device"), threads=job.get("threads"))
    # A peer needs the set's shapes alone, and its Python may lack the library that runs the set.
    manifest, _ = read_manifest(engines)
    return Peer(job["peer"], Path(job["checkpoint"]), manifest, Path(job["cache"]), job.get("threads"), job["device"])


@dataclass(frozen=True)
class Peer:
    """A checkpoint's networks at an engine set's shapes: as `sa.benchmarks.peers` has them, or this project's own.

    The latter, in float32 Paddle, is "reference".
    """

    kind: str
    folder: Path  # the checkpoint
    manifest: Manifest
    cache: Path
    threads: int | None
    device: str  # that of the engine set it is compared with; "reference" runs on the CPU
    digest: str = ""
    low_memory: bool = False

    @property
    def backend(self) -> str:
        """The backend of the engine set it is compared with."""
        return self.manifest.backend

    def prepare(self, subjects: Iterable[str]) -> None:
        """Make ONNX exports. That happens once, in the first round, and is not part of loading."""
        if self.kind == "onnx":
            from sa.benchmarks.peers import prepare

            for role in subjects:
                if role in ROLES:
                    prepare(self.kind, self.folder, role, self.manifest.shapes, self.cache)

    def open_single(self, role: Role) -> Engine:
        if self.kind == REFERENCE:
            from sa.benchmarks.peers.reference import ReferenceEngine

            return ReferenceEngine(self.folder, role, self.manifest.shapes, self.threads)
        from sa.benchmarks.peers import open_peer

        return open_peer(self.kind, self.folder, role, self.manifest.shapes, self.threads, self.cache, self.device)

    def open_unet(self, single: OpenSingle | None = None, cache_interval: int = 1) -> VideoUNet:
        if cache_interval != 1:
            raise ValueError("a peer keeps no features from step to step")
        return PlainUNet((single or self.open_single)("unet"))

    def open_loss_gradient(self, single: OpenSingle | None = None) -> Engine:
        if self.kind == REFERENCE:
            from sa.benchmarks.peers.reference import ReferenceLossGradient

            return ReferenceLossGradient(self.folder, self.manifest.shapes, self.threads)
        from sa.benchmarks.peers import open_loss_gradient

        return open_loss_gradient(self.kind, self.folder, self.manifest.shapes, self.threads, self.device)

    def open_window_gradient(self, single: OpenSingle | None = None) -> WindowGradient:
        raise ValueError("a peer computes the gradient of whole frames alone")

    def plan_memory(self, choices: Choices) -> None:
        """Does nothing: a peer's memory is not known in advance."""


def measure_engine(contender: EngineSource, subject: str, repetitions: int, outputs: str | None) -> dict:
    """Load one engine, time it on fresh inputs, and store its outputs for the fixed inputs in the file `outputs`."""
    generator = np.random.default_rng(1)
    start = time.perf_counter()
    with open_subject(contender, subject) as opened:
        load = time.perf_counter() - start
        samples = sample(opened.call, lambda index: opened.draw(generator), repetitions)
        if outputs is not None:
            _store(opened, outputs)
        frames = opened.frames
    return {"subject": f"engine {subject}", "load": load, "frames": frames, **_plain(samples)}


def _store(subject: Subject, path: str) -> None:
    np.savez(path, **subject.fixed_outputs())


def _plain(samples: Samples) -> dict:
    return {"first": samples.first, "seconds": samples.seconds, "repeated": samples.repeated}


class Stopwatch:
    """A listener that keeps the time of every event."""

    def __init__(self) -> None:
        self.events: list[tuple[float, Event]] = []

    def __call__(self, event: Event) -> None:
        self.events.append((time.perf_counter(), event))

    def times(self, kind: type[Event]) -> list[float]:
        return [when for when, event in self.events if isinstance(event, kind)]

    def started(self, stage: str) -> float:
        return next(when for when, event in self.events if isinstance(event, StageStarted) and event.stage == stage)

    def seconds(self, stage: str) -> float:
        return sum(event.seconds for _, event in self.events if isinstance(event, StageEnded) and event.stage == stage)


def measure_run(contender: EngineSource, frames: int, steps: int) -> list[dict]:
    """Time a whole run on a drawn case, stage by stage, by the same code as sa-run.

    An engine set with refinement does two iterations in the last step, the first one as a warm-up.
    """
    shapes = contender.manifest.shapes
    refine = isinstance(contender, EngineSet) and contender.manifest.refine is not None
    last = RefineSettings(start=steps - 1, end=steps - 1, iterations=2)
    settings = Settings(steps=steps, tile_overlap=1, identity="none", refine=last if refine else None)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as scratch:
        case = Path(scratch) / "case"
        _draw_case(case, frames, shapes.height, shapes.width)
        start = time.perf_counter()
        with Pipeline(contender, keep=False) as pipeline:
            animate(pipeline, Case.read(case), Path(scratch) / "out", settings, watch)
        total = time.perf_counter() - start
    gradients = [event.seconds for _, event in watch.events if isinstance(event, RefinementIteration)]
    # A step ends with its last tile: what follows it, a refinement or the step itself, is not the UNet's.
    ends = [when for when, event in watch.events if isinstance(event, TileDone) and event.tile == event.tiles]
    denoising = np.diff([watch.started("denoising"), *ends])
    chunk = shapes.decode_chunk
    decoded = watch.times(FrameDecoded)
    # The frames of a chunk arrive together, so a chunk ends when its last frame is written.
    chunk_ends = [decoded[min(end, frames) - 1] for end in range(chunk, frames + chunk, chunk)]
    decoding = np.diff([watch.started("decoding"), *chunk_ends])
    stages = {event.stage for _, event in watch.events if isinstance(event, StageEnded)}
    load = sum(watch.seconds(stage) for stage in stages if stage.startswith("loading"))

    def once(subject: str, seconds: float, count: int) -> dict:
        return {"subject": subject, "first": None, "seconds": [seconds], "repeated": None, "frames": count}

    refinement = []
    if refine:
        first, *rest = gradients
        line = {"subject": "stage refinement iteration", "first": first, "seconds": rest, "repeated": None}
        refinement.append({**line, "frames": frames})
    return [
        once("stage load", load, 0),
        once("stage conditioning", watch.seconds("conditioning"), frames),
        {
            "subject": "stage denoising step",
            "first": float(denoising[0]),
            "seconds": denoising[1:].tolist(),
            "repeated": None,
            "frames": frames,
        },
        *refinement,
        {
            "subject": "stage decoding a chunk",
            "first": float(decoding[0]),
            "seconds": decoding[1 : frames // chunk].tolist(),
            "repeated": None,
            "frames": chunk,
        },
        once("stage video writing", watch.seconds("writing video"), frames),
        once("stage whole run", total, frames),
    ]


def _draw_case(folder: Path, frames: int, height: int, width: int) -> None:
    """Draw a reference in smooth colours, poses of such lines on black, faces in the middle.

    What they show does not affect the time.
    """
    for name in ("poses", "faces"):
        (folder / name).mkdir(parents=True)
    face = Image.new("L", (width, height))
    face.paste(255, (width // 3, height // 3, 2 * width // 3, 2 * height // 3))
    face.save(folder / "reference_mask.png")
    for i in range(frames):
        face.save(folder / "faces" / f"frame_{i}.png")
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    for i in range(-1, frames):
        phase = 2 * math.pi * i / frames
        channels = [np.sin(6 * x + phase), np.cos(5 * y - phase), np.sin(4 * (x + y))]
        pixels = (127.5 + 127.5 * np.stack(channels, axis=-1)).astype(np.uint8)
        if i >= 0:
            pixels[(x + y) * 8 % 1 > 0.1] = 0
        path = folder / "reference.png" if i < 0 else folder / "poses" / f"frame_{i}.png"
        Image.fromarray(pixels).save(path)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:  # its sentence, as the last line of stderr, becomes the row's reason
        sys.exit(str(error))
