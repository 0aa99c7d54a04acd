"""The engine sets of the project's own pack: those of the golden cases, and two of true size."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sa.benchmarks.fixtures.golden import CASES, golden_flags, write_golden_checkpoint
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import UserError

PACK = Path(__file__).with_name("sets.tar.xz")
PRECISIONS = ("fp32", "fp16")
SMALL = tuple(f"{case}-{precision}" for case in CASES for precision in PRECISIONS)
FUSED = tuple(f"{name}-cuda" for name in SMALL)  # in the CUDA provider's operators
_SIZE = "--height 256 --width 256 --decode-chunk 4 --refine"
TRUE_SIZE = {  # flags of sa-export
    "true-256-fp32": f"{_SIZE} --tile-size 2",
    "true-256-fp16-cuda": f"{_SIZE} --tile-size 16 --precision fp16 --device cuda",
}


def export(work: Path, reporter: Reporter) -> Iterator[Path]:
    """Export every set of the pack into `work`, each in a process of its own."""
    for case in CASES:
        checkpoint = work / f"checkpoint-{case}"
        shutil.rmtree(checkpoint, ignore_errors=True)
        write_golden_checkpoint(case, checkpoint)
        for precision in PRECISIONS:
            flags = [*golden_flags(case), "--precision", precision, "--refine"]
            yield _exported(checkpoint, work / f"{case}-{precision}", flags, reporter)
            yield _exported(checkpoint, work / f"{case}-{precision}-cuda", [*flags, "--device", "cuda"], reporter)
    from sa.benchmarks.measure.true_size import make_checkpoint

    make_checkpoint(work / "checkpoint")
    for name, flags in TRUE_SIZE.items():
        yield _exported(work / "checkpoint", work / name, flags.split(), reporter)


def _exported(checkpoint: Path, folder: Path, flags: list[str], reporter: Reporter) -> Path:
    command = [sys.executable, "-m", "sa.export.cli", "--checkpoint", str(checkpoint), "--out", str(folder), "--quiet"]
    with reporter.stage(f"exporting {folder.name}"):
        if code := subprocess.run([*command, *flags], check=False).returncode:
            raise UserError(f"sa-export of {folder} failed with exit code {code}; what it said is above.")
    return folder
