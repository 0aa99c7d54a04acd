"""Every promise of the timing, on work whose duration is known."""

import subprocess
import sys
import time

import pytest

from sa.benchmarks.measure.timing import percentiles, sample


def test_percentiles_of_known_samples():
    assert percentiles([3.0]) == (3.0, 3.0, 3.0)
    assert percentiles([5, 1, 4, 2, 3]) == pytest.approx((1.8, 3.0, 4.6))
    assert percentiles(range(101)) == pytest.approx((20, 50, 90))


def test_the_warm_up_is_apart_and_every_repetition_gets_fresh_inputs():
    seen = []

    def run(inputs):
        seen.append(inputs)
        time.sleep(0.05 if len(seen) == 1 else 0.001)

    result = sample(run, lambda i: [i], repetitions=4)
    assert result.first >= 0.05 and len(result.seconds) == 4 and max(result.seconds) < 0.05
    assert [inputs[0] for inputs in seen[:5]] == [0, 1, 2, 3, 4]
    assert {inputs[0] for inputs in seen[5:]} == {5} and len(seen) > 6


def test_making_inputs_is_not_timed():
    def make(i):
        time.sleep(0.03)
        return i

    assert max(sample(lambda inputs: None, make, repetitions=3).seconds) < 0.02


def test_a_cache_shows_itself():
    known = set()

    def cached(inputs):
        if inputs not in known:
            known.add(inputs)
            time.sleep(0.02)

    result = sample(cached, lambda i: i, repetitions=4)
    assert result.repeated < 0.2 * percentiles(result.seconds)[1]


def test_the_memory_of_a_known_allocation_is_seen_and_the_parents_is_not():
    ballast = bytearray(b"x") * (400 << 20)  # a child must not inherit the peak of what started it
    code = "from sa.runtime.system.memory import peak_memory; b = bytearray(b'x') * (%d << 20); print(peak_memory())"
    small, large = (
        int(subprocess.run([sys.executable, "-c", code % size], capture_output=True, check=True).stdout)
        for size in (0, 200)
    )
    assert len(ballast) and small < 100 << 20
    assert large - small == pytest.approx(200 << 20, rel=0.1)
