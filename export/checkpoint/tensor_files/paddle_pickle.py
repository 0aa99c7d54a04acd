"""PaddlePaddle's .pdparams files: a single pickle that includes the values."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sa.export.checkpoint.tensor_files.pickle_reader import LongText, PickleReadError, Rebuilt, read_pickle, shown
from sa.export.checkpoint.tensor_files.state_dict import checked_state_dict, new_dict
from sa.export.checkpoint.tensor_files.stored import (
    LAYOUT,
    Contents,
    FaultError,
    Kind,
    StoredTensor,
    checked_shape,
    explained,
    flat_values,
)

# numpy has no bfloat16, so paddle.save stores it as uint16. No parameter is a real uint16.
_NUMPY_TYPES = {
    "f8": "float64",
    "f4": "float32",
    "f2": "float16",
    "u2": "bfloat16",
    "i8": "int64",
    "i4": "int32",
    "i2": "int16",
    "i1": "int8",
    "u1": "uint8",
    "b1": "bool",
}


def _open(data: memoryview, path: Path) -> Contents:
    state = read_pickle(data, _PADDLE_OBJECTS)
    if type(state) is dict:
        # The variables' names in the program that saved the file.
        state.pop("StructuredToParameterName@@", None)
        if "UnpackBigParamInfor@@" in state:
            raise FaultError(
                "it holds a parameter cut into slices, as paddle.save does with protocols 2 and 3",
                "load it with paddle.load and save it again with paddle.save(..., protocol=4)",
            )
    arrays, notes = checked_state_dict(state, _as_array, "PaddlePaddle")
    tensors = {name: _stored_array(name, array, path) for name, array in arrays.items()}
    return Contents(tensors, by_paddle=True, notes=notes)


@dataclass(frozen=True)
class _Latin1:
    """Bytes that a protocol 2 pickle stores as text. They are decoded when they are read."""

    utf8: memoryview

    def decoded(self) -> memoryview:
        try:
            return memoryview(str(self.utf8, "utf-8").encode("latin-1"))
        except UnicodeError:
            raise FaultError("it holds values as text that is not text") from None


class _NumpyType(Rebuilt):
    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def set_state(self, state: object) -> None:
        match state:
            case (int(), "<" | "|" | "=", None, None, None, *_):
                return
        raise PickleReadError("it holds an array of big-endian or structured values")


class _Array(Rebuilt):
    """A numpy array, which is empty until the pickle sets its content."""

    shape: tuple = ()
    dtype = ""
    fortran = False
    content: memoryview | _Latin1 | None = None

    def set_state(self, state: object) -> None:
        match state:
            case (int(), tuple(shape), _NumpyType(dtype=dtype), bool(fortran), content):
                if isinstance(content, memoryview | _Latin1):
                    self.shape, self.dtype, self.fortran, self.content = shape, dtype, fortran, content
                    return
        raise PickleReadError("it holds an array that is not one of plain numbers")


def _as_array(value: object) -> _Array | None:
    match value:
        # paddle.save writes the array or, since 2.1, a pair of the variable's name and the array.
        case _Array():
            return value
        case (str(), _Array() as array):
            return array
    return None


def _stored_array(name: str, array: _Array, path: Path) -> StoredTensor:
    shape, dtype, content = checked_shape(array.shape, name), array.dtype, array.content
    if content is None:
        raise FaultError(f"the tensor '{shown(name)}' has no content")
    count = math.prod(shape)

    def checked(values: memoryview) -> memoryview:
        needed = count * LAYOUT[dtype].itemsize
        if len(values) != needed:
            raise FaultError(
                f"the tensor '{shown(name)}' of shape {shape} and type {dtype} needs {needed:,} bytes and "
                f"has {len(values):,}"
            )
        return values

    def load() -> np.ndarray:
        with explained(path, KIND.noun, KIND.advice):
            values = checked(content.decoded()) if isinstance(content, _Latin1) else content
        flat = flat_values(values, dtype, count)
        return flat.reshape(shape, order="F").flatten() if array.fortran else flat

    if not isinstance(content, _Latin1):
        checked(content)
    return StoredTensor(shape, dtype, load)


def _numpy_type(arguments: tuple) -> _NumpyType:
    match arguments:
        case (str(code), *_):
            if code in _NUMPY_TYPES:
                return _NumpyType(_NUMPY_TYPES[code])
            raise PickleReadError(
                f"it holds an array of type '{shown(code)}', where {', '.join(_NUMPY_TYPES)} can be read"
            )
    raise PickleReadError("it describes a numpy type in a way that numpy does not")


def _empty_array(arguments: tuple) -> _Array:
    match arguments:
        case (_ArrayClass(), tuple(), _):
            return _Array()
    raise PickleReadError("it describes an array in a way that numpy does not")


def _pair(arguments: tuple) -> tuple:
    match arguments:
        case (tuple(values),):
            return values
    raise PickleReadError("it makes a tuple of something else than a tuple")


def _encoded(arguments: tuple) -> memoryview | _Latin1:
    match arguments:
        case (LongText(utf8=utf8), "latin1"):
            return _Latin1(utf8)
        case (str(text), "latin1"):
            try:
                return memoryview(text.encode("latin-1"))
            except UnicodeError:
                pass
    raise PickleReadError("it holds bytes as text in a way that pickle does not")


def _no_bytes(arguments: tuple) -> memoryview:
    if arguments:
        raise PickleReadError("it makes bytes of a value, where none were expected")
    return memoryview(b"")


class _ArrayClass:
    """Stands for numpy.ndarray, which a pickle names but never calls."""


# Protocol 2 has no bytes type. It writes bytes as text to be encoded, and empty bytes as a call of `bytes`.
# It also uses the Python 2 name of the builtins module.
_PADDLE_OBJECTS = {
    "collections.OrderedDict": new_dict,
    "numpy.ndarray": _ArrayClass(),
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy._core.multiarray._reconstruct": _empty_array,
    "builtins.tuple": _pair,
    "__builtin__.tuple": _pair,
    "builtins.bytes": _no_bytes,
    "__builtin__.bytes": _no_bytes,
    "_codecs.encode": _encoded,
}


KIND = Kind(
    "a PaddlePaddle state dict",
    "take a fresh copy of it, or paddle.save the network's plain state dict again",
    _open,
)
