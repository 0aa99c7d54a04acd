"""Animates a case for a node: progress, previews, interruption, and the frames as one IMAGE."""

import json
from dataclasses import dataclass, replace

import numpy as np

from sa.runtime.comfyui.cases import NodeCase
from sa.runtime.comfyui.engines import Engines
from sa.runtime.comfyui.host import Host, HostToken, Progress
from sa.runtime.comfyui.words import in_words
from sa.runtime.errors import InputError
from sa.runtime.pipeline.quality import quality_settings
from sa.runtime.pipeline.settings import Settings
from sa.runtime.refinement.hjb import RefineSettings, Region
from sa.runtime.refinement.presets import refine_settings


@dataclass(frozen=True)
class RefineOptions:
    """What Refine Options gives: a preset, whose steps depend on the run's, and what replaces parts of it."""

    preset: str
    region: Region
    tolerance: float = 0  # 0: none
    start: int = -1  # -1, and 0 of the last two: the preset's
    end: int = -1
    iterations: int = 0
    rate: float = 0

    def settings(self, steps: int) -> RefineSettings:
        """InputError for what contradicts itself or the number of steps."""
        given = {name: value for name in ("start", "end") if (value := getattr(self, name)) >= 0}
        given |= {name: value for name in ("iterations", "rate") if (value := getattr(self, name)) > 0}
        made = refine_settings(steps, self.preset, **given, region=self.region, tolerance=self.tolerance or None)
        if made.end < made.start:
            raise InputError(f"the refinement's end must be at least its start, {made.start}, not {made.end}.")
        if made.start >= steps:
            raise InputError(f"the refinement's start must be less than the {steps} steps, not {made.start}.")
        return made


@dataclass(frozen=True)
class Animation:
    pieces: list[np.ndarray]  # each [B, H, W, 3] float32 from 0 to 1: views of one array
    fps: float
    report: str  # what run.json says


@in_words()
def animate(engines: Engines, case: NodeCase, settings: Settings, frames_per_piece: int, host: Host) -> Animation:
    """Animate a case. `frames_per_piece` 0: all frames are one piece.

    Every frame is decoded into its place in one array; there is no second copy. Errors as Pipeline.prepare, and what
    the host raises if the user interrupts.
    """
    pipeline, token = engines.pipeline, HostToken(host)
    chosen = replace(settings, identity=case.identity, models=case.models)
    result = pipeline(case.case, chosen, on_event=Progress(host), cancel=token)
    count, images = len(result), np.empty(0)
    for i, frame in result.decode():
        if i == 0:  # a padded case's frames are smaller than the engines'
            images = np.empty((count, *frame.shape), np.float32)
        np.divide(frame, 255, out=images[i], dtype=np.float32)
    size = frames_per_piece or count
    pieces = [images[start : start + size] for start in range(0, count, size)]
    return Animation(pieces, result.fps, json.dumps(result.report, indent=1))


def settings_of(quality: str, steps: int, guidance: float, seed: int, refine: RefineOptions | None) -> Settings:
    """`steps` 0: those of the quality. InputError for what there is not, and a refinement that would never begin."""
    chosen = quality_settings(quality)
    steps = steps or chosen.steps
    refined = refine.settings(steps) if refine is not None else None
    return replace(chosen, steps=steps, guidance=guidance, seed=seed, refine=refined)
