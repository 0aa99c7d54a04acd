"""Messages between a run and its tile workers: a line of JSON, then the float32 arrays it names, as they are."""

import json
import math
from typing import IO, Any

import numpy as np

Arrays = dict[str, np.ndarray]


def send(stream: IO[bytes], what: dict, arrays: Arrays | None = None) -> None:
    """OSError if the other side is gone."""
    arrays = arrays or {}
    shapes = {name: array.shape for name, array in arrays.items()}
    stream.write(json.dumps({**what, "arrays": shapes}).encode() + b"\n")
    for array in arrays.values():
        if array.dtype != np.float32:
            raise TypeError(f"float32 was expected, not {array.dtype}")
        stream.write(np.ascontiguousarray(array).data.cast("B"))
    stream.flush()


def receive(stream: Any) -> tuple[dict, Arrays]:
    """The next message of a buffered stream. EOFError if the other side is gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    what = json.loads(line)
    arrays = {}
    for name, shape in what.pop("arrays").items():
        array = np.empty(math.prod(shape), np.float32)
        if stream.readinto(array.data.cast("B")) != array.nbytes:
            raise EOFError
        arrays[name] = array.reshape(shape)
    return what, arrays
