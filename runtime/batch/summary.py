"""batch.json and the table at the end."""

import json
import os
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from sa.runtime import PROJECT
from sa.runtime.batch.job import BATCH_FILE
from sa.runtime.batch.jobs import Entry
from sa.runtime.console.progress import Reporter
from sa.runtime.engine_set.open import EngineSet


def batch_report(engines: EngineSet, entries: list[Entry], workers: list[str], seconds: float, price: float) -> dict:
    """What batch.json says. seconds: of the whole batch; price: of a worker's hour, 0 if it is not known."""
    cases = [_case(entry, price) for entry in entries]
    costs = [case for case in cases if case["cost"] is not None and case["state"] == "done"]
    video = sum(case["video_seconds"] for case in costs)
    return {
        "project": PROJECT,
        "version": metadata.version(PROJECT),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "engines": str(engines.folder),
        "engines_digest": engines.digest,
        "workers": workers,
        "seconds": round(seconds, 3),
        "price_per_worker_hour": price or None,
        "cost_per_video_second": sum(case["cost"] for case in costs) / video if video else None,
        "cases": cases,
    }


def write_report(report: dict, out: Path) -> None:
    """It is there whole or not at all. Of two commands with one --out, that of the last stays."""
    unfinished = out / f".{BATCH_FILE}.{os.getpid()}.part"
    unfinished.write_text(json.dumps(report, indent=1) + "\n")
    os.replace(unfinished, out / BATCH_FILE)


def show(report: dict, out: Path, reporter: Reporter) -> None:
    """The table, and the failures with their reasons."""
    rows = []
    for case in report["cases"]:
        seconds, frames, state = case["seconds"], case["frames"], case["state"]
        each = f"{seconds / frames:.2f}" if frames and seconds is not None else ""
        cost = "" if case["cost_per_video_second"] is None else f"{case['cost_per_video_second']:.4g}"
        rows.append([case["name"], state, "" if seconds is None else f"{seconds:.1f}", str(frames or ""), each, cost])
    states = [case["state"] for case in report["cases"]]
    title = f"{len(rows)} cases in {report['seconds']:.1f} s in {out}: {states.count('done')} made, "
    title += f"{states.count('skipped')} there already, {states.count('failed')} failed"
    columns = ["case", "state", "seconds", "frames", "s per frame", "cost per video second"]
    if report["price_per_worker_hour"] is None:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    reporter.table(title, columns, rows)
    if report["cost_per_video_second"] is not None:
        reporter.say(f"a second of video cost {report['cost_per_video_second']:.4g} on average")
    for case in report["cases"]:
        if case["state"] == "failed":
            reporter.say(f"{case['name']}: {case['reason']}")


def _case(entry: Entry, price: float) -> dict[str, Any]:
    outcome = entry.outcome
    known: dict[str, Any] = {
        "name": entry.job.name,
        "case": str(entry.job.case),
        "state": outcome.state if outcome is not None else "unfinished",
        "reason": outcome.reason if outcome is not None else None,
        "attempts": entry.attempts,
        "worker": entry.worker,
        "seconds": None,
        "frames": None,
        "video_seconds": None,
        "cost": None,
        "cost_per_video_second": None,
        "resumed_after_step": None,
    }
    if outcome is None:
        return known
    known["seconds"] = round(outcome.seconds, 3) if outcome.seconds is not None else None
    known["resumed_after_step"] = outcome.resumed_after_step
    if outcome.frames is not None and outcome.fps is not None:
        known["frames"], known["video_seconds"] = outcome.frames, outcome.frames / outcome.fps
        if price and outcome.seconds is not None:
            known["cost"] = price * outcome.seconds / 3600
            known["cost_per_video_second"] = known["cost"] / known["video_seconds"]
    return known
