"""Named shapes, from configs/presets.yaml."""

from importlib import resources

import yaml
from pydantic import ValidationError

from sa.runtime.contract import Record, Shapes
from sa.runtime.errors import InputError, first_fault

DEFAULT = "square-512"


class Preset(Record):
    description: str
    shapes: Shapes


def presets() -> dict[str, Preset]:
    """All presets by name."""
    listed = yaml.safe_load((resources.files("sa.configs") / "presets.yaml").read_text(encoding="utf-8"))
    return {name: Preset.model_validate(preset) for name, preset in listed.items()}


def load_preset(name: str) -> Preset:
    """The preset called `name`; InputError lists those there are."""
    found = presets()
    if name not in found:
        raise InputError(f"--preset {name} does not exist: choose {', '.join(found)}.")
    return found[name]


def shapes_from(preset: Preset, **overrides: int | None) -> Shapes:
    """The preset's shapes with those given replaced; InputError names a flag out of its range."""
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Shapes.model_validate({**preset.shapes.model_dump(), **given})
    except ValidationError as error:
        raise InputError(f"--{first_fault(error).replace('_', '-')}.") from None


def check_window(size: int, shapes: Shapes) -> None:
    """InputError unless a window of `size` pixels is a part of the frame."""
    least, most = 64, min(shapes.height, shapes.width)
    if shapes.height == shapes.width:
        most -= 8
    if most < least:
        raise InputError(
            f"a frame of {shapes.width}x{shapes.height} pixels has no room for a window: leave out --refine-window."
        )
    if size % 8 or not least <= size <= most:
        raise InputError(
            f"--refine-window must be a multiple of 8 from {least} to {most} in a frame of "
            f"{shapes.width}x{shapes.height} pixels, not {size}."
        )
