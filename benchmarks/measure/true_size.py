"""sa-bench true-size: export, load and one guidance pair of a UNet with 1.55 B parameters, on this machine.

Each export and each measurement runs in its own process, so the operating system counts its peak memory separately.
"""

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sa.runtime.backends.libraries import backend_version
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import UserError
from sa.runtime.system.memory import peak_memory
from sa.runtime.system.processors import usable_cores

SHAPES = ("--height", "256", "--width", "256", "--tile-size", "2", "--decode-chunk", "4")
REPETITIONS = 3  # after one warm-up
VARIANTS = {  # flags of sa-export
    "onnxruntime": (),
    "openvino": (),
    "openvino+bf16": ("--precision", "bf16"),
    "paddle": (),
    "paddle+plain": ("--no-onednn",),
}


def measure_true_size(work: Path, variants: Sequence[str], reuse: bool) -> None:
    """Export and measure each variant, print the table and write `work`/results.json.

    The checkpoint is made once. `reuse` measures engine sets that are in `work` already and exports only the others.
    """
    checkpoint = work / "checkpoint"
    make_checkpoint(checkpoint)
    rows = [_run(variant, checkpoint, work, reuse) for variant in variants]
    (work / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))


def make_checkpoint(folder: Path) -> None:
    # In its own process: it imports Paddle, which would make every later child slower to start.
    code = (
        "import sys; from pathlib import Path; "
        "from sa.benchmarks.fixtures.checkpoints import FULL_SIZE_ARCFACE, write_checkpoint; "
        "from sa.benchmarks.fixtures.layout import FULL_SIZE; "
        "write_checkpoint(Path(sys.argv[1]), FULL_SIZE, FULL_SIZE_ARCFACE)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def _run(variant: str, checkpoint: Path, work: Path, reuse: bool) -> dict:
    engines = work / f"engines-{variant}"
    backend = variant.partition("+")[0]
    exported = None
    if not (reuse and engines.exists()):
        command = ["-m", "sa.export.cli", "--checkpoint", str(checkpoint), "--out", str(engines)]
        exported = _child(f"exporting {engines}", [*command, "--backend", backend, *SHAPES, *VARIANTS[variant]])
    code = (
        "import json, sys; from pathlib import Path; from sa.benchmarks.measure.true_size import measure_pair; "
        "print(json.dumps(measure_pair(Path(sys.argv[1]))))"
    )
    measured = _child(f"measuring {engines}", ["-c", code, str(engines)])
    return {
        "variant": variant,
        "version": backend_version(backend),
        "machine": f"{platform.processor() or platform.machine()}, {usable_cores()} cores",
        "export_seconds": exported and exported["seconds"],
        "export_peak_bytes": exported and EngineSet.open(engines).manifest.export_peak_bytes,
        **json.loads(measured["output"].splitlines()[-1]),
    }


def _child(what: str, arguments: list[str]) -> dict:
    """Run Python with these arguments; returns its output and how many seconds it took."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"{what} failed with exit code {done.returncode}; what it said is above")
    return {"output": done.stdout, "seconds": time.perf_counter() - started}


def measure_pair(folder: Path) -> dict:
    """Load the UNet of an engine set and time pairs of calls."""
    from sa.benchmarks.measure.subjects import open_subject

    engines = EngineSet.open(folder)
    generator = np.random.default_rng(0)
    started = time.perf_counter()
    with open_subject(engines, "unet") as unet:
        loaded = time.perf_counter() - started
        seconds = []
        for _ in range(REPETITIONS + 1):
            inputs = unet.draw(generator)
            start = time.perf_counter()
            unet.call(inputs)
            seconds.append(time.perf_counter() - start)
    return {
        "engine_set_bytes": engines.size,
        "load_seconds": loaded,
        "first_pair_seconds": seconds[0],
        "pair_seconds": statistics.median(seconds[1:]),
        "process_peak_bytes": peak_memory(),
        "pair_tflop": engines.manifest.engine("unet").flops / 1e12,
        "certificates": {engine.role: engine.certificate.relative for engine in engines.manifest.engines},
    }


def table(rows: list[dict]) -> str:
    """The results as a Markdown table."""

    def gib(size: int | None) -> str:
        return "" if size is None else f"{size / 2**30:.1f} GiB"

    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:.1f} s"

    lines = {
        "export": [seconds(row["export_seconds"]) for row in rows],
        "export, peak memory": [gib(row["export_peak_bytes"]) for row in rows],
        "engine set": [gib(row["engine_set_bytes"]) for row in rows],
        "load the UNet": [seconds(row["load_seconds"]) for row in rows],
        f"UNet pair ({rows[0]['pair_tflop']:.2f} TFLOP), median of {REPETITIONS}": [
            seconds(row["pair_seconds"]) for row in rows
        ],
        "rate": [f"{row['pair_tflop'] / row['pair_seconds'] * 1000:.0f} GFLOP/s" for row in rows],
        "UNet process, peak memory": [gib(row["process_peak_bytes"]) for row in rows],
        "largest relative error of an engine": [f"{max(row['certificates'].values()):.1e}" for row in rows],
    }
    head = ["", *(f"{row['variant']} {row['version']}" for row in rows)]
    body = [head, ["---"] * len(head), *([name, *cells] for name, cells in lines.items())]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in body)
