"""A worker process: what it is asked, its lines and its peak memory."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sa.benchmarks.measure.contenders import Entry, Plan
from sa.benchmarks.measure.hardware.device_memory import DeviceMemory
from sa.benchmarks.peers import PPDIFFUSERS
from sa.benchmarks.peers import ppdiffusers_environment as ppdiffusers


@dataclass(frozen=True)
class Peak:
    """The peak memory of one worker, in bytes."""

    resident: int
    device: int | None


class WorkerError(Exception):
    """A worker ended without results. The message says why."""


def worker_job(subject: str, plan: Plan, entry: Entry, threads: int, outputs: Path | None) -> dict:
    """What a worker is to measure of one subject; it leaves the outputs in a file, if one is named."""
    shapes = entry.manifest.shapes
    return {
        **entry.job,
        "subject": subject,
        "threads": threads,
        "repetitions": plan.repetitions,
        "frames": plan.frames or max(shapes.tile_size, 2 * shapes.decode_chunk),
        "steps": plan.steps,
        "memory_limit": plan.memory_limit,
        "outputs": str(outputs) if outputs is not None else None,
    }


def run_worker(job: dict) -> tuple[list[dict], Peak]:
    """Run one worker; returns its result lines and its peak memory. WorkerError if it fails."""
    python = ppdiffusers.PYTHON if job["peer"] == PPDIFFUSERS else sys.executable
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [python, "-m", "sa.benchmarks.measure.worker", json.dumps(job)],
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            with DeviceMemory(process.pid) as watched:
                output = process.communicate()[0].decode()
        except BaseException:
            process.kill()
            raise
        if process.returncode:
            errors.seek(0)
            said = [line for line in errors.read()[-20_000:].decode(errors="replace").splitlines() if line.strip()]
            limit = job.get("memory_limit")
            within = f" (within the memory limit of {limit / 2**30:g} GiB)" if limit is not None else ""
            raise WorkerError(f"exit code {process.returncode}{within}: {said[-1][:300] if said else 'no message'}")
    *lines, last = [json.loads(line) for line in output.splitlines()]
    return lines, Peak(last["peak_memory"], watched.peak)
