"""Runs tests/gpu through pytest, and reads how each test ended."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from sa.runtime.errors import UserError

TESTS = Path(__file__).resolve().parents[2] / "tests" / "gpu"


@dataclass(frozen=True)
class Outcome:
    """How one test ended: "passed", "failed" or "skipped", and why."""

    test: str
    outcome: str
    seconds: float
    said: str = ""


def run_tests(folder: Path, device: str, data: Path) -> list[Outcome]:
    """Run the tests in `folder` that are marked gpu. `data` is where they unpack the project's pack."""
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: run gpu-check in a checkout of the project.")
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu", str(folder), f"--junitxml={results}"]
        places = {"GPU_CHECK_DEVICE": device, "GPU_CHECK_DATA": str(data.absolute())}
        subprocess.run(command, cwd=folder.parents[1], env=os.environ | places, check=False)
        if not results.is_file():
            raise UserError("pytest wrote no results, see above; install the extra 'bench'.")
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
