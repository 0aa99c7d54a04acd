"""Named settings of speed and quality, from configs/quality.yaml."""

from importlib import resources
from typing import Annotated

import yaml
from pydantic import Field

from sa.runtime.contract import Record
from sa.runtime.errors import InputError
from sa.runtime.pipeline.settings import Settings
from sa.runtime.sampling.schedule import ScheduleName

DEFAULT = "exact"


class Quality(Record):
    description: str
    schedule: ScheduleName
    steps: Annotated[int, Field(ge=1, le=1000)]
    guidance_interval: tuple[float, float] | None = None
    cache_interval: Annotated[int, Field(ge=1, le=1000)] = 1

    @property
    def settings(self) -> dict:
        """The fields of `Settings` that it decides."""
        return self.model_dump(exclude={"description"})


def qualities() -> dict[str, Quality]:
    """All of them by name, from the most exact to the fastest."""
    listed = yaml.safe_load((resources.files("sa.configs") / "quality.yaml").read_text(encoding="utf-8"))
    return {name: Quality.model_validate(quality) for name, quality in listed.items()}


def quality_settings(name: str) -> Settings:
    """The settings of a quality; InputError for an unknown one lists the known ones."""
    found = qualities()
    if name not in found:
        raise InputError(f"there is no quality {name!r}: choose {', '.join(found)}.")
    return Settings(quality=name, **found[name].settings)
