"""Parts of case.json: what the case was made from and with, when its frames are shown, how long the work took."""

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import av
import cv2
import insightface
import numpy as np
import onnxruntime

from sa.runtime import PROJECT
from sa.runtime.prepare.given import Given
from sa.runtime.prepare.input.driving import Driving
from sa.runtime.prepare.input.timeline import Timeline
from sa.runtime.prepare.settings import Settings
from sa.runtime.system.hashing import digest_of, sha256


def find_sources(settings: Settings, driving: Driving, given: Given, models: list[Path]) -> dict:
    """The files that the case is made from, with their SHA-256."""
    sources: dict = {
        "reference": {"path": str(settings.reference), "sha256": sha256(settings.reference)},
        "driving": {"path": str(settings.driving), "sha256": driving.digest()},
    }
    sources |= {name: {"path": str(path), "sha256": digest_of(path)} for name, path in given.files.items()}
    if models:
        sources["models"] = [{"path": str(file), "sha256": sha256(file)} for file in models]
    return sources


def find_versions() -> dict:
    libraries = (av, cv2, insightface, np, onnxruntime)
    return {
        PROJECT: metadata.version(PROJECT),
        "python": platform.python_version(),
        **{library.__name__: library.__version__ for library in libraries},
    }


def time_of(timeline: Timeline | None, taken: Sequence[int]) -> dict | None:
    """For case.json: how long the source is, its rate, and when the taken frames are shown; None without times."""
    if timeline is None:
        return None
    return {
        "duration": round(timeline.end, 4),
        "fps": timeline.fps,
        "varying_rate": timeline.varies,
        "frames": len(timeline.times),
        "of_frames": [round(timeline.times[number], 4) for number in taken],
    }


def seconds_a_frame(stages: Mapping[str, float], drawing: Mapping[str, float], frames: int) -> dict[str, float]:
    """By part. Threads draw, so the parts of "drawing" may add up to more than it."""
    parts = {name: stages[name] for name in ("poses", "motion", "drawing")}
    parts |= {f"drawing: {name}": value for name, value in drawing.items()}
    return {name: round(value / frames, 5) for name, value in parts.items()}
