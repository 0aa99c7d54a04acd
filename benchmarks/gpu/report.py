"""The report of a GPU check, for people: machine, tests, failures in full, measurements."""

from collections import Counter
from collections.abc import Sequence

from sa.benchmarks.gpu.suite import Outcome

FACTS = ("device", "compute_capability", "driver", "device_memory", "cpu", "memory", "system")


def report(
    outcomes: Sequence[Outcome], measured: str, machine: dict, problems: Sequence[str] = (), dry_run: bool = False
) -> str:
    """The whole check in Markdown. `problems`: sentences on engine sets that could not be used."""
    counts = Counter(outcome.outcome for outcome in outcomes)
    lines = ["# GPU check: dry run on a CPU, no GPU was used" if dry_run else "# GPU check", ""]
    lines += [f"- {name.replace('_', ' ')}: {machine[name]}" for name in FACTS]
    lines += [f"- {name} {version}" for name, version in machine["libraries"].items()]
    if problems:
        lines += ["", "## Engine sets that were left out", "", *(f"- {problem}" for problem in problems)]
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
