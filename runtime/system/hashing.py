"""SHA-256 of large files, remembered in the user's cache folder as long as a file does not change."""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

REMEMBERED_FILES = 4096  # the cache forgets the oldest beyond this


def cache_folder() -> Path:
    """The user's cache folder for this project (XDG_CACHE_HOME, else ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stableanimator-deploy"


def sha256(path: Path, use_memory: bool = True) -> str:
    """The hex SHA-256 of a file; `use_memory` trusts an earlier result for the same size, times and inode."""
    key, state = str(path.resolve()), _state(path)
    memory = _recall()
    known = memory.get(key)
    if use_memory and isinstance(known, list) and known[:-1] == state:
        return str(known[-1])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    memory.pop(key, None)
    _remember({**memory, key: [*state, digest]})
    return digest


def _state(path: Path) -> list[int]:
    stat = path.stat()
    # The change time catches an edit that put the modification time back.
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _recall() -> dict[str, list]:
    try:
        memory = json.loads((cache_folder() / "hashes.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return memory if isinstance(memory, dict) else {}


def _remember(memory: dict[str, list]) -> None:
    # A cache that cannot be written only costs time.
    with contextlib.suppress(OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=cache_folder(), delete=False) as file:
            json.dump(dict(list(memory.items())[-REMEMBERED_FILES:]), file)
        os.replace(file.name, cache_folder() / "hashes.json")
