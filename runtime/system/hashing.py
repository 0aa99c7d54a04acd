"""SHA-256 of large files, cached in the user's cache folder until a file changes."""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

from sa.runtime.system.regular_files import require_regular

REMEMBERED_FILES = 4096  # beyond this, the cache drops the oldest


def cache_folder() -> Path:
    """The user's cache folder for this project (XDG_CACHE_HOME, else ~/.cache).

    A user without a home, as in some containers, gets a folder that cannot be made, and so no cache.
    """
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        caches = Path(os.devnull)
    return caches / "stableanimator-deploy"


def sha256(path: Path, use_cache: bool = True) -> str:
    """The hex SHA-256 of a file. `use_cache`: an earlier result for the same size, times and inode is good enough."""
    require_regular(path)
    key, state = str(path.resolve()), _state(path)
    cache = _read_cache()
    known = cache.get(key)
    if use_cache and isinstance(known, list) and known[:-1] == state:
        return str(known[-1])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    cache.pop(key, None)
    _write_cache({**cache, key: [*state, digest]})
    return digest


def digest_of(path: Path) -> str:
    """The hex SHA-256 of a file, or of the names and contents of a folder's files."""
    if not path.is_dir():
        return sha256(path)
    whole = hashlib.sha256()
    for file in sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")):
        with file.open("rb") as content:
            whole.update(f"{file.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def _state(path: Path) -> list[int]:
    stat = path.stat()
    # The change time reveals an edit that restored the modification time.
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _read_cache() -> dict[str, list]:
    try:
        cache = json.loads((cache_folder() / "hashes.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return cache if isinstance(cache, dict) else {}


def _write_cache(cache: dict[str, list]) -> None:
    # A cache that cannot be written only costs time.
    with contextlib.suppress(OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=cache_folder(), delete=False) as file:
            file.write(json.dumps(dict(list(cache.items())[-REMEMBERED_FILES:])))  # json.dump takes twice as long
        os.replace(file.name, cache_folder() / "hashes.json")
