"""What the system says of memory, where it says so."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from sa.runtime.system.memory import StagePeaks, available_memory, peak_memory, resident_memory

HERE = Path(__file__).parent


def test_each_stage_has_its_own_peak():
    """In a process of its own: what other tests leave running may allocate meanwhile."""
    subprocess.run([sys.executable, "-c", "from test_memory import check_peaks; check_peaks()"], check=True, cwd=HERE)


def check_peaks():
    before = peak_memory()
    peaks = StagePeaks()
    with peaks.stage("large"):
        np.ones(200 << 17)  # 200 MiB of float64
    with peaks.stage("small"):
        np.ones(10 << 17)
    assert peaks.bytes["large"] > 150 << 20 > peaks.bytes["small"]
    assert peak_memory() >= max(before, resident_memory())  # of the whole program, still
    assert peak_memory() - resident_memory() > 100 << 20


def test_available_memory_is_less_than_there_is():
    with open("/proc/meminfo") as lines:
        total = 1024 * int(next(line for line in lines if line.startswith("MemTotal")).split()[1])
    assert 0 < available_memory() < total
