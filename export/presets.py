"""Named shapes, from configs/presets/."""

from importlib import resources

import yaml
from pydantic import ValidationError

from sa.runtime.engine_set import Record, Shapes
from sa.runtime.errors import InputError

DEFAULT = "square-512"


class Preset(Record):
    description: str
    shapes: Shapes


def names() -> list[str]:
    """The presets there are, in alphabetical order."""
    folder = resources.files("sa.configs") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_preset(name: str) -> Preset:
    """The preset called `name`; InputError lists those there are."""
    if name not in names():
        raise InputError(f"--preset {name} does not exist: choose {', '.join(names())}.")
    return Preset.model_validate(
        yaml.safe_load((resources.files("sa.configs") / "presets" / f"{name}.yaml").read_text(encoding="utf-8"))
    )


def shapes_from(preset: Preset, **overrides: int | None) -> Shapes:
    """The preset's shapes with those given replaced; InputError names a flag out of its range."""
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Shapes.model_validate({**preset.shapes.model_dump(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        reason = first["msg"].removeprefix("Input should be ")
        raise InputError(f"{flag} must be {reason}, not {first['input']}.") from None
