"""run.json: the record of a run."""

import platform
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import numpy as np

from sa.runtime import PROJECT
from sa.runtime.backends.libraries import backend_version
from sa.runtime.case.case import Case
from sa.runtime.engine_set.open import EngineSource
from sa.runtime.pipeline.settings import Settings
from sa.runtime.refinement.hjb import RefineSettings
from sa.runtime.system.memory import peak_memory


def run_report(
    engines: EngineSource,
    case: Case,
    settings: Settings,
    fps: float,
    warnings: list[str],
    seconds: dict[str, float],
) -> dict:
    """What run.json says of any run."""
    manifest = engines.manifest
    arguments = asdict(settings) | {
        "threads": engines.threads,
        "low_memory": engines.low_memory,
        "refine": settings.refine is not None,
        "refine_settings": asdict(settings.refine or RefineSettings()),
    }
    return {
        "project": PROJECT,
        "version": metadata.version(PROJECT),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "arguments": {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()},
        "case": case.name,
        "frames": case.frames,
        "fps": fps,
        "engines": str(engines.folder),
        "engines_digest": engines.digest,
        "backend": manifest.backend,
        "device": engines.device,
        "precision": manifest.precision,
        "shapes": manifest.shapes.model_dump(),
        "cache_depth": manifest.cache_depth,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            manifest.backend: backend_version(engines.backend) or manifest.backend_version,
        },
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_memory_bytes": peak_memory(),
        "warnings": warnings,
    }
