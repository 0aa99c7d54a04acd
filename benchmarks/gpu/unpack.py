"""From a pack to engine sets: every weight is drawn again by recipe, with NumPy alone, and every file is hashed.

A pack is not trusted. Its names were checked, its sizes are bounded, and a file that does not have the SHA-256 of its
manifest is named and its engine set left out.
"""

import contextlib
import hashlib
import json
import math
import reprlib
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from pydantic import ValidationError

from sa.benchmarks.fixtures import recipe
from sa.benchmarks.gpu import archive
from sa.benchmarks.gpu.layout import CONTENTS, Pack, PackedSet, Piece, Tensor
from sa.export.output import check_output, deliver
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import FORMAT_VERSION, MANIFEST, Manifest
from sa.runtime.errors import InputError, first_fault
from sa.runtime.output.staging import staged
from sa.runtime.system import signals
from sa.runtime.system.processors import usable_cores

WEIGHTS_LIMIT = 256 << 30  # bytes of all engine sets together


@dataclass(frozen=True)
class Packed:
    """One engine set of a pack, checked as far as it can be without its weights."""

    layout: PackedSet
    manifest: Manifest
    files: dict[str, bytes]  # manifest and programs

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of every file that the manifest lists."""
        return {file.name: file.bytes for engine in self.manifest.engines for file in engine.files}

    @property
    def hashes(self) -> dict[str, str]:
        return {file.name: file.sha256 for engine in self.manifest.engines for file in engine.files}


@dataclass(frozen=True)
class Place:
    """Where a tensor goes: a file, and how it is stored there."""

    path: str
    piece: Piece


def read(path: Path) -> list[Packed]:
    """The engine sets of a pack; InputError if it is damaged or of another version."""
    members = archive.read(path)
    try:
        contents = Pack.model_validate_json(members.pop(CONTENTS, b""))
        sets = [_packed(path, layout, members) for layout in contents.sets]
        if members:
            raise ValueError(f"{reprlib.repr(min(members))} belongs to none of its engine sets")
        numbers: dict[Tensor, int] = {}
        for one in sets:
            for file in one.layout.weights:
                numbers |= {file.drawn_from(piece): math.prod(piece.shape) for piece in file.pieces}
        written = sum(sum(one.sizes.values()) for one in sets)
        if written > WEIGHTS_LIMIT or sum(numbers.values()) > written:  # each number is written at least once
            raise ValueError(f"its weights are larger than any of StableAnimator's, {written} bytes")
    except ValidationError as error:
        raise InputError(f"{path} is not sound: {first_fault(error)}; make it again with `gpu-check --pack`.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not sound: {error}; make it again with `gpu-check --pack`.") from None
    return sets


def _packed(path: Path, layout: PackedSet, members: dict[str, bytes]) -> Packed:
    """An engine set, taken out of the pack's members."""
    text = members.get(f"{layout.name}/{MANIFEST}", b"{}")
    version = found.get("format_version") if isinstance(found := json.loads(text), dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} holds engine sets of format version {reprlib.repr(version)}, this version reads {FORMAT_VERSION}; "
            "make it again with `make gpu-pack`."
        )
    manifest = Manifest.model_validate_json(text)
    layout.check(manifest)
    names = {MANIFEST, *(engine.program for engine in manifest.engines)}
    files = {name: members.pop(f"{layout.name}/{name}", None) for name in names}
    if lacking := sorted(name for name, content in files.items() if content is None):
        raise ValueError(f"{layout.name} lacks {lacking[0]}")
    return Packed(layout, manifest, files)


def unpack(
    path: Path, data: Path, reporter: Reporter, names: Collection[str] | None = None, jobs: int | None = None
) -> tuple[list[Path], list[str]]:
    """Draw the engine sets of a pack into folders of `data`.

    `names`: which sets, None: all. A set that is there already stays. Returns the folders, and for each set that did
    not come out as its manifest says a sentence with the first file that differs. InputError for a pack that cannot be
    used, an unknown name, or too little room on the disk.
    """
    sets = {one.layout.name: one for one in read(path)}
    for name in names or ():
        if name not in sets:
            raise InputError(f"{path} holds no engine set {name}: choose from {', '.join(sets)}.")
    chosen = [one for name, one in sets.items() if names is None or name in names]
    missing = [one for one in chosen if not _is_there(data / one.layout.name, one)]
    _check_room(data, sum(sum(one.sizes.values()) for one in missing))
    problems: dict[str, str] = {}
    with contextlib.ExitStack() as undo:
        folders = {}
        for one in missing:
            check_output(data / one.layout.name)
            folders[one.layout.name] = undo.enter_context(staged(data / one.layout.name))
        pool = undo.enter_context(ProcessPoolExecutor(jobs or usable_cores(), get_context("spawn")))
        _draw(missing, folders, pool, reporter)
        for one in missing:
            name = one.layout.name
            if (different := _first_difference(one, folders[name], pool)) is not None:
                problems[name] = (
                    f"{name}/{different} does not have the SHA-256 of its manifest: the pack is damaged, or NumPy "
                    "draws other numbers here; attach this sentence to the report."
                )
            else:
                with signals.ignored():
                    deliver(folders[name], data / name)
    return [data / one.layout.name for one in chosen if one.layout.name not in problems], list(problems.values())


def _is_there(folder: Path, one: Packed) -> bool:
    """Whether an earlier call left the set here: its manifest comes last. Whoever opens it checks the hashes."""
    manifest = folder / MANIFEST
    return manifest.is_file() and manifest.read_bytes() == one.files[MANIFEST]


def _check_room(data: Path, needed: int) -> None:
    place = next(folder for folder in (data, *data.absolute().parents) if folder.exists())
    if needed > (free := shutil.disk_usage(place).free):
        raise InputError(
            f"{data} has {free / 2**30:.1f} GiB free, but the engine sets take {needed / 2**30:.1f} GiB: give --data a "
            "folder on a larger disk, or --sets fewer of them."
        )


def _draw(sets: list[Packed], folders: dict[str, Path], pool: ProcessPoolExecutor, reporter: Reporter) -> None:
    """Write every file. A tensor that several files hold is drawn once."""
    places: dict[Tensor, list[Place]] = defaultdict(list)
    for one in sets:
        folder = folders[one.layout.name]
        for name, content in one.files.items():
            (folder / name).write_bytes(content)
        for file in one.layout.weights:
            with (folder / file.name).open("wb") as empty:
                empty.truncate(one.sizes[file.name])
            for piece in file.pieces:
                places[file.drawn_from(piece)].append(Place(str(folder / file.name), piece))
    largest_first = sorted(places.items(), key=lambda item: -math.prod(item[0][2]))
    with reporter.stage("drawing weights", len(largest_first)) as advance:
        for name in pool.map(_write_tensor, *zip(*largest_first, strict=True)) if largest_first else ():
            advance(name)


def _write_tensor(tensor: Tensor, places: list[Place]) -> str:
    part, name, shape = tensor
    value = recipe.tensor(name, shape, part)
    for place in places:
        with open(place.path, "r+b") as file:
            file.seek(place.piece.offset)
            file.write(place.piece.stored(value).data)
    return name


def _first_difference(one: Packed, folder: Path, pool: ProcessPoolExecutor) -> str | None:
    """The first file whose SHA-256 is not the manifest's."""
    names = sorted(one.hashes, key=lambda name: -one.sizes[name])
    found: Iterator[str] = pool.map(_sha256, [str(folder / name) for name in names])
    return next((name for name, digest in zip(names, found, strict=True) if digest != one.hashes[name]), None)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
