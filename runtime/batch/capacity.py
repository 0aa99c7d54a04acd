"""How many workers fit into the memory of this machine together, before anything is loaded."""

from collections.abc import Sequence

from sa.runtime.batch.job import Job
from sa.runtime.case.case import Case
from sa.runtime.engine_set.memory_plan import gibibytes, stage_memory, warm_bytes
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.engine_set.warm import SPARE
from sa.runtime.errors import EngineSetError, UserError
from sa.runtime.pipeline.checks import guides, memory_choices
from sa.runtime.sampling.schedule import make_sigmas
from sa.runtime.sampling.tiles import tile_indices
from sa.runtime.system.memory import available_memory

PROCESS = 100 << 20  # bytes of a worker before its first engine: Python, NumPy and an engine library


def require_room(engines: EngineSet, jobs: Sequence[Job], workers: int) -> None:
    """EngineSetError unless so many workers on the CPU fit, each with the case that takes most memory.

    A single worker is checked by its runs, as those of sa-run are.
    """
    if workers < 2:
        return
    free, needed = available_memory(), worker_bytes(engines, jobs)
    if workers * needed <= free:
        return
    fit = max(1, free // needed)
    smaller = "" if engines.low_memory else ", or --low-memory"
    raise EngineSetError(
        f"{workers} workers would take {gibibytes(workers * needed)} together, {gibibytes(needed)} each at its most, "
        f"but {gibibytes(free)} of memory are free: give --workers {fit}{smaller}."
    )


def worker_bytes(engines: EngineSet, jobs: Sequence[Job]) -> int:
    """What a worker on a CPU takes with the case that takes most."""
    return PROCESS + max((_bytes(engines, job) for job in jobs), default=0)


def stay_loaded(engines: EngineSet, workers: int) -> bool:
    """Whether there is room for all engines of every worker between its jobs."""
    if engines.device != "cpu":
        return not engines.low_memory
    needed = PROCESS + SPARE * warm_bytes(engines.manifest)
    return not engines.low_memory and workers * needed < available_memory()


def _bytes(engines: EngineSet, job: Job) -> int:
    """The most that a job is predicted to take. 0 for one that cannot be done, of which its worker says why."""
    manifest, settings = engines.manifest, job.settings
    try:
        case = Case.read(job.case)
        frames = len(case.poses) if job.part is None else case.part(*job.part).frames
        tiles = len(tile_indices(frames, manifest.shapes.tile_size, settings.tile_overlap))
        guided = guides(settings, make_sigmas(settings.schedule, settings.steps, manifest.schedule), [])
        choices = memory_choices(frames, tiles, settings, guided, engines.low_memory)
        if (settings.refine and manifest.refine is None) or (choices.cached and manifest.cache_depth is None):
            return 0
    except UserError:
        return 0
    return max(stage.predicted for stage in stage_memory(manifest, "cpu", choices))
