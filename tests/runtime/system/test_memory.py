"""What the system says of memory, where it says so."""

import numpy as np

from sa.runtime.system.memory import StagePeaks, available_memory, peak_memory, resident_memory


def test_each_stage_has_its_own_peak():
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
