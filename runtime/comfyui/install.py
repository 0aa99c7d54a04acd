"""Puts the pack into a ComfyUI folder, and takes it away."""

import shutil
from pathlib import Path

from sa.runtime.errors import InputError

PACK = Path(__file__).parent / "pack"
NAME = "stableanimator"  # in custom_nodes, and of the engine sets' folder in models
MARK = 'name = "stableanimator-engines"'  # in its pyproject.toml: tells our pack from another of its name


def install(comfyui: Path) -> str:
    """Link the pack into custom_nodes, or copy it where links are not allowed. Returns a sentence on what was done.

    InputError for a folder that is no ComfyUI, or whose custom_nodes has something else of this name.
    """
    place, engines = _place(comfyui), comfyui / "models" / NAME
    _clear(place)
    engines.mkdir(parents=True, exist_ok=True)
    try:
        place.symlink_to(PACK, target_is_directory=True)
        how = "linked"
    except (OSError, NotImplementedError):  # Windows allows links to some users only
        shutil.copytree(PACK, place, ignore=shutil.ignore_patterns("__pycache__"))
        how = "copied"
    return f"{how} into {place}; put engine sets into {engines}, or links to them, and restart ComfyUI"


def remove(comfyui: Path) -> str:
    """Take the pack away; engine sets stay. Returns a sentence on what was done. InputError as `install`."""
    place = _place(comfyui)
    found = _clear(place)
    return f"{place} was {'removed; restart ComfyUI' if found else 'not there'}"


def _place(comfyui: Path) -> Path:
    nodes = comfyui / "custom_nodes"
    if not nodes.is_dir():
        raise InputError(f"{comfyui} has no folder custom_nodes: give the folder that ComfyUI's main.py is in.")
    return nodes.resolve() / NAME


def _clear(place: Path) -> bool:
    """Remove an earlier link or copy of the pack; False if there was none."""
    if place.is_symlink():
        if place.exists() and not _is_ours(place):
            raise InputError(f"{place} is a link to something else: remove or rename it.")
        place.unlink()
        return True
    if not place.exists():
        return False
    if not _is_ours(place):
        raise InputError(f"{place} is not this pack: remove or rename it.")
    shutil.rmtree(place)
    return True


def _is_ours(place: Path) -> bool:
    file = place / "pyproject.toml"
    return file.is_file() and MARK in file.read_text(encoding="utf-8")
