"""What lies in a weight file's place when a download went wrong, and what a file is whatever its name says."""

import re

from sa.export.checkpoint.tensor_files import paddle_pickle, safetensors, torch_zip
from sa.export.checkpoint.tensor_files.pickle_reader import PROTOCOLS
from sa.export.checkpoint.tensor_files.stored import FaultError, Kind

_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGEST_POINTER = 1024  # bytes, by the specification of Git LFS
_PAGE = re.compile(rb"\s*(<!doctype|<html|<\?xml|<head|<body)", re.IGNORECASE)


def refuse_impostors(data: memoryview) -> None:
    """FaultError for a Git LFS pointer or a web page."""
    start = bytes(data[:_LARGEST_POINTER])
    if start.startswith(_POINTER):
        size = re.search(rb"^size ([0-9]{1,15})$", start, re.MULTILINE)
        stands_for = f"a file of {int(size[1]):,} bytes" if size else "the file"
        raise FaultError(
            f"it is a Git LFS pointer, {len(data):,} bytes of text that stand for {stands_for}",
            "run `git lfs pull` in the repository it was cloned from, or download the file itself",
        )
    if _PAGE.match(start):
        raise FaultError(
            f"it is a web page of {len(data):,} bytes, as a download leaves that failed or asked for a login",
            "download it again, logged in if the site asks for it",
        )


def kind_by_content(data: memoryview) -> Kind | None:
    """The kind of weight file that begins like this, None if the beginning does not tell."""
    start = bytes(data[:16])
    if start.startswith(b"PK\x03\x04"):
        return torch_zip.KIND
    if len(start) > 2 and start[0] == 0x80 and start[1] in PROTOCOLS:
        return torch_zip.KIND if start[2:].startswith(torch_zip.OLD_TORCH_MAGIC) else paddle_pickle.KIND
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < len(data):
        return safetensors.KIND
    return None
