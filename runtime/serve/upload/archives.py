"""Uploaded archives. Their members' sizes are bounded before they are unpacked, and while they are.

No name of a member becomes a path: a member that a case knows is written under a name of ours, all others are left.
"""

import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sa.runtime.case.numbering import number_names
from sa.runtime.errors import InputError

MIB = 1 << 20
DIRECTORY_LIMIT = 16 * MIB  # bytes of the list of members, which is read whole
RATIO = 200  # of a member's size to what it takes in the archive, from one MiB on
END = struct.Struct("<4s4H2LH")  # the end of a zip file: its last 22 bytes, unless it has a comment
ZIP64_END, ZIP64_BYTES = b"PK\x06\x07", 20  # before it, in a zip64 archive: where a longer end is, which replaces it
COPIED = 1 << 16  # bytes at a time
PICTURE = r"\.(png|jpg|jpeg|webp|bmp)"
SINGLE = re.compile(rf"(reference{PICTURE}|reference_mask\.png|identity\.npy|audio\.flac|case\.json)")
FRAME = re.compile(rf"(poses|faces)/[^./][^/]*{PICTURE}", re.IGNORECASE)


@contextmanager
def opened(path: Path, members: int, size: int, name: str) -> Iterator[zipfile.ZipFile]:
    """The archive, if it has at most so many members of at most so many bytes together; InputError otherwise."""
    _check_end(path, members, name)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), members, size, name)
            yield archive
    except InputError:
        raise
    except (zipfile.BadZipFile, ValueError, EOFError, struct.error, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{name} is damaged or cut short ({error}): give a whole zip file.") from None
    except zipfile.zlib.error:  # type: ignore[attr-defined]
        raise InputError(f"{name} is damaged: give a whole zip file.") from None


def unpack_case(path: Path, target: Path, members: int, size: int, name: str) -> None:
    """Write the members of a case into `target`. InputError for an archive that is none of a case, or not to trust."""
    with opened(path, members, size, name) as archive:
        chosen = _case_members(archive.infolist(), name)
        for folder in (target, target / "poses", target / "faces"):
            folder.mkdir()
        left = size
        for place, member in chosen.items():
            left -= copy_member(archive, member, target / place, left, name)
    faces = target / "faces"
    if not any(faces.iterdir()):
        faces.rmdir()


def copy_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, limit: int, name: str) -> int:
    """Write one member, whatever size it claims, up to so many bytes; returns how many it had."""
    written = 0
    with archive.open(member) as source, target.open("xb") as file:
        while block := source.read(COPIED):
            written += len(block)
            if written > limit:
                raise InputError(f"{name} unpacks to more than {limit:,} bytes: give a smaller case.")
            file.write(block)
    return written


def _check_end(path: Path, members: int, name: str) -> None:
    """Bounds on the list of members, from the archive's last bytes: before it is read."""
    size = path.stat().st_size
    if size < END.size:
        raise InputError(f"{name} is not a zip file: give one.")
    with path.open("rb") as file:
        file.seek(max(0, size - END.size - ZIP64_BYTES))
        tail = file.read()
    before, end = tail[: -END.size], END.unpack(tail[-END.size :])
    if end[0] != b"PK\x05\x06" or end[-1] != 0:
        raise InputError(f"{name} is not a zip file, or has bytes or a comment after its end: give a plain one.")
    if before.startswith(ZIP64_END):
        raise InputError(f"{name} is a zip64 archive: make one of fewer than 65,536 files and 4 GiB without zip64.")
    entries, directory = end[4], end[5]
    if entries > members or directory > DIRECTORY_LIMIT:
        raise InputError(f"{name} has more than {members:,} members: give a smaller one.")


def _check_members(found: list[zipfile.ZipInfo], members: int, size: int, name: str) -> None:
    if len(found) > members:
        raise InputError(f"{name} has more than {members:,} members: give a smaller one.")
    total = 0
    for one in found:
        where = f"{name} has a member {one.filename[:80]!r}"
        if one.filename.startswith("/") or "\\" in one.filename or ":" in one.filename:
            raise InputError(f"{where}, which is no relative path: give an archive of relative paths.")
        if ".." in one.filename.split("/"):
            raise InputError(f"{where}, which leads out of the archive: give an archive of relative paths.")
        kind = stat.S_IFMT(one.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{where}, which is a link or a device: give plain files.")
        if one.flag_bits & 1:
            raise InputError(f"{where}, which is encrypted: give an archive without a password.")
        if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{where}, which is not compressed by deflate: make the archive with another program.")
        if one.file_size > MIB and one.file_size > RATIO * max(one.compress_size, 1):
            raise InputError(f"{where}, which unpacks to {one.file_size:,} bytes of {one.compress_size:,}: refused.")
        total += one.file_size
    if total > size:
        raise InputError(f"{name} unpacks to {total:,} bytes, more than {size:,}: give a smaller case.")


def _case_members(found: list[zipfile.ZipInfo], name: str) -> dict[str, zipfile.ZipInfo]:
    """Where each member of a case goes. The case may lie in a folder of the archive."""
    files = [one for one in found if not one.is_dir()]
    references = [one.filename for one in files if re.fullmatch(rf"reference{PICTURE}", one.filename.split("/")[-1])]
    if not references:
        raise InputError(f"{name} holds no reference.png: give the folder of a case, as sa-prepare makes it.")
    shortest = min(references, key=lambda one: (one.count("/"), one))
    home = shortest[: -len(shortest.split("/")[-1])]
    chosen: dict[str, zipfile.ZipInfo] = {}
    frames: dict[str, dict[Path, zipfile.ZipInfo]] = {"poses": {}, "faces": {}}
    for one in files:
        if not one.filename.startswith(home):
            continue
        inside = one.filename[len(home) :]
        if (match := FRAME.fullmatch(inside)) is not None:
            among, key = frames[match[1].lower()], Path(inside)
            if key in among:
                raise InputError(f"{name} has {inside[:80]!r} twice: give each frame once.")
            among[key] = one
        elif SINGLE.fullmatch(inside):
            if inside in chosen:
                raise InputError(f"{name} has {inside[:80]!r} twice: give each file once.")
            chosen[inside] = one
    for folder, members in frames.items():
        if members:
            chosen |= _numbered(folder, members, name)
    return chosen


def _numbered(folder: str, members: dict[Path, zipfile.ZipInfo], name: str) -> dict[str, zipfile.ZipInfo]:
    """The frames of a folder by names of ours, with the numbers that they would have on a disk."""
    try:
        numbers = number_names(members, folder)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return {f"{folder}/frame_{number}{path.suffix.lower()}": members[path] for number, path in numbers.items()}
