"""Uploaded pictures: their size is read from the header, and bounded, before they are decoded."""

import warnings
from pathlib import Path

from PIL import Image

from sa.runtime.case.images import read_image
from sa.runtime.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # fewer than sa-run takes: each is a decoder that strangers may try
EXPECTED = "a PNG, JPEG, WebP or BMP"


def check_header(path: Path, pixels: int, name: str) -> None:
    """InputError unless the header is that of a picture of at most so many pixels. Nothing is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is the smaller bound
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{name} has more than {pixels:,} pixels: give a smaller picture.") from None
    except Exception:  # damaged files raise errors of nearly any type
        raise InputError(f"{name} is not a picture that can be read: expected {EXPECTED}.") from None
    if width * height > pixels:
        raise InputError(f"{name} is {width}x{height}, more than {pixels:,} pixels: give a smaller picture.")


def check_picture(path: Path, pixels: int, name: str) -> None:
    """InputError unless it is a whole picture of at most so many pixels."""
    check_header(path, pixels, name)
    try:
        read_image(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from None
