"""python -m sa.benchmarks.scaling.tiles: a video's steps with their tiles spread over processes, and a small model.

A worker has the tiles i, i + N, i + 2N, ... of a step, so a step takes as long as the worker that has most of them.
What is not spread stays: the sums over tiles, and the sampler. Contenders take turns, because a shared machine's speed
varies; and all are processes of their own, to which a busy system gives equal shares.
"""

import argparse
import itertools
import math
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from sa.runtime.case.case import Case
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.events import Event, StepDone
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.split.engines import SplitEngines


@dataclass(frozen=True)
class StepModel:
    """Seconds of a step's parts."""

    call: float  # the UNet for one tile, on one device
    transfer: float = 0.0  # a tile's latents to a worker and its velocity back
    rest: float = 0.0  # what is not spread

    def seconds(self, tiles: int, workers: int) -> float:
        """A step, on so many workers."""
        return math.ceil(tiles / workers) * (self.call + self.transfer) + self.rest

    def speed_up(self, tiles: int, workers: int) -> float:
        return self.seconds(tiles, 1) / self.seconds(tiles, workers)


def of_tiles(case: Case, tiles: int, tile_size: int, overlap: int) -> Case:
    """The case with its poses repeated until a video of them has so many tiles."""
    frames = tile_size + (tiles - 1) * (tile_size - overlap)
    return replace(case, poses=[case.poses[i % case.frames] for i in range(frames)])


def step_seconds(pipeline: Pipeline, case: Case, overlap: int, steps: int) -> tuple[list[float], bytes]:
    """The seconds of every step but the first, and the latents."""
    ends: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepDone):
            ends.append(time.perf_counter())

    made = pipeline(case, steps=steps, tile_overlap=overlap, on_event=listen)
    return [after - before for before, after in itertools.pairwise(ends)], made.latents.tobytes()


def measure(
    engines: Path, case: Path, counts: list[int], workers: list[int], overlap: int, steps: int, rounds: int
) -> str:
    """Markdown: a row for each number of tiles. A worker has one thread, and the one alone is a process too."""
    shapes = EngineSet.open(engines).manifest.shapes
    read = Case.read(case)
    split = {n: SplitEngines(EngineSet.open(engines, threads=n), n) for n in (1, *workers)}
    pipelines = {n: Pipeline(one, keep=True) for n, one in split.items()}
    head = ["tiles", "s a step, 1 worker", *(f"{n} workers" for n in workers)]
    head += [f"speed-up, {n}, measured (lowest, highest of a round)" for n in workers] + [
        f"{n}, model" for n in workers
    ]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    try:
        for tiles in counts:
            one = of_tiles(read, tiles, shapes.tile_size, overlap)
            found: dict[int, list[float]] = {n: [] for n in pipelines}
            latents = set()
            for _ in range(rounds):
                for n, pipeline in pipelines.items():
                    seconds, made = step_seconds(pipeline, one, overlap, steps)
                    found[n].append(statistics.median(seconds))
                    latents.add(made)
            assert len(latents) == 1, "the latents differ"
            model = StepModel(statistics.median(found[1]) / tiles)
            cells = [str(tiles), *(f"{statistics.median(found[n]):.3f}" for n in pipelines)]
            for n in workers:
                ratios = [alone / spread for alone, spread in zip(found[1], found[n], strict=True)]
                cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})")
            cells += [f"{model.speed_up(tiles, n):.2f}" for n in workers]
            lines.append(f"| {' | '.join(cells)} |")
    finally:
        for pipeline in pipelines.values():
            pipeline.close()
        for engine_set in split.values():
            engine_set.close()
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", type=Path, required=True)
    parser.add_argument("--case", type=Path, required=True)
    parser.add_argument("--tiles", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--overlap", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    print(f"load before: {psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores")
    print(measure(a.engines, a.case, a.tiles, a.workers, a.overlap, a.steps, a.rounds))
    print(f"load after: {psutil.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
