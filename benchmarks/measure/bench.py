"""sa-bench run: contenders take turns, each in its own process, and their measurements become rows."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from sa.benchmarks.fixtures.face_inputs import LOSS_GRADIENT
from sa.benchmarks.measure.device_memory import DeviceMemory
from sa.benchmarks.measure.machine import describe
from sa.benchmarks.measure.quality_trial import is_puppets
from sa.benchmarks.measure.results import QUALITY, SCHEMA_VERSION, Contender, Machine, QualityEstimates, Row, append
from sa.benchmarks.measure.timing import percentiles
from sa.benchmarks.peers import PPDIFFUSERS, UPSTREAM
from sa.benchmarks.peers import ppdiffusers_environment as ppdiffusers
from sa.runtime.backends.libraries import backend_version
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import ROLES, Manifest
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import EngineSetError, InputError, UserError
from sa.runtime.pipeline.settings import Settings
from sa.runtime.system.hashing import cache_folder
from sa.runtime.system.processors import usable_cores

RESULTS = "results.jsonl"
WHOLE_RUN = "run"
REFERENCE = "reference"
UPSTREAM_BACKEND = "torch, published code"
NOT_REFINED = "made without refinement engines; export with --refine"


@dataclass(frozen=True)
class Plan:
    """What to measure, and how often."""

    engines: list[Path]
    peers: list[str] = field(default_factory=list)  # as `sa.benchmarks.peers.open_peer` takes them
    checkpoint: Path | None = None
    subjects: list[str] | None = None
    rounds: int = 3
    repetitions: int = 3
    frames: int | None = None
    steps: int = 3
    threads: int | None = None
    # "cpu" or "cuda" for engine sets that can choose; None: the device each was exported for. Peers: the first set's.
    device: Literal["cpu", "cuda"] | None = None
    memory_limit: int | None = None  # bytes each worker may take; one that needs more becomes a row with that reason
    puppets: int = 4  # how many held-out puppets quality is measured on


@dataclass(frozen=True)
class Entry:
    """A contender and the job that starts it."""

    contender: Contender
    job: dict
    manifest: Manifest
    device: Literal["cpu", "cuda"]  # it runs on

    @property
    def refines(self) -> bool:
        """Whether it may offer the gradient of the face loss. A peer answers that itself when it is opened."""
        return self.contender.kind == "peer" or self.manifest.refine is not None


@dataclass(frozen=True)
class Peak:
    """The peak memory of one worker, in bytes."""

    resident: int
    device: int | None


@dataclass
class Gathered:
    """The measurements of one subject from all rounds."""

    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    repeated: list[float] = field(default_factory=list)
    frames: int = 0
    peak_memory: int = 0
    peak_device_memory: int | None = None

    def add(self, line: dict, peak: Peak) -> None:
        self.seconds += line["seconds"]
        self.frames = line["frames"]
        self.peak_memory = max(self.peak_memory, peak.resident)
        if peak.device is not None:
            self.peak_device_memory = max(self.peak_device_memory or 0, peak.device)
        for name in ("first", "load", "repeated"):
            if line.get(name) is not None:
                getattr(self, name).append(line[name])


class WorkerError(Exception):
    """A worker ended without results. The message says why."""


def bench(plan: Plan, out: Path, reporter: Reporter) -> list[Row]:
    """Measure, and append rows to `out`/results.jsonl. A contender that fails becomes a row with the reason."""
    threads = plan.threads or usable_cores()
    _check_subjects(plan)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give --out a folder for {RESULTS}.")
    entries, failures = _entries(plan)
    if not entries:
        raise EngineSetError(str(next(iter(failures.values()))))
    subjects = plan.subjects or _usual_subjects(entries)
    out.mkdir(parents=True, exist_ok=True)
    with reporter.stage("this machine's ceilings"):
        machines = {device: describe(threads, device) for device in sorted({entry.device for entry in entries})}
    if plan.checkpoint is not None and find_spec("paddle") is None:
        reporter.warn("Paddle is not installed: errors are those of the certificates, not measured here")
    unopened = machines[entries[0].device]
    rows = [_unopened_row(unopened, folder, reason) for folder, reason in failures.items()]
    append(out / RESULTS, rows)
    with tempfile.TemporaryDirectory() as scratch:
        total = sum((1 if subject == QUALITY else plan.rounds) * len(entries) for subject in subjects)
        with reporter.stage("measuring", total) as advance:
            for subject in subjects:
                if subject == QUALITY:
                    new = _measure_quality(plan, entries, machines, threads, advance)
                else:
                    new = _measure(subject, plan, entries, machines, threads, Path(scratch), advance)
                append(out / RESULTS, new)
                rows += new
    show(rows, out, reporter)
    return rows


def _check_subjects(plan: Plan) -> None:
    known = [*ROLES, LOSS_GRADIENT, WHOLE_RUN, QUALITY]
    for name in plan.subjects or known:
        if name not in known:
            raise InputError(f"--subjects {name} is unknown: choose from {', '.join(known)}.")


def _usual_subjects(entries: list[Entry]) -> list[str]:
    """All subjects, but loss_gradient only if an engine set has it, and quality only if the truth is known."""
    refining = any(entry.manifest.refine is not None for entry in entries)
    judged = any(is_puppets(entry.manifest) for entry in entries)
    return [*ROLES, *([LOSS_GRADIENT] if refining else []), WHOLE_RUN, *([QUALITY] if judged else [])]


def _entries(plan: Plan) -> tuple[list[Entry], dict[Path, str]]:
    entries, failures = [], {}
    for folder in plan.engines:
        try:
            engines = EngineSet.open(folder, device=plan.device)
        except EngineSetError as error:
            failures[folder] = str(error)
            continue
        manifest = engines.manifest
        contender = Contender(
            name=folder.name,
            kind="engines",
            backend=engines.backend,
            backend_version=manifest.backend_version,
            precision=manifest.precision,
            digest=engines.digest,
            preset=manifest.preset,
            shapes=manifest.shapes,
            bytes=engines.size,
        )
        job = {"engines": str(folder), "device": engines.device, "peer": None}
        entries.append(Entry(contender, job, manifest, engines.device))
    if entries:
        entries += [_peer(kind, plan.checkpoint, entries[0]) for kind in plan.peers]
    return entries, failures


def _peer(kind: str, checkpoint: Path, beside: Entry) -> Entry:
    """A peer at the shapes of the first engine set, on the same device."""
    way, _, precision = kind.partition("-")
    if kind.startswith(UPSTREAM):
        label, backend, precision = UPSTREAM + Path(kind.removeprefix(UPSTREAM)).resolve().name, UPSTREAM_BACKEND, ""
    elif kind == PPDIFFUSERS:
        label, backend = kind, kind
    else:
        label, backend = f"diffusers:{kind}", "onnxruntime" if kind == "onnx" else f"torch {way}"
    contender = Contender(
        name=label,
        kind="peer",
        backend=backend,
        backend_version=_peer_version(kind),
        precision=precision or "fp32",
        digest="",
        preset=beside.contender.preset,
        shapes=beside.contender.shapes,
        bytes=None,
    )
    job = {**beside.job, "peer": kind, "checkpoint": str(checkpoint), "cache": str(cache_folder() / "peers")}
    return Entry(contender, job, beside.manifest, beside.device)


def _peer_version(kind: str) -> str:
    """Of the library that a peer runs on; InputError if it is not installed."""
    if kind == PPDIFFUSERS:
        return ppdiffusers.installed_version()
    try:
        return backend_version("onnxruntime") if kind == "onnx" else metadata.version("torch")
    except metadata.PackageNotFoundError:
        raise InputError("--peer needs PyTorch and diffusers: pip install 'stableanimator-deploy[peers]'") from None


def _measure(
    subject: str,
    plan: Plan,
    entries: list[Entry],
    machines: Mapping[str, Machine],
    threads: int,
    scratch: Path,
    advance: Callable[..., None],
) -> list[Row]:
    """Run all rounds of one subject. Contenders take turns; one that failed is not tried again."""
    gathered: dict[int, dict[str, Gathered]] = defaultdict(lambda: defaultdict(Gathered))
    failed: dict[int, str] = {}
    if subject == LOSS_GRADIENT:
        failed = {i: NOT_REFINED for i, entry in enumerate(entries) if not entry.refines}
    for turn in range(plan.rounds):
        for i, entry in enumerate(entries):
            if i not in failed:
                job = _job(subject, plan, entry, threads, scratch / f"{subject}-{i}.npz" if turn == 0 else None)
                try:
                    lines, peak = run_worker(job)
                except WorkerError as error:
                    failed[i] = str(error)
                else:
                    for line in lines:
                        gathered[i][line["subject"]].add(line, peak)
            advance(f"{subject}, round {turn + 1}/{plan.rounds}, {entry.contender.name}")
    measured = [entry for i, entry in enumerate(entries) if i not in failed]
    references = _references(subject, plan, measured, threads, scratch)
    costs = _costs(subject, entries)
    rows = []
    for i, entry in enumerate(entries):
        machine = machines[entry.device]
        if i in failed:
            name = "stage whole run" if subject == WHOLE_RUN else f"engine {subject}"
            rows.append(_row(machine, entry, name, Gathered(), plan, costs[i], failure=failed[i]))
            continue
        for name, results in gathered[i].items():
            accuracy = _accuracy(subject, entry, scratch / f"{subject}-{i}.npz", references.get(entry.manifest.shapes))
            rows.append(_row(machine, entry, name, results, plan, costs[i], **accuracy))
    return rows


def _measure_quality(
    plan: Plan, entries: list[Entry], machines: Mapping[str, Machine], threads: int, advance: Callable[..., None]
) -> list[Row]:
    """Measure once per contender, because every run makes the same videos."""
    rows = []
    for entry in entries:
        machine = machines[entry.device]
        job = {**_job(QUALITY, plan, entry, threads, None), "puppets": plan.puppets}
        try:
            (line,), _ = run_worker(job)
        except WorkerError as error:
            rows.append(_row(machine, entry, QUALITY, Gathered(), plan, (None, None), failure=str(error)))
        else:
            row = _row(machine, entry, QUALITY, Gathered(frames=line["frames"]), plan, (None, None))
            known = {"n": plan.puppets, "steps": line["steps"], "guidance": line["guidance"]}
            rows.append(row.model_copy(update={**known, "quality": QualityEstimates.model_validate(line["quality"])}))
        advance(f"{QUALITY}, {entry.contender.name}")
    return rows


def _costs(subject: str, entries: list[Entry]) -> list[tuple[int | None, int | None]]:
    """FLOPs and least bytes of one call of a subject, for each entry; (None, None) where no manifest has them."""
    if subject == WHOLE_RUN:
        return [(None, None)] * len(entries)
    if subject != LOSS_GRADIENT:
        engines = [entry.manifest.engine(subject) for entry in entries]
        return [(engine.flops, engine.bytes) for engine in engines]
    # A peer has the first set's manifest, which may lack refinement engines that another set has.
    plans = {entry.manifest.shapes: entry.manifest.refine for entry in reversed(entries) if entry.manifest.refine}
    found = [
        plans.get(entry.manifest.shapes) if entry.contender.kind == "peer" else entry.manifest.refine
        for entry in entries
    ]
    return [(plan.flops, plan.bytes) if plan else (None, None) for plan in found]


def _job(subject: str, plan: Plan, entry: Entry, threads: int, outputs: Path | None) -> dict:
    shapes = entry.manifest.shapes
    return {
        **entry.job,
        "subject": subject,
        "threads": threads,
        "repetitions": plan.repetitions,
        "frames": plan.frames or max(shapes.tile_size, 2 * shapes.decode_chunk),
        "steps": plan.steps,
        "memory_limit": plan.memory_limit,
        "outputs": str(outputs) if outputs is not None else None,
    }


def run_worker(job: dict) -> tuple[list[dict], Peak]:
    """Run one worker; returns its result lines and its peak memory. WorkerError if it fails."""
    python = ppdiffusers.PYTHON if job["peer"] == PPDIFFUSERS else sys.executable
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [python, "-m", "sa.benchmarks.measure.worker", json.dumps(job)],
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            with DeviceMemory(process.pid) as watched:
                output = process.communicate()[0].decode()
        except BaseException:
            process.kill()
            raise
        if process.returncode:
            errors.seek(0)
            said = [line for line in errors.read()[-20_000:].decode(errors="replace").splitlines() if line.strip()]
            limit = job.get("memory_limit")
            within = f" (within the memory limit of {limit / 2**30:g} GiB)" if limit is not None else ""
            raise WorkerError(f"exit code {process.returncode}{within}: {said[-1][:300] if said else 'no message'}")
    *lines, last = [json.loads(line) for line in output.splitlines()]
    return lines, Peak(last["peak_memory"], watched.peak)


def _references(subject: str, plan: Plan, entries: list[Entry], threads: int, scratch: Path) -> dict:
    """The files with the float32 network's outputs, by shapes. Empty without a checkpoint or Paddle, and for a run."""
    if plan.checkpoint is None or subject == WHOLE_RUN or find_spec("paddle") is None:
        return {}
    found = {}
    for entry in entries:
        shapes = entry.manifest.shapes
        if shapes in found:
            continue
        path = scratch / f"{subject}-reference-{len(found)}.npz"
        job = _job(subject, plan, entry, threads, path)
        try:
            run_worker(
                {**job, "memory_limit": None, "peer": REFERENCE, "checkpoint": str(plan.checkpoint), "cache": ""}
            )
        except WorkerError as error:
            raise UserError(f"the float32 {subject} network could not be run from {plan.checkpoint}: {error}") from None
        found[shapes] = path
    return found


def _accuracy(subject: str, entry: Entry, outputs: Path, reference: Path | None) -> dict:
    if subject == WHOLE_RUN:
        return {}
    if reference is not None:
        a, b = (_stored(path, subject).astype(np.float64) for path in (outputs, reference))
        return {
            "relative_error": float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)),
            "cosine": float(np.vdot(a, b) / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30)),
            "compared": "float32 network, full shapes",
        }
    if entry.contender.kind == "engines" and subject != LOSS_GRADIENT:
        result = entry.manifest.engine(subject).certificate
        return {
            "relative_error": result.relative,
            "cosine": result.cosine,
            "compared": f"certificate, {result.shapes} shapes",
        }
    return {}


def _stored(path: Path, subject: str) -> np.ndarray:
    """The output that a worker stored. Of a loss and its gradient, it is the gradient."""
    with np.load(path) as archive:
        if subject == LOSS_GRADIENT:
            return archive["gradient"]
        (value,) = archive.values()
        return value


def _row(
    machine: Machine,
    entry: Entry,
    subject: str,
    results: Gathered,
    plan: Plan,
    cost: tuple[int | None, int | None],
    failure: str | None = None,
    **accuracy,
) -> Row:
    flops, least_bytes = cost
    p20, p50, p90 = percentiles(results.seconds) if results.seconds else (None, None, None)
    return Row(
        **_stamp(machine),
        contender=entry.contender,
        subject=subject,
        frames=results.frames,
        steps=plan.steps if subject.startswith("stage") else None,
        guidance=Settings().guidance if subject.startswith("stage") else None,
        n=len(results.seconds),
        p20=p20,
        p50=p50,
        p90=p90,
        first=_median(results.first),
        load=_median(results.load),
        repeated=_median(results.repeated),
        peak_memory=results.peak_memory or None,
        peak_device_memory=results.peak_device_memory,
        flops=flops,
        bytes=least_bytes,
        relative_error=accuracy.get("relative_error"),
        cosine=accuracy.get("cosine"),
        compared=accuracy.get("compared"),
        failure=failure,
    )


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def _unopened_row(machine: Machine, folder: Path, reason: str) -> Row:
    """The row of an engine set that could not be opened."""
    unknown = dict.fromkeys(set(Row.model_fields) - {"machine", "contender", "subject"})
    contender = Contender(
        name=folder.name or str(folder),
        kind="engines",
        backend="unknown",
        backend_version="unknown",
        precision="unknown",
        digest="",
        preset=None,
        shapes=None,
        bytes=None,
    )
    known = {"contender": contender, "subject": "engine set", "frames": 0, "n": 0, "failure": reason[:500]}
    return Row(**{**unknown, **_stamp(machine), **known})


def show(rows: list[Row], out: Path, reporter: Reporter) -> None:
    """Print the closing table: seconds, rate, accuracy and memory of everything measured."""
    cells = []
    for row in rows:
        if row.failure is not None:
            cells.append([row.contender.name, row.subject, "failed", "", "", "", ""])
            continue
        cells.append(
            [
                row.contender.name,
                row.subject,
                f"{row.p50:.3f}" if row.p50 is not None else "",
                f"{row.flops_per_second / 1e9:.0f}" if row.flops_per_second else "",
                f"{row.fraction:.0%}" if row.fraction else "",
                f"{row.relative_error:.1e}" if row.relative_error is not None else "",
                f"{row.peak_memory / 2**30:.2f}" if row.peak_memory else "",
            ]
        )
    columns = ["contender", "subject", "p50 s", "GFLOP/s", "of floor", "error", "GiB"]
    reporter.table(f"{len(rows)} rows added to {out / RESULTS}", columns, cells)
    for row in rows:
        if row.failure is not None:
            reporter.warn(f"{row.contender.name}, {row.subject}: {row.failure}")
    reporter.say(f"Next: sa-bench merge {out / RESULTS} --out REPORT")


def _stamp(machine: Machine) -> dict:
    return {
        "schema_version": SCHEMA_VERSION,
        "project_version": metadata.version("stableanimator-deploy"),
        "measured": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine,
    }
