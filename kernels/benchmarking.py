"""Shared by the benchmarks: compares contenders with each other, times them on a GPU, appends rows to a CSV file.

Speeds are computed from the bytes and FLOP that the kernel needs. A contender that moves more bytes shows as slower.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
import triton
from triton.testing import do_bench

QUANTILES = (0.2, 0.5, 0.8)
TOLERANCE = 1e-2  # roundings stay below, mistakes do not
COLUMNS = (
    *("kernel", "shape", "dtype", "contender", "p20_seconds", "p50_seconds", "p80_seconds"),
    *("bytes", "flop", "bytes_per_second", "flop_per_second", "device", "torch", "triton", "cuda", "time"),
)


@dataclass(frozen=True)
class Case:
    """One call: the least bytes and FLOP it needs, and its implementations, of which one is named "pytorch"."""

    shape: str
    dtype: torch.dtype
    bytes: int
    flop: int
    contenders: dict[str, Callable[[], torch.Tensor]]


def run(kernel: str, cases: Callable[[], Iterable[Case]], argv: list[str] | None = None) -> int:
    """Time every case on this machine's GPU. Returns an exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m sa.kernels.{kernel}.benchmark", description=f"Time {kernel}.")
    parser.add_argument("--csv", type=Path, required=True, metavar="FILE", help="where rows are appended")
    path = parser.parse_args(argv).csv
    if not torch.cuda.is_available():
        print(f"{parser.prog}: needs a CUDA GPU, and PyTorch {torch.__version__} finds none.", file=sys.stderr)
        return 1
    for case in cases():
        if disagreement := disagrees(case):
            print(f"{parser.prog}: {kernel} {case.shape}: {disagreement}.", file=sys.stderr)
            return 1
        for contender, call in case.contenders.items():
            seconds = [1e-3 * milliseconds for milliseconds in do_bench(call, rep=500, quantiles=list(QUANTILES))]
            append(path, row(kernel, case, contender, seconds))
            print(f"{kernel} {case.shape} {case.dtype} {contender}: {seconds[1] * 1e6:.1f} us")
    return 0


def disagrees(case: Case) -> str:
    """A sentence on a contender whose result differs from PyTorch's; empty if there is none."""
    results = {contender: call().float() for contender, call in case.contenders.items()}
    right = results.pop("pytorch")
    for contender, result in results.items():
        error = float((result - right).abs().max() / right.abs().max())
        if not error <= TOLERANCE:  # true for NaN as well
            return f"{contender}'s result differs from PyTorch's by {error:.1e} of the largest value"
    return ""


def row(kernel: str, case: Case, contender: str, seconds: list[float]) -> dict[str, str | int | float]:
    """One row of the file. `seconds` are the times at the three QUANTILES."""
    p20, p50, p80 = seconds
    return {
        "kernel": kernel,
        "shape": case.shape,
        "dtype": str(case.dtype).removeprefix("torch."),
        "contender": contender,
        "p20_seconds": p20,
        "p50_seconds": p50,
        "p80_seconds": p80,
        "bytes": case.bytes,
        "flop": case.flop,
        "bytes_per_second": case.bytes / p50,
        "flop_per_second": case.flop / p50,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda or "none",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def append(path: Path, values: dict[str, str | int | float]) -> None:
    """Append a row, after a header if the file is new."""
    new = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(values)
