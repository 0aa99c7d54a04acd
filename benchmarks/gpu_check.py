"""make gpu-check: run the GPU tests and sa-bench, and write one report of both to attach to an issue.

This has not run on a GPU yet. It was tested with stand-ins for pytest and sa-bench.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from sa.benchmarks.cli import main as sa_bench
from sa.benchmarks.measure.machine import describe
from sa.runtime.backends.cuda import compute_capability
from sa.runtime.backends.libraries import backend_version
from sa.runtime.console.commands import run_command
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError, UserError

REPORT = "gpu-report.md"
TESTS = Path(__file__).resolve().parents[1] / "tests" / "gpu"
BACKENDS = {
    "onnxruntime": "onnxruntime-cuda",
    "paddle": "paddle-cuda",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt-rtx",
}
NO_GPU = "found no NVIDIA GPU or no driver; run `make gpu-check` on a machine that has one."


@dataclass(frozen=True)
class Outcome:
    """How one test ended: "passed", "failed" or "skipped", and why."""

    test: str
    outcome: str
    seconds: float
    said: str = ""


def require_gpu() -> str:
    """The GPU's compute capability; ends the program with one sentence if there is no GPU."""
    try:
        found = compute_capability()
    except ImportError:  # the extra `cuda` is not installed, which says nothing about the machine
        found = "unknown" if Path("/dev/nvidiactl").exists() else None
    if found is None:
        raise SystemExit(f"gpu-check: {NO_GPU}")
    return found


def run(arguments: argparse.Namespace) -> None:
    if compute_capability() is None:
        raise UserError(NO_GPU)
    out: Path = arguments.out
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give --out a folder.")
    out.mkdir(parents=True, exist_ok=True)
    reporter = Reporter()
    with reporter.stage("tests"):
        outcomes = run_tests(TESTS)
    with tempfile.TemporaryDirectory() as scratch:
        engines = arguments.engines or export_small(Path(scratch), reporter)
        with reporter.stage("sa-bench"):
            measured = measure(engines, Path(scratch))
    path = out / REPORT
    path.write_text(report(outcomes, measured, describe(1).model_dump()), encoding="utf-8")
    counts = Counter(outcome.outcome for outcome in outcomes)
    reporter.say(f"{path}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped.")
    if counts["failed"] or not counts["passed"]:
        raise UserError(f"{counts['failed']} of {len(outcomes)} tests failed on this GPU; attach {path} to an issue.")


def run_tests(folder: Path) -> list[Outcome]:
    """Run the tests in `folder` that are marked gpu."""
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: run gpu-check in a checkout of the project.")
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu", str(folder), f"--junitxml={results}"]
        subprocess.run(command, cwd=folder.parents[1], check=False)
        if not results.is_file():
            raise UserError("pytest wrote no results, see above; install the extra 'test'.")
        return read_outcomes(results)


def read_outcomes(results: Path) -> list[Outcome]:
    """The outcomes in a JUnit file that pytest wrote."""
    found = []
    for case in ElementTree.parse(results).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        outcome, said = "passed", ""
        for kind in ("skipped", "failure", "error"):
            if (element := case.find(kind)) is not None:
                outcome = "skipped" if kind == "skipped" else "failed"
                said = element.get("message") or element.text or ""
        found.append(Outcome(name, outcome, float(case.get("time", 0)), said))
    return found


def export_small(folder: Path, reporter: Reporter) -> list[Path]:
    """Export a small checkpoint with random weights for every library that is installed; returns the engine sets."""
    from sa.benchmarks.fixtures.checkpoints import SMALL, SMALL_ARCFACE, write_checkpoint
    from sa.export.cli import main as sa_export
    from sa.export.cli import parser

    write_checkpoint(folder / "checkpoint", SMALL, SMALL_ARCFACE)
    known = next(action for action in parser()._actions if action.dest == "backend").choices
    made = []
    for backend, library in BACKENDS.items():
        if backend not in known or backend_version(library) is None:
            continue
        for precision in ("fp32", "fp16"):
            engines = folder / f"{backend}-{precision}"
            flags = ["--preset", "demo-128", "--backend", backend, "--precision", precision, "--quiet"]
            with reporter.stage(f"exporting {engines.name}"):
                if sa_export(["--checkpoint", str(folder / "checkpoint"), "--out", str(engines), *flags]) == 0:
                    made.append(engines)
    return made


def measure(engines: list[Path], folder: Path) -> str:
    """sa-bench's report of the engine sets, as Markdown, or a sentence if it could not measure."""
    results = folder / "bench"
    names = [str(path) for path in engines]
    if not names:
        return "No engine set could be made for this GPU, so nothing was measured.\n"
    if sa_bench(["run", "--engines", *names, "--device", "cuda", "--out", str(results), "--rounds", "2", "--quiet"]):
        return "sa-bench failed; what it said is in the log of this run.\n"
    merged = folder / "merged"
    if sa_bench(["merge", str(results / "results.jsonl"), "--out", str(merged), "--quiet"]):
        return "sa-bench merge failed; what it said is in the log of this run.\n"
    return (merged / "report.md").read_text(encoding="utf-8")


def report(outcomes: list[Outcome], measured: str, machine: dict) -> str:
    """The whole check in Markdown: machine, tests, failures in full, measurements."""
    counts = Counter(outcome.outcome for outcome in outcomes)
    facts = ("device", "compute_capability", "driver", "device_memory", "cpu", "memory", "system")
    lines = ["# GPU check", ""]
    lines += [f"- {name.replace('_', ' ')}: {machine[name]}" for name in facts]
    lines += [f"- {name} {version}" for name, version in machine["libraries"].items()]
    lines += ["", f"## Tests: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped", ""]
    lines += ["| test | outcome | seconds | |", "| --- | --- | --- | --- |"]
    for outcome in outcomes:
        first = " ".join((outcome.said.splitlines() or [""])[0].split()).replace("|", "\\|")
        lines.append(f"| {outcome.test} | {outcome.outcome} | {outcome.seconds:.1f} | {first[:200]} |")
    for outcome in outcomes:
        if outcome.outcome == "failed":
            lines += ["", f"### {outcome.test}", "", *(f"    {line}" for line in outcome.said.splitlines())]
    lines += ["", "## Measurements", ""]
    lines += [f"##{line}" if line.startswith("#") else line for line in measured.splitlines()]
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("gpu-check", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-report"), help=f"where {REPORT} goes (%(default)s)")
    parser.add_argument(
        "--engines", type=Path, nargs="+", metavar="DIR", help="engine sets to measure (default: small ones, made here)"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    return run_command("gpu-check", parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
