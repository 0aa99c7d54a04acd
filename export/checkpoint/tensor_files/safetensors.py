"""The .safetensors format: a table of tensors as JSON, then their values."""

import json
import math
from pathlib import Path

from sa.export.checkpoint.tensor_files.pickle_reader import shown
from sa.export.checkpoint.tensor_files.stored import (
    LAYOUT,
    Contents,
    FaultError,
    Kind,
    StoredTensor,
    checked_shape,
    flat_values,
)

# Enough for any network (an entry takes some 120 bytes), and still cheap to parse if the file is hostile.
_MAX_HEADER = 8 * 2**20
_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def _open(data: memoryview, path: Path) -> Contents:
    metadata, entries, values = _header(data)
    types = dict(_TYPES)
    if metadata.get("format") in ("pd", "np"):
        # PaddlePaddle passes bfloat16 to numpy as uint16. ppdiffusers ("pd") and paddlenlp ("np") save it as that.
        types["U16"] = "bfloat16"
    tensors = {}
    spans = []
    for name, entry in entries.items():
        shape, dtype, start, stop = _entry(name, entry, types, len(values))
        spans.append((start, stop))
        part, count = values[start:stop], math.prod(shape)
        tensors[name] = StoredTensor(
            shape, dtype, lambda part=part, dtype=dtype, count=count: flat_values(part, dtype, count)
        )
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise FaultError("its tensors overlap or leave a gap, where each must follow the one before")
        end = stop
    if end != len(values):
        raise FaultError(f"{len(values) - end:,} bytes follow its last tensor")
    return Contents(tensors, metadata.get("format") == "pd" or path.name.startswith("diffusion_paddle_model"))


def _header(data: memoryview) -> tuple[dict[str, str], dict[str, object], memoryview]:
    """The metadata, the entries by tensor name, and the bytes of the values."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, _MAX_HEADER):
        raise FaultError(
            f"its first 8 bytes must give the length of its header (at most {_MAX_HEADER:,} bytes), "
            f"and they give {size:,} in a file of {len(data):,} bytes"
        )
    try:
        header = json.loads(bytes(data[8 : 8 + size]).decode("utf-8"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise FaultError("its header is not JSON") from None
    metadata = header.pop("__metadata__", {}) if type(header) is dict else None
    if type(metadata) is not dict or not all(type(note) is str for note in metadata.values()):
        raise FaultError("its header is not a table of tensors")
    return metadata, header, data[8 + size :]


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise FaultError("its header gives a name twice")
    return table


def _entry(name: str, entry: object, types: dict[str, str], available: int) -> tuple[tuple[int, ...], str, int, int]:
    match entry:
        case {"dtype": str(stored), "shape": list(shape), "data_offsets": [int(start), int(stop)]}:
            pass
        case _:
            raise FaultError(f"its header does not give type, shape and place of the tensor '{shown(name)}'")
    if stored not in types:
        raise FaultError(
            f"the tensor '{shown(name)}' has the type {shown(stored)}, where {', '.join(types)} can be read",
            "save it with float32 or float16 weights",
        )
    dtype, sizes = types[stored], checked_shape(shape, name)
    if not 0 <= start <= stop:
        raise FaultError(f"the place of the tensor '{shown(name)}' makes no sense")
    if stop > available:
        raise FaultError(
            f"it is cut short, as the tensor '{shown(name)}' ends {stop - available:,} bytes behind its end"
        )
    needed = math.prod(sizes) * LAYOUT[dtype].itemsize
    if stop - start != needed:
        raise FaultError(
            f"the tensor '{shown(name)}' of shape {sizes} and type {dtype} needs {needed:,} bytes and has "
            f"{stop - start:,}"
        )
    return sizes, dtype, start, stop


KIND = Kind("a .safetensors file", "take a fresh copy of it", _open)
