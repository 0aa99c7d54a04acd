"""Bad input, one row each, and the ways to spoil what was good."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, rmtree

import numpy as np
import pytest
from command_lines import fails, replaced
from PIL import Image

Spoil = Callable[[Path], object]


@dataclass(frozen=True)
class Row:
    """One bad input. {place} in a message or a flag is the folder in which everything of the row lies."""

    name: str
    message: str  # all that the command says
    spoil: Spoil = lambda place: None
    flags: tuple[str, ...] = ()  # in place of the usual ones of their names


def each(table: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table, ids=[row.name for row in table])


def check(command: str, row: Row, arguments: list[str], place: Path, code: int, capsys, **facts: object) -> None:
    """The command refuses the spoiled input with the row's message; `facts` fill in what varies by machine."""
    row.spoil(place)
    flags = [word.format(place=place) for word in row.flags]
    fails(command, [*replaced(arguments, flags), *flags], place, code, row.message.format(place=place, **facts), capsys)


# -- ways to spoil something; names of files are relative to {place} --------------------------------------------


def all_of(*spoils: Spoil) -> Spoil:
    """One after the other."""

    def spoil(place: Path) -> None:
        for one in spoils:
            one(place)

    return spoil


def remove(name: str) -> Spoil:
    return lambda place: rmtree(place / name) if (place / name).is_dir() else (place / name).unlink()


def rename(name: str, new: str) -> Spoil:
    return lambda place: (place / name).rename(place / new)


def copy(name: str, to: str) -> Spoil:
    return lambda place: copyfile(place / name, place / to)


def write(name: str, content: bytes | str = "") -> Spoil:
    def spoil(place: Path) -> None:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def cut(name: str, by: int) -> Spoil:
    """Take the last bytes of a file away."""
    return lambda place: os.truncate(place / name, (place / name).stat().st_size - by)


def damage(name: str) -> Spoil:
    """Overwrite the middle of a file."""

    def spoil(place: Path) -> None:
        with (place / name).open("r+b") as file:
            file.seek((place / name).stat().st_size // 2)
            file.write(bytes(64))

    return spoil


def edit_json(name: str, **fields: object) -> Spoil:
    """Set fields of a JSON file; an ellipsis takes the field out."""

    def spoil(place: Path) -> None:
        content = json.loads((place / name).read_text()) | fields
        (place / name).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))

    return spoil


def write_image(name: str, width: int, height: int, mode: str = "RGB") -> Spoil:
    """A black image."""

    def spoil(place: Path) -> None:
        (place / name).parent.mkdir(exist_ok=True)
        Image.new(mode, (width, height)).save(place / name)

    return spoil


def write_array(name: str, value: object) -> Spoil:
    return lambda place: np.save(place / name, value, allow_pickle=True)


def without_engine(role: str) -> Spoil:
    """The manifest no longer lists this engine."""

    def spoil(place: Path) -> None:
        manifest = "engines/manifest.json"
        engines = json.loads((place / manifest).read_text())["engines"]
        edit_json(manifest, engines=[engine for engine in engines if engine["role"] != role])(place)

    return spoil


class CreatesAFile:
    """Pickled, a command that creates a file when the pickle is loaded."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.file}'",)


OUT_IN_THE_WAY = [
    Row("--out is a file", "{place}/out is a file: give --out a folder.", write("out", "mine")),
    Row(
        "--out below a file",
        "{place}/file/out cannot be made: a file or a broken link is in the way, choose another --out.",
        write("file"),
        ("--out", "{place}/file/out"),
    ),
    Row(
        "--out is a link to nothing",
        "{place}/out cannot be made: a file or a broken link is in the way, choose another --out.",
        lambda place: (place / "out").symlink_to("nowhere"),
    ),
]
