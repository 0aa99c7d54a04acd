"""What all kinds of weight files share: the memory map, the tensors, and the error messages."""

import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sa.export.checkpoint.tensor_files.pickle_reader import PickleReadError, shown
from sa.runtime.errors import InputError

# The layout of each type in a file. numpy has no bfloat16. Bools are read as bytes, because numpy's bool allows only
# 0 and 1.
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
        """The values: floats as float32 (a view of the file if it stores float32), other types as stored."""
        return _widened(self._load(), self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class Contents:
    """What a weight file holds."""

    tensors: dict[str, StoredTensor]
    by_paddle: bool  # PaddlePaddle wrote it, so Linear weights are [in, out]
    notes: tuple[str, ...] = ()  # what was passed over, for the user


class TensorFile(dict[str, StoredTensor]):
    """The tensors of a weight file by name, in the file's order. `paths`: the files they lie in, an index first."""

    def __init__(self, contents: Contents, paths: tuple[Path, ...], forget: Callable[[], None]) -> None:
        super().__init__(contents.tensors)
        self.by_paddle = contents.by_paddle
        self.notes = contents.notes
        self.paths = paths
        self.forget = forget  # releases the memory pages read so far; they are read again when needed

    def renamed(self, names: Mapping[str, str], notes: tuple[str, ...]) -> "TensorFile":
        """The tensors that are keys of `names`, by new names."""
        tensors = {new: self[old] for old, new in names.items()}
        return TensorFile(Contents(tensors, self.by_paddle, (*self.notes, *notes)), self.paths, self.forget)


class FaultError(Exception):
    """A fault in a file, and what to do about it if the usual advice does not fit."""

    def __init__(self, found: str, advice: str | None = None) -> None:
        super().__init__(found)
        self.advice = advice


@dataclass(frozen=True)
class Kind:
    noun: str
    advice: str
    open: Callable[[memoryview, Path], Contents]


@contextmanager
def explained(path: Path, noun: str, advice: str) -> Iterator[None]:
    """Turns a fault into the one sentence that users read, an InputError."""
    try:
        yield
    except (FaultError, PickleReadError) as fault:
        advice = getattr(fault, "advice", None) or advice
        raise InputError(f"{path} cannot be read as {noun}: {fault}; {advice}") from None


def mapped(path: Path) -> memoryview:
    """The file's bytes. The memory map stays open as long as this view or a slice of it exists."""
    # Checked first, because opening a pipe would wait forever.
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
    # Arrays in a pickle may start at any byte, and not every library can read from a misaligned pointer.
    return flat if flat.flags.aligned else flat.copy()


def flat_values(data: memoryview, dtype: str, count: int, first: int = 0) -> np.ndarray:
    """`count` values of `data`, from the value `first` on. The caller has checked that they are there."""
    layout = LAYOUT[dtype]
    if not count:
        return np.empty(0, layout)
    return np.frombuffer(data, layout, count, first * layout.itemsize)


def checked_shape(shape: object, name: str) -> tuple[int, ...]:
    sizes = tuple(shape) if type(shape) in (tuple, list) else (None,)
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise FaultError(f"the tensor '{shown(name)}' has a shape that is not a list of whole numbers")
    # Sizes of zero are skipped, so that (0, 2**60) is refused too.
    if len(sizes) > _MAX_DIMENSIONS or math.prod(max(size, 1) for size in sizes) > _MAX_ELEMENTS:
        raise FaultError(f"the tensor '{shown(name)}' has a shape too large to be a network's")
    return sizes
