"""What lies in a large file's place when a download went wrong."""

import re

_POINTER = b"version https://git-lfs.github.com/spec/"
BEGINNING = 1024  # bytes that tell; a pointer has no more, by the specification of Git LFS
_PAGE = re.compile(rb"\s*(<!doctype|<html|<\?xml|<head|<body)", re.IGNORECASE)


def impostor(beginning: bytes, size: int) -> tuple[str, str] | None:
    """What a file of `size` bytes is that begins so, and what to do, if it is a Git LFS pointer or a web page."""
    if beginning.startswith(_POINTER):
        real = re.search(rb"^size ([0-9]{1,15})$", beginning, re.MULTILINE)
        stands_for = f"a file of {int(real[1]):,} bytes" if real else "the file"
        return (
            f"it is a Git LFS pointer, {size:,} bytes of text that stand for {stands_for}",
            "run `git lfs pull` in the repository it was cloned from, or download the file itself",
        )
    if _PAGE.match(beginning):
        return (
            f"it is a web page of {size:,} bytes, as a download leaves that failed or asked for a login",
            "download it again, logged in if the site asks for it",
        )
    return None
