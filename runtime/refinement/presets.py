"""Named settings of the refinement, from configs/refine.yaml."""

from dataclasses import replace
from importlib import resources
from typing import Annotated

import yaml
from pydantic import Field

from sa.runtime.contract import Record
from sa.runtime.errors import InputError
from sa.runtime.refinement.hjb import RefineSettings

PUBLISHED = "published"
DEFAULT = PUBLISHED


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


def preset_settings(name: str, steps: int) -> RefineSettings:
    """The settings of a preset in a run of so many steps; InputError lists those there are."""
    found = refine_presets()
    if name not in found:
        raise InputError(f"there is no refinement preset {name!r}: choose {', '.join(found)}.")
    preset = found[name]
    settings = RefineSettings(iterations=preset.iterations, rate=preset.rate, preset=name)
    if preset.steps is None:
        return settings
    first, last = (int(share * steps) for share in preset.steps)
    return replace(settings, start=first, end=last)
