"""Named settings of the refinement, from configs/refine.yaml."""

from dataclasses import replace
from importlib import resources
from typing import Annotated, Any

import yaml
from pydantic import Field

from sa.runtime.contract import Record
from sa.runtime.errors import InputError
from sa.runtime.refinement.hjb import RefineSettings

PUBLISHED = "published"
DEFAULT = "balanced"

Share = Annotated[float, Field(ge=0, lt=1)]  # of a run's steps


class RefinePreset(Record):
    description: str
    steps: tuple[Share, Share] | None = None  # first and last step refined; None: as published
    iterations: Annotated[int, Field(ge=1, le=1000)]
    rate: Annotated[float, Field(gt=0, le=10)]


def refine_presets() -> dict[str, RefinePreset]:
    """All of them by name, from the most gradients to the fewest."""
    listed = yaml.safe_load((resources.files("sa.configs") / "refine.yaml").read_text(encoding="utf-8"))
    return {name: RefinePreset.model_validate(preset) for name, preset in listed.items()}


def refine_settings(steps: int, preset: str = DEFAULT, **given: Any) -> RefineSettings:
    """The settings of a preset in a run of so many steps; InputError for an unknown preset lists the known ones.

    `given`: fields of RefineSettings, which replace the preset's. `start` or `end` replaces both steps of the preset:
    the other one is then RefineSettings' default.
    """
    found = refine_presets()
    if preset not in found:
        raise InputError(f"there is no refinement preset {preset!r}: choose {', '.join(found)}.")
    named = found[preset]
    settings = RefineSettings(iterations=named.iterations, rate=named.rate, preset=preset)
    if named.steps is not None and not given.keys() & {"start", "end"}:
        first, last = (int(share * steps) for share in named.steps)
        settings = replace(settings, start=first, end=last)
    return replace(settings, **given)
