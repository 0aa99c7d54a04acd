"""What every kind of weight file has in common: the map of its bytes, its tensors, and how a fault is told."""

import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sa.export.checkpoint.tensor_files.pickle_reader import PickleReadError, shown
from sa.runtime.errors import InputError

# How each type lies in a file. bfloat16 has no numpy type, and bools are read as bytes because numpy's bool
# is not made for bytes other than 0 and 1.
LAYOUT = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("u1"),
}
_MAX_DIMENSIONS = 8
_MAX_ELEMENTS = 2**40


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a weight file, not read yet."""

    shape: tuple[int, ...]
    dtype: str
    _load: Callable[[], np.ndarray] = field(repr=False, compare=False)

    def read(self) -> np.ndarray:
        """The values: floats as float32, a view of the file where they lie so; the rest as stored."""
        return _widened(self._load(), self.dtype).reshape(self.shape)


class TensorFile(dict[str, StoredTensor]):
    """The tensors of a weight file by name, in the file's order."""

    def __init__(self, tensors: Mapping[str, StoredTensor], forget: Callable[[], None]) -> None:
        super().__init__(tensors)
        self.forget = forget  # lets go of the memory pages read so far; they are read again when asked for


class FaultError(Exception):
    """What is wrong with a file, and what to do where the usual advice does not fit."""

    def __init__(self, found: str, advice: str | None = None) -> None:
        super().__init__(found)
        self.advice = advice


@dataclass(frozen=True)
class Kind:
    noun: str
    advice: str
    open: Callable[[memoryview, Path], dict[str, StoredTensor]]


@contextmanager
def explained(path: Path, kind: Kind) -> Iterator[None]:
    """Turns a fault into the one sentence a user reads."""
    try:
        yield
    except (FaultError, PickleReadError) as fault:
        advice = getattr(fault, "advice", None) or kind.advice
        raise InputError(f"{path} cannot be read as {kind.noun}: {fault}; {advice}") from None


def mapped(path: Path) -> memoryview:
    """The file's bytes; the view, and whatever is cut from it, keeps the memory map alive."""
    # Checked first because opening a pipe would wait for ever.
    if not path.is_file():
        found = "is not a file" if path.exists() else "does not exist"
        raise FaultError(f"it {found}", "give the path of an existing weight file")
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise FaultError("it is empty")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise FaultError(f"opening it failed ({error.strerror or error})", "make it readable and try again") from None


def _widened(flat: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        wide = flat.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    if dtype == "bool":
        return flat != 0
    if dtype in ("float16", "float64"):
        with np.errstate(over="ignore", invalid="ignore"):
            return flat.astype(np.float32)
    # Arrays inside a pickle start at any byte, and not every library minds a misaligned pointer.
    return flat if flat.flags.aligned else flat.copy()


def flat_values(data: memoryview, dtype: str, count: int, first: int = 0) -> np.ndarray:
    """`count` values of `data`, which the caller has checked to be there."""
    layout = LAYOUT[dtype]
    if not count:
        return np.empty(0, layout)
    return np.frombuffer(data, layout, count, first * layout.itemsize)


def checked_shape(shape: object, name: str) -> tuple[int, ...]:
    sizes = tuple(shape) if type(shape) in (tuple, list) else (None,)
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise FaultError(f"the tensor '{shown(name)}' has a shape that is not a list of whole numbers")
    # Sizes of zero are left out, so that (0, 2**60) is found absurd too.
    if len(sizes) > _MAX_DIMENSIONS or math.prod(max(size, 1) for size in sizes) > _MAX_ELEMENTS:
        raise FaultError(f"the tensor '{shown(name)}' has a shape too large to be a network's")
    return sizes
