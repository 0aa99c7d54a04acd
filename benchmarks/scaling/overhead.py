"""python -m sa.benchmarks.scaling.overhead: the cases of a folder by sa-run in a loop and by sa-batch, in turns.

Every worker has one thread. CPU seconds are those of all processes but Ray's. They vary less than seconds do where
others use the machine too.
"""

import argparse
import importlib.util
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

SA_RUN, SA_BATCH = ([sys.executable, "-m", module] for module in ("sa.runtime.cli", "sa.runtime.batch.cli"))


def contenders(engines: Path, cases: Path, flags: list[str]) -> dict[str, Callable[[Path], None]]:
    """By name: what fills a folder with results."""
    files = ["--engines", str(engines), "--quiet", *flags]

    def loop(out: Path) -> None:
        for case in sorted(cases.glob("case-*")):
            single = ["--case", str(case), "--out", str(out / case.name), "--threads", "1"]
            subprocess.run([*SA_RUN, *files, *single], check=True)

    def batch(*how: str) -> Callable[[Path], None]:
        given = [*SA_BATCH, *files, "--cases", str(cases), *how]
        return lambda out: subprocess.run([*given, "--out", str(out)], check=True) and None

    made = {
        "sa-run in a loop": loop,
        "sa-batch --workers 1": batch("--workers", "1", "--threads", "1"),
        "sa-batch --workers 2": batch("--workers", "2", "--threads", "2"),
    }
    if importlib.util.find_spec("ray") is not None:
        made["sa-batch --ray auto --workers 1"] = batch("--ray", "auto", "--workers", "1", "--threads", "1")
        made["sa-batch --ray auto --workers 2"] = batch("--ray", "auto", "--workers", "2", "--threads", "1")
    return made


def results(out: Path) -> dict[str, bytes]:
    """Every frame and video."""
    found = [path for path in out.glob("case-*/**/*") if path.is_file() and path.name != "run.json"]
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def measure(engines: Path, cases: Path, flags: list[str], rounds: int) -> str:
    """Markdown: a row for each contender, the least of its rounds."""
    found: dict[str, list[tuple[float, float]]] = {}
    first: dict[str, bytes] | None = None
    for _ in range(rounds):
        for name, fill in contenders(engines, cases, flags).items():
            out = Path(tempfile.mkdtemp())
            before, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            fill(out)
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
            found.setdefault(name, []).append((time.perf_counter() - before, cpu))
            first = first or results(out)
            assert results(out) == first, f"{name} gives other bytes"
            shutil.rmtree(out)
    count = len(list(cases.glob("case-*")))
    lines = ["| | seconds | a case | CPU seconds |", "| --- | --- | --- | --- |"]
    for name, rows in found.items():
        seconds, cpu = (min(column) for column in zip(*rows, strict=True))
        shown = "" if "--ray" in name else f"{cpu:.1f}"
        lines.append(f"| `{name}` | {seconds:.1f} | {seconds / count:.2f} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", type=Path, required=True)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--steps", default="5")
    parser.add_argument("--rounds", type=int, default=2)
    a = parser.parse_args()
    print(f"load before: {psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores")
    print(measure(a.engines, a.cases, ["--steps", a.steps, "--guidance", "1"], a.rounds))
    print(f"load after: {psutil.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
