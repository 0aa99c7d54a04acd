"""sa-bench run: contenders take turns, each in its own process, and their measurements become rows."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from sa.benchmarks.fixtures.face_inputs import LOSS_GRADIENT
from sa.benchmarks.measure.accuracy import accuracy, references
from sa.benchmarks.measure.contenders import Entry, Plan, open_contenders
from sa.benchmarks.measure.hardware.machine import describe
from sa.benchmarks.measure.process import WorkerError, run_worker, worker_job
from sa.benchmarks.measure.quality_trial import is_puppets
from sa.benchmarks.measure.results import QUALITY, RESULTS, WHOLE_RUN, Machine, QualityEstimates, Row, append
from sa.benchmarks.measure.rows import Gathered, measured_row, show, unopened_row
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import ROLES, WEIGHT_BYTES, EngineRecord
from sa.runtime.errors import EngineSetError, InputError
from sa.runtime.system.processors import usable_cores

NOT_REFINED = "made without refinement engines; export with --refine"


def bench(plan: Plan, out: Path, reporter: Reporter) -> list[Row]:
    """Measure, and append rows to `out`/results.jsonl. A contender that fails becomes a row with the reason."""
    threads = plan.threads or usable_cores()
    _check_subjects(plan)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give --out a folder for {RESULTS}.")
    entries, failures = open_contenders(plan)
    if not entries:
        raise EngineSetError(str(next(iter(failures.values()))))
    subjects = plan.subjects or _usual_subjects(entries)
    out.mkdir(parents=True, exist_ok=True)
    with reporter.stage("this machine's ceilings"):
        machines = {device: describe(threads, device) for device in sorted({entry.device for entry in entries})}
    if plan.checkpoint is not None and find_spec("paddle") is None:
        reporter.warn("Paddle is not installed: errors are those of the certificates, not measured here")
    unopened = machines[entries[0].device]
    rows = [unopened_row(unopened, folder, reason) for folder, reason in failures.items()]
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
                job = worker_job(subject, plan, entry, threads, scratch / f"{subject}-{i}.npz" if turn == 0 else None)
                try:
                    lines, peak = run_worker(job)
                except WorkerError as error:
                    failed[i] = str(error)
                else:
                    for line in lines:
                        gathered[i][line["subject"]].add(line, peak)
            advance(f"{subject}, round {turn + 1}/{plan.rounds}, {entry.contender.name}")
    measured = [entry for i, entry in enumerate(entries) if i not in failed]
    truths = references(subject, plan, measured, threads, scratch)
    costs = _costs(subject, entries)
    rows = []
    for i, entry in enumerate(entries):
        machine = machines[entry.device]
        if i in failed:
            name = "stage whole run" if subject == WHOLE_RUN else f"engine {subject}"
            rows.append(measured_row(machine, entry, name, Gathered(), plan, costs[i], failure=failed[i]))
            continue
        for name, results in gathered[i].items():
            error = accuracy(subject, entry, scratch / f"{subject}-{i}.npz", truths.get(entry.manifest.shapes))
            rows.append(measured_row(machine, entry, name, results, plan, costs[i], **error))
    return rows


def _measure_quality(
    plan: Plan, entries: list[Entry], machines: Mapping[str, Machine], threads: int, advance: Callable[..., None]
) -> list[Row]:
    """Measure once per contender, because every run makes the same videos."""
    rows = []
    for entry in entries:
        machine = machines[entry.device]
        job = {**worker_job(QUALITY, plan, entry, threads, None), "puppets": plan.puppets}
        try:
            (line,), _ = run_worker(job)
        except WorkerError as error:
            rows.append(measured_row(machine, entry, QUALITY, Gathered(), plan, (None, None), failure=str(error)))
        else:
            row = measured_row(machine, entry, QUALITY, Gathered(frames=line["frames"]), plan, (None, None))
            known = {"n": plan.puppets, "steps": line["steps"], "guidance": line["guidance"]}
            rows.append(row.model_copy(update={**known, "quality": QualityEstimates.model_validate(line["quality"])}))
        advance(f"{QUALITY}, {entry.contender.name}")
    return rows


def _costs(subject: str, entries: list[Entry]) -> list[tuple[int | None, int | None]]:
    """FLOPs and least bytes of one call of a subject, for each entry; (None, None) where no manifest has them."""
    if subject == WHOLE_RUN:
        return [(None, None)] * len(entries)
    if subject != LOSS_GRADIENT:
        return [_call_cost(entry, entry.manifest.engine(subject)) for entry in entries]
    # A peer has the first set's manifest, which may lack refinement engines that another set has.
    plans = {entry.manifest.shapes: entry.manifest.refine for entry in reversed(entries) if entry.manifest.refine}
    found = [
        plans.get(entry.manifest.shapes) if entry.contender.kind == "peer" else entry.manifest.refine
        for entry in entries
    ]
    return [(plan.flops, plan.bytes) if plan else (None, None) for plan in found]


def _call_cost(entry: Entry, engine: EngineRecord) -> tuple[int, int]:
    """FLOPs and least bytes of one call. A peer has the first set's engine, and weights of its own precision."""
    if entry.contender.kind != "peer":
        return engine.flops, engine.bytes
    weights = WEIGHT_BYTES[entry.contender.precision] * engine.parameters
    return engine.flops, engine.bytes - engine.weight_bytes + weights
