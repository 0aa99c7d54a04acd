"""Timing: the warm-up is kept apart, every repetition gets fresh inputs, and percentiles replace means."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

PERCENTILES = (20, 50, 90)


@dataclass(frozen=True)
class Samples:
    """Seconds of the first run, and of the repetitions after it."""

    first: float
    seconds: list[float]
    repeated: float | None = None  # median of runs on one input, to reveal caches


def sample(run: Callable[[object], object], make: Callable[[int], object], repetitions: int) -> Samples:
    """Time run(make(i)): once as warm-up, then `repetitions` times on fresh inputs, then on one input several times.

    `make` is not timed. `run` must return when its work is done. Engines return host arrays, so nothing is left queued.
    """
    first = _time(run, make(0))
    fresh = [_time(run, make(i)) for i in range(1, repetitions + 1)]
    same = make(repetitions + 1)
    repeated = [_time(run, same) for _ in range(min(repetitions, 3) + 1)][1:]
    return Samples(first, fresh, float(np.median(repeated)))


def _time(run: Callable[[object], object], inputs: object) -> float:
    start = time.perf_counter()
    run(inputs)
    return time.perf_counter() - start


def percentiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """p20, p50 and p90, interpolated linearly."""
    p20, p50, p90 = np.percentile(np.asarray(seconds, np.float64), PERCENTILES)
    return float(p20), float(p50), float(p90)
