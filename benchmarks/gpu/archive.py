"""The pack as a file: tar, compressed by xz. A pack may come from anywhere, so it is read within bounds.

Members are read into memory by name. Nothing is extracted: no link, device or path of a member ever reaches the disk.
"""

import io
import lzma
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

from sa.runtime.errors import InputError

FILE_LIMIT = 16 << 20  # bytes
UNPACKED_LIMIT = 512 << 20
DECODER_LIMIT = 256 << 20  # memory that xz may take
MEMBER_LIMIT = 10_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99})?")


def write(path: Path, members: Mapping[str, bytes]) -> None:
    """Write the members by their names in the pack. The same members make the same file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def read(path: Path) -> dict[str, bytes]:
    """The members by their names; InputError if the file is no pack, damaged, or beyond a bound."""
    try:
        if not path.is_file():
            raise InputError(f"{path} is missing or no file: give the pack that `gpu-check --pack` wrote.")
        if path.stat().st_size > FILE_LIMIT:
            raise InputError(f"{path} has more than {FILE_LIMIT >> 20} MiB: no pack is that large.")
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=DECODER_LIMIT)
        unpacked = decoder.decompress(path.read_bytes(), max_length=UNPACKED_LIMIT + 1)
        if len(unpacked) > UNPACKED_LIMIT:
            raise InputError(f"{path} unpacks to more than {UNPACKED_LIMIT >> 20} MiB: no pack is that large.")
        if not decoder.eof:
            raise InputError(f"{path} ends too early: take a fresh copy of it.")
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            return _members(path, archive)
    except (lzma.LZMAError, tarfile.TarError, ValueError, OverflowError, RecursionError) as error:  # of a malformed tar
        raise InputError(f"{path} is no pack or damaged ({error}): take a fresh copy of it.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): make it readable.") from None


def _members(path: Path, archive: tarfile.TarFile) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in archive:
        plain = entry.isreg() and not entry.issparse()  # a sparse file may claim any size
        if not plain or not NAME.fullmatch(entry.name) or entry.name in found:
            raise InputError(f"{path} holds {entry.name[:100]!r}, which no pack does: do not use it.")
        if len(found) == MEMBER_LIMIT:
            raise InputError(f"{path} holds more than {MEMBER_LIMIT} files: no pack has that many.")
        content = archive.extractfile(entry)
        found[entry.name] = content.read() if content is not None else b""
    return found
