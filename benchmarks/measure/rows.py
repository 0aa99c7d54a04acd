"""Measurements become rows of results.jsonl, and the table that sa-bench run closes with."""

import statistics
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from sa.benchmarks.measure.contenders import Entry, Plan
from sa.benchmarks.measure.process import Peak
from sa.benchmarks.measure.results import RESULTS, SCHEMA_VERSION, Contender, Machine, Row
from sa.benchmarks.measure.timing import percentiles
from sa.runtime.console.progress import Reporter
from sa.runtime.pipeline.settings import Settings


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


def measured_row(
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


def unopened_row(machine: Machine, folder: Path, reason: str) -> Row:
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
