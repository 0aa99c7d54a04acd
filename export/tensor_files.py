"""Opens weight files (.safetensors, PyTorch's .pth, PaddlePaddle's .pdparams) without PyTorch.

A file is memory-mapped and only its table of contents is read; the values of a tensor are read when asked
for. Nothing in a file is believed before it is checked against the file's length, and no pickle is executed.
"""

import io
import json
import math
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sa.export.pickle_reader import LongText, PickleReadError, Rebuilt, read_pickle, shown
from sa.runtime.errors import InputError

# How each type lies in a file. bfloat16 has no numpy type, and bools are read as bytes because numpy's bool
# is not made for bytes other than 0 and 1.
_LAYOUT = {
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


def open_tensor_file(path: Path) -> TensorFile:
    """The tensors of a weight file, not read yet."""
    kind = _kind_of(path)
    with _explained(path, kind):
        data = _mapped(path)
        return TensorFile(kind.open(data, path), lambda: data.obj.madvise(mmap.MADV_DONTNEED))


# -- any file ----------------------------------------------------------------------------------------------


class _FaultError(Exception):
    """What is wrong with a file, and what to do where the usual advice does not fit."""

    def __init__(self, found: str, advice: str | None = None) -> None:
        super().__init__(found)
        self.advice = advice


@dataclass(frozen=True)
class _Kind:
    noun: str
    advice: str
    open: Callable[[memoryview, Path], dict[str, StoredTensor]]


@contextmanager
def _explained(path: Path, kind: _Kind) -> Iterator[None]:
    """Turns a fault into the one sentence a user reads."""
    try:
        yield
    except (_FaultError, PickleReadError) as fault:
        advice = getattr(fault, "advice", None) or kind.advice
        raise InputError(f"{path} cannot be read as {kind.noun}: {fault}; {advice}") from None


def _kind_of(path: Path) -> _Kind:
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{path} is not a weight file this tool knows: expected a name ending in {', '.join(_KINDS)}, "
            f"found '{path.suffix}'; give one of those"
        )
    return kind


def _mapped(path: Path) -> memoryview:
    """The file's bytes; the view, and whatever is cut from it, keeps the memory map alive."""
    # Checked first because opening a pipe would wait for ever.
    if not path.is_file():
        found = "is not a file" if path.exists() else "does not exist"
        raise _FaultError(f"it {found}", "give the path of an existing weight file")
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise _FaultError("it is empty")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise _FaultError(f"opening it failed ({error.strerror or error})", "make it readable and try again") from None


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


def _flat(data: memoryview, dtype: str, count: int, first: int = 0) -> np.ndarray:
    """`count` values of `data`, which the caller has checked to be there."""
    layout = _LAYOUT[dtype]
    if not count:
        return np.empty(0, layout)
    return np.frombuffer(data, layout, count, first * layout.itemsize)


def _checked_shape(shape: object, name: str) -> tuple[int, ...]:
    sizes = tuple(shape) if type(shape) in (tuple, list) else (None,)
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise _FaultError(f"the tensor '{shown(name)}' has a shape that is not a list of whole numbers")
    # Sizes of zero are left out, so that (0, 2**60) is found absurd too.
    if len(sizes) > _MAX_DIMENSIONS or math.prod(max(size, 1) for size in sizes) > _MAX_ELEMENTS:
        raise _FaultError(f"the tensor '{shown(name)}' has a shape too large to be a network's")
    return sizes


# -- .safetensors ------------------------------------------------------------------------------------------

# Generous (a tensor takes some 120 bytes), yet small enough that parsing a hostile header stays cheap.
_MAX_HEADER = 8 * 2**20
_SAFETENSORS_TYPES = {
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


def _open_safetensors(data: memoryview, path: Path) -> dict[str, StoredTensor]:
    metadata, entries, values = _safetensors_header(data)
    types = dict(_SAFETENSORS_TYPES)
    if metadata.get("format") == "pd":
        # PaddlePaddle hands bfloat16 to numpy as uint16, and ppdiffusers saves it under that name.
        types["U16"] = "bfloat16"
    tensors = {}
    spans = []
    for name, entry in entries.items():
        shape, dtype, start, stop = _safetensors_entry(name, entry, types, len(values))
        spans.append((start, stop))
        part, count = values[start:stop], math.prod(shape)
        tensors[name] = StoredTensor(
            shape, dtype, lambda part=part, dtype=dtype, count=count: _flat(part, dtype, count)
        )
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise _FaultError("its tensors overlap or leave a gap, where each must follow the one before")
        end = stop
    if end != len(values):
        raise _FaultError(f"{len(values) - end:,} bytes follow its last tensor")
    return tensors


def _safetensors_header(data: memoryview) -> tuple[dict[str, str], dict[str, object], memoryview]:
    """The notes, the entries by tensor name and the bytes of the values."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, _MAX_HEADER):
        raise _FaultError(
            f"its first 8 bytes must give the length of its header (at most {_MAX_HEADER:,} bytes), "
            f"and they give {size:,} in a file of {len(data):,} bytes"
        )
    try:
        header = json.loads(bytes(data[8 : 8 + size]).decode("utf-8"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise _FaultError("its header is not JSON") from None
    metadata = header.pop("__metadata__", {}) if type(header) is dict else None
    if type(metadata) is not dict or not all(type(note) is str for note in metadata.values()):
        raise _FaultError("its header is not a table of tensors")
    return metadata, header, data[8 + size :]


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _FaultError("its header gives a name twice")
    return table


def _safetensors_entry(
    name: str, entry: object, types: dict[str, str], available: int
) -> tuple[tuple[int, ...], str, int, int]:
    match entry:
        case {"dtype": str(stored), "shape": list(shape), "data_offsets": [int(start), int(stop)]}:
            pass
        case _:
            raise _FaultError(f"its header does not give type, shape and place of the tensor '{shown(name)}'")
    if stored not in types:
        raise _FaultError(
            f"the tensor '{shown(name)}' has the type {shown(stored)}, where {', '.join(types)} can be read",
            "save it with float32 or float16 weights",
        )
    dtype, sizes = types[stored], _checked_shape(shape, name)
    if not 0 <= start <= stop:
        raise _FaultError(f"the place of the tensor '{shown(name)}' makes no sense")
    if stop > available:
        raise _FaultError(
            f"it is cut short, as the tensor '{shown(name)}' ends {stop - available:,} bytes behind its end"
        )
    needed = math.prod(sizes) * _LAYOUT[dtype].itemsize
    if stop - start != needed:
        raise _FaultError(
            f"the tensor '{shown(name)}' of shape {sizes} and type {dtype} needs {needed:,} bytes and has "
            f"{stop - start:,}"
        )
    return sizes, dtype, start, stop


# -- state dicts, PyTorch's and PaddlePaddle's ---------------------------------------------------------------


def _state_dict(state: object, as_tensor: Callable[[object], object], framework: str) -> dict[str, object]:
    """`state` if it is a flat dict of tensors; else says what it is, without guessing what is meant."""
    if type(state) is not dict:
        raise _FaultError("it does not hold a dict of tensors by name")
    for key in ("state_dict", "module", "model"):
        inner = state.get(key)
        if type(inner) is dict and inner and all(as_tensor(value) for value in inner.values()):
            raise _FaultError(
                f"the network's tensors lie one level down, under '{key}'",
                f"load it with {framework}, save only its '{key}' and give that file",
            )
    tensors = {name: as_tensor(value) for name, value in state.items()}
    for name, tensor in tensors.items():
        if tensor is None:
            raise _FaultError(f"its entry '{shown(name)}' is not a tensor")
    return tensors


def _new_dict(arguments: tuple) -> dict[str, object]:
    if arguments:
        raise PickleReadError("it makes an ordered dict from a value, where an empty one was expected")
    return {}


# -- .pth --------------------------------------------------------------------------------------------------

_OLD_TORCH_MAGIC = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
_MAX_DATA_PKL = 64 * 2**20
_MAX_ZIP_DIRECTORY = 4 * 2**20
_LOCAL_HEADER = struct.Struct("<4s22xHH")


@dataclass(frozen=True)
class _StorageType:
    dtype: str


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    numel: int


@dataclass(frozen=True)
class _TorchTensor:
    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


def _as_torch_tensor(value: object) -> _TorchTensor | None:
    return value if isinstance(value, _TorchTensor) else None


def _open_torch(data: memoryview, path: Path) -> dict[str, StoredTensor]:
    entries = _zip_entries(data, path)
    archive = _torch_archive(entries)
    pickled = _zip_content(data, entries[f"{archive}/data.pkl"])
    if len(pickled) > _MAX_DATA_PKL:
        raise _FaultError(f"its table of tensors has {len(pickled):,} bytes, where {_MAX_DATA_PKL:,} are the most")
    order = entries.get(f"{archive}/byteorder")
    if order is not None and bytes(_zip_content(data, order)[:16]) != b"little":
        raise _FaultError("its numbers are big-endian", "save it again on a little-endian machine")
    state = read_pickle(pickled, _TORCH_OBJECTS, _torch_storage)
    tensors = {}
    for name, tensor in _state_dict(state, _as_torch_tensor, "PyTorch").items():
        key = tensor.storage.key
        entry = entries.get(f"{archive}/data/{key}")
        if entry is None:
            raise _FaultError(f"the values of the tensor '{shown(name)}' (its part data/{shown(key)}) are missing")
        tensors[name] = _stored_torch_tensor(name, tensor, _zip_content(data, entry))
    return tensors


class _BoundedReads(io.FileIO):
    """A file for zipfile, which would otherwise read a directory of any size that the file claims."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MAX_ZIP_DIRECTORY:
            raise _FaultError("its list of parts is too long for a PyTorch file")
        return super().read(size)


def _zip_entries(data: memoryview, path: Path) -> dict[str, zipfile.ZipInfo]:
    if data[2 : 2 + len(_OLD_TORCH_MAGIC)] == _OLD_TORCH_MAGIC:
        raise _FaultError(
            "it has the format that PyTorch wrote before version 1.6",
            "load it once with torch.load(..., weights_only=True) and torch.save it again, or save it as .safetensors",
        )
    try:
        with _BoundedReads(path) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, OverflowError, ValueError, struct.error):
        raise _FaultError("it is not a complete zip archive, which torch.save writes") from None
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise _FaultError("it holds two parts of the same name")
    return entries


def _torch_archive(entries: dict[str, zipfile.ZipInfo]) -> str:
    names = [name.removesuffix("/data.pkl") for name in entries if name.endswith("/data.pkl")]
    archives = [name for name in names if "/" not in name]
    if len(archives) != 1:
        raise _FaultError("it does not hold the one part <name>/data.pkl that torch.save writes")
    archive = archives[0]
    if any(name == f"{archive}/constants.pkl" or name.startswith(f"{archive}/code/") for name in entries):
        raise _FaultError(
            "it is a TorchScript program, not a state dict",
            "load it with torch.jit.load and torch.save its state_dict()",
        )
    return archive


def _zip_content(data: memoryview, info: zipfile.ZipInfo) -> memoryview:
    """The bytes of one part where they lie in the file."""
    part = shown(info.filename)
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise _FaultError(
            f"its part {part} is compressed or encrypted, which torch.save never does",
            "save it again with torch.save",
        )
    start = info.header_offset
    if not 0 <= start <= len(data) - _LOCAL_HEADER.size:
        raise _FaultError(f"its part {part} lies outside the file")
    magic, name_size, extra_size = _LOCAL_HEADER.unpack_from(data, start)
    start += _LOCAL_HEADER.size + name_size + extra_size
    stop = start + info.file_size
    if magic != b"PK\x03\x04" or info.compress_size != info.file_size or stop > len(data):
        raise _FaultError(f"its part {part} is damaged or cut short")
    return data[start:stop]


def _torch_storage(identity: object) -> _Storage:
    match identity:
        case ("storage", _StorageType(dtype=dtype), str(key), str(), int(numel)):
            # The key becomes part of a name that is looked up in the archive, and PyTorch only ever counts.
            if key.isascii() and key.isdigit() and numel >= 0:
                return _Storage(dtype, key, numel)
    raise PickleReadError("it refers to values in a way that torch.save does not")


def _rebuild_tensor(arguments: tuple) -> _TorchTensor:
    match arguments:
        # The seventh argument marks values that are to be negated or conjugated when read.
        case (_Storage() as storage, int(offset), tuple(shape), tuple(strides), bool(), _, *rest):
            if not any(rest):
                return _TorchTensor(storage, offset, shape, strides)
    raise PickleReadError("it describes a tensor in a way that plain weights do not need")


def _rebuild_parameter(arguments: tuple) -> _TorchTensor:
    match arguments:
        case (_TorchTensor() as tensor, bool(), _):
            return tensor
    raise PickleReadError("it describes a parameter in a way that plain weights do not need")


_TORCH_OBJECTS = {
    "collections.OrderedDict": _new_dict,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.DoubleStorage": _StorageType("float64"),
    "torch.FloatStorage": _StorageType("float32"),
    "torch.HalfStorage": _StorageType("float16"),
    "torch.BFloat16Storage": _StorageType("bfloat16"),
    "torch.LongStorage": _StorageType("int64"),
    "torch.IntStorage": _StorageType("int32"),
    "torch.ByteStorage": _StorageType("uint8"),
    "torch.BoolStorage": _StorageType("bool"),
}


def _stored_torch_tensor(name: str, tensor: _TorchTensor, content: memoryview) -> StoredTensor:
    storage, first, strides = tensor.storage, tensor.offset, tensor.strides
    shape = _checked_shape(tensor.shape, name)
    if len(content) < storage.numel * _LAYOUT[storage.dtype].itemsize:
        raise _FaultError(
            f"the tensor '{shown(name)}' needs {storage.numel:,} stored values of type {storage.dtype}, and "
            f"only {len(content):,} bytes are there"
        )
    if len(strides) != len(shape) or not all(type(step) is int and step >= 0 for step in (first, *strides)):
        raise _FaultError(f"the tensor '{shown(name)}' has steps that torch.save does not write")
    count = math.prod(shape)
    last = first + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    # A step of zero repeats values, so the count must be checked besides the last place.
    if count and (last >= storage.numel or count > storage.numel):
        raise _FaultError(
            f"the tensor '{shown(name)}' of shape {shape} asks for more than the {storage.numel:,} values stored for it"
        )
    return StoredTensor(shape, storage.dtype, lambda: _strided(content, storage.dtype, first, shape, strides, count))


def _strided(
    content: memoryview, dtype: str, first: int, shape: tuple[int, ...], strides: tuple[int, ...], count: int
) -> np.ndarray:
    contiguous, step = True, 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        contiguous = contiguous and (size == 1 or stride == step)
        step *= size
    if contiguous or not count:
        return _flat(content, dtype, count, first if count else 0)
    itemsize = _LAYOUT[dtype].itemsize
    reach = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    view = np.lib.stride_tricks.as_strided(
        _flat(content, dtype, reach, first), shape, [stride * itemsize for stride in strides], writeable=False
    )
    return view.flatten()


# -- .pdparams ---------------------------------------------------------------------------------------------

# bfloat16 has no numpy type, so paddle.save hands it to numpy as uint16; no parameter is a true uint16.
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


def _open_paddle(data: memoryview, path: Path) -> dict[str, StoredTensor]:
    state = read_pickle(data, _PADDLE_OBJECTS)
    if type(state) is dict:
        # The names of the variables in the program that saved it.
        state.pop("StructuredToParameterName@@", None)
        if "UnpackBigParamInfor@@" in state:
            raise _FaultError(
                "it holds a parameter cut into slices, as paddle.save does with protocols 2 and 3",
                "load it with paddle.load and save it again with paddle.save(..., protocol=4)",
            )
    arrays = _state_dict(state, _as_array, "PaddlePaddle")
    return {name: _stored_array(name, array, path) for name, array in arrays.items()}


@dataclass(frozen=True)
class _Latin1:
    """Bytes that a protocol 2 pickle holds as text, decoded only when read."""

    utf8: memoryview

    def decoded(self) -> memoryview:
        try:
            return memoryview(str(self.utf8, "utf-8").encode("latin-1"))
        except UnicodeError:
            raise _FaultError("it holds values as text that is not text") from None


class _NumpyType(Rebuilt):
    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def set_state(self, state: object) -> None:
        match state:
            case (int(), "<" | "|" | "=", None, None, None, *_):
                return
        raise PickleReadError("it holds an array of big-endian or structured values")


class _Array(Rebuilt):
    """A numpy array, empty until the pickle gives it its content."""

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
        # paddle.save writes either the array or, since 2.1, the variable's name and the array.
        case _Array():
            return value
        case (str(), _Array() as array):
            return array
    return None


def _stored_array(name: str, array: _Array, path: Path) -> StoredTensor:
    shape, dtype, content = _checked_shape(array.shape, name), array.dtype, array.content
    if content is None:
        raise _FaultError(f"the tensor '{shown(name)}' has no content")
    count = math.prod(shape)

    def checked(values: memoryview) -> memoryview:
        needed = count * _LAYOUT[dtype].itemsize
        if len(values) != needed:
            raise _FaultError(
                f"the tensor '{shown(name)}' of shape {shape} and type {dtype} needs {needed:,} bytes and "
                f"has {len(values):,}"
            )
        return values

    def load() -> np.ndarray:
        with _explained(path, _PADDLE):
            values = checked(content.decoded()) if isinstance(content, _Latin1) else content
        flat = _flat(values, dtype, count)
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
    """Stands for numpy.ndarray, which a pickle only names."""


# Protocol 2 has no bytes: it writes them as text to encode and, where there are none, as a call of `bytes`.
# It also gives builtins their Python 2 name.
_PADDLE_OBJECTS = {
    "collections.OrderedDict": _new_dict,
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


_SAFETENSORS = _Kind("a .safetensors file", "take a fresh copy of it", _open_safetensors)
_TORCH = _Kind(
    "a PyTorch state dict",
    "take a fresh copy of it, or torch.save the network's plain state dict again",
    _open_torch,
)
_PADDLE = _Kind(
    "a PaddlePaddle state dict",
    "take a fresh copy of it, or paddle.save the network's plain state dict again",
    _open_paddle,
)
_KINDS = {".safetensors": _SAFETENSORS, ".pth": _TORCH, ".pt": _TORCH, ".bin": _TORCH, ".pdparams": _PADDLE}
