"""Named settings of the refinement, from configs/refine.yaml."""

from importlib import resources
from typing import Annotated

import yaml
from pydantic import Field

from sa.runtime.contract import Record
from sa.runtime.errors import InputError
from sa.runtime.refinement.hjb import RefineSettings

PUBLISHED = "published"
DEFAULT = PUBLISHED


class RefinePreset(Record):
    description: str
    start: Annotated[int, Field(ge=0, le=999)] = 0
    end: Annotated[int, Field(ge=0, le=999)]
    every: Annotated[int, Field(ge=1, le=1000)] = 1
    iterations: Annotated[int, Field(ge=1, le=1000)]


def refine_presets() -> dict[str, RefinePreset]:
    """All of them by name, from the most gradients to the fewest."""
    listed = yaml.safe_load((resources.files("sa.configs") / "refine.yaml").read_text(encoding="utf-8"))
    return {name: RefinePreset.model_validate(preset) for name, preset in listed.items()}


def preset_settings(name: str) -> RefineSettings:
    """The settings of a preset; InputError lists those there are."""
    found = refine_presets()
    if name not in found:
        raise InputError(f"there is no refinement preset {name!r}: choose {', '.join(found)}.")
    preset = found[name]
    return RefineSettings(preset.start, preset.end, preset.iterations, preset.every, preset=name)
