"""Uploaded keypoints: the arrays' sizes are read from their headers, and bounded, before they are loaded."""

import math
from pathlib import Path

import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.prepare.input.keypoints.archives import NAMES
from sa.runtime.prepare.input.keypoints.file import read_keypoints
from sa.runtime.serve.upload.archives import opened

BYTES = 64 << 20  # of the arrays together


def check_keypoints(path: Path, name: str) -> None:
    """InputError unless it is an .npz as sa-prepare --keypoints takes it, of bounded size."""
    with opened(path, 16, BYTES, name) as archive:
        for one in archive.infolist():
            if one.filename.removesuffix(".npy") not in NAMES:
                continue
            with archive.open(one) as file:
                try:
                    version = np.lib.format.read_magic(file)
                    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                    shape, _, dtype = read[version](file, max_header_size=4096)
                except (ValueError, KeyError, SyntaxError, MemoryError, RecursionError):
                    raise InputError(f"{name}: {one.filename} is no array of plain numbers: give floats.") from None
            if dtype.hasobject or math.prod(shape) * dtype.itemsize > BYTES:
                raise InputError(f"{name}: {one.filename} is {dtype} {list(shape)}, too large: give fewer persons.")
    try:
        read_keypoints(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from None
