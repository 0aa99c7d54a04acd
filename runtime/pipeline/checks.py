"""What is said of a run before it begins: of the device, of memory, and of the networks an identity needs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from sa.runtime.contract import Manifest
from sa.runtime.engine_set.memory_plan import Choices, MemoryPlan, gibibytes
from sa.runtime.engine_set.open import EngineSource
from sa.runtime.errors import import_failed
from sa.runtime.pipeline.settings import Settings
from sa.runtime.refinement.window import Places
from sa.runtime.sampling.denoiser import is_guided


def device_warnings(engines: EngineSource) -> list[str]:
    manifest, warnings = engines.manifest, []
    if manifest.precision == "fp16" and engines.device == "cpu":
        warnings.append(
            f"{engines.folder} has fp16 engines, which a CPU computes in float32, slower than float32 engines: "
            "export with --precision fp32 to run here."
        )
    if engines.device == "cuda" and manifest.device == "cpu":
        warnings.append(
            f"{engines.folder} was certified {_certified(manifest)}, not on a GPU: compare a first result with one of "
            "--device cpu."
        )
    return warnings


def _certified(manifest: Manifest) -> str:
    emulated = any(engine.certificate.executed == "emulation" for engine in manifest.engines)
    return "by emulation on a CPU" if emulated else "on a CPU"


def guides(settings: Settings, sigmas: np.ndarray, warnings: list[str]) -> bool:
    """Whether any step is guided. sigmas: [steps + 1]. A warning if the interval alone keeps them from it."""
    if max(settings.guidance, settings.guidance_start or 0) <= 1:
        return False
    interval = settings.guidance_interval
    if any(is_guided(float(sigma), interval) for sigma in sigmas[:-1]):
        return True
    assert interval is not None
    warnings.append(
        f"no step is guided: none has a sigma above {interval[0]:g} and at most {interval[1]:g}; give another "
        "--guidance-interval if that is not meant."
    )
    return False


def memory_choices(
    frames: int,
    tiles: int,
    settings: Settings,
    guided: bool,
    low_memory: bool,
    places: Places | None = None,
) -> Choices:
    """What of a run decides how much memory it takes. places: those of the refinement, if they are known."""
    return Choices(
        frames,
        low_memory,
        refine=settings.refine is not None if places is None else bool(places.full),
        window=places is not None and bool(places.windows),
        branches=2 if guided else 1,
        tiles=tiles,
        cached=settings.cache_interval > 1,
        both_counts=guided and settings.guidance_interval is not None,
    )


def planned_memory(
    engines: EngineSource,
    frames: int,
    tiles: int,
    settings: Settings,
    guided: bool,
    places: Places | None,
    warnings: list[str],
) -> tuple[MemoryPlan | None, str | None]:
    """What memory the run will take, and a sentence on it. None if it is unknown; EngineSetError if it cannot fit.

    places: those of the refinement, if there is one.
    """
    plan = engines.plan_memory(memory_choices(frames, tiles, settings, guided, engines.low_memory, places))
    if plan is None:
        return None, None
    worst, free = gibibytes(plan.worst.predicted), gibibytes(plan.available)
    if plan.worst.predicted > plan.available:
        warnings.append(
            f"{plan.worst.stage} will take about {worst}, and {free} are free: expect the system to swap or to end the "
            "run; --low-memory takes less."
        )
    return plan, f"memory: about {worst} at its most, while {plan.worst.stage}; {free} are free"


def embedder(upstream: bool) -> Callable[[np.ndarray, Path, list[str]], np.ndarray]:
    """A function that makes an identity embedding with the face networks of the extra 'prepare'."""

    def embed(picture: np.ndarray, models: Path, warnings: list[str]) -> np.ndarray:
        try:
            from sa.runtime.prepare.estimate.face_networks import reference_embedding
        except ImportError as error:
            raise import_failed("--models", error, "prepare") from None
        return reference_embedding(picture, models, upstream, warnings)

    return embed
