"""PyTorch's .pth files: a zip archive with one pickle, and a part for the values of each storage."""

import io
import math
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sa.export.checkpoint.tensor_files.pickle_reader import PickleReadError, read_pickle, shown
from sa.export.checkpoint.tensor_files.state_dict import checked_state_dict, new_dict
from sa.export.checkpoint.tensor_files.stored import (
    LAYOUT,
    Contents,
    FaultError,
    Kind,
    StoredTensor,
    checked_shape,
    flat_values,
)

OLD_TORCH_MAGIC = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
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


def _open(data: memoryview, path: Path) -> Contents:
    entries = _zip_entries(data, path)
    archive = _torch_archive(entries)
    pickled = _zip_content(data, entries[f"{archive}/data.pkl"])
    if len(pickled) > _MAX_DATA_PKL:
        raise FaultError(f"its table of tensors has {len(pickled):,} bytes, where {_MAX_DATA_PKL:,} are the most")
    order = entries.get(f"{archive}/byteorder")
    if order is not None and bytes(_zip_content(data, order)[:16]) != b"little":
        raise FaultError("its numbers are big-endian", "save it again on a little-endian machine")
    state = read_pickle(pickled, _TORCH_OBJECTS, _torch_storage)
    found, notes = checked_state_dict(state, _as_torch_tensor, "PyTorch")
    tensors = {}
    for name, tensor in found.items():
        key = tensor.storage.key
        entry = entries.get(f"{archive}/data/{key}")
        if entry is None:
            raise FaultError(f"the values of the tensor '{shown(name)}' (its part data/{shown(key)}) are missing")
        tensors[name] = _stored_torch_tensor(name, tensor, _zip_content(data, entry))
    return Contents(tensors, by_paddle=False, notes=notes)


class _BoundedReads(io.FileIO):
    """A file for zipfile that limits its reads: zipfile would read a directory of any size that the file claims."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MAX_ZIP_DIRECTORY:
            raise FaultError("its list of parts is too long for a PyTorch file")
        return super().read(size)


def _zip_entries(data: memoryview, path: Path) -> dict[str, zipfile.ZipInfo]:
    if data[2 : 2 + len(OLD_TORCH_MAGIC)] == OLD_TORCH_MAGIC:
        raise FaultError(
            "it has the format that PyTorch wrote before version 1.6",
            "load it once with torch.load(..., weights_only=True) and torch.save it again, or save it as .safetensors",
        )
    try:
        with _BoundedReads(path) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, OverflowError, ValueError, struct.error):
        raise FaultError("it is not a complete zip archive, which torch.save writes") from None
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise FaultError("it holds two parts of the same name")
    return entries


def _torch_archive(entries: dict[str, zipfile.ZipInfo]) -> str:
    names = [name.removesuffix("/data.pkl") for name in entries if name.endswith("/data.pkl")]
    archives = [name for name in names if "/" not in name]
    if len(archives) != 1:
        raise FaultError("it does not hold the one part <name>/data.pkl that torch.save writes")
    archive = archives[0]
    if any(name == f"{archive}/constants.pkl" or name.startswith(f"{archive}/code/") for name in entries):
        raise FaultError(
            "it is a TorchScript program, not a state dict",
            "load it with torch.jit.load and torch.save its state_dict()",
        )
    return archive


def _zip_content(data: memoryview, info: zipfile.ZipInfo) -> memoryview:
    """The bytes of one part, a view of the file."""
    part = shown(info.filename)
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise FaultError(
            f"its part {part} is compressed or encrypted, which torch.save never does",
            "save it again with torch.save",
        )
    start = info.header_offset
    if not 0 <= start <= len(data) - _LOCAL_HEADER.size:
        raise FaultError(f"its part {part} lies outside the file")
    magic, name_size, extra_size = _LOCAL_HEADER.unpack_from(data, start)
    start += _LOCAL_HEADER.size + name_size + extra_size
    stop = start + info.file_size
    if magic != b"PK\x03\x04" or info.compress_size != info.file_size or stop > len(data):
        raise FaultError(f"its part {part} is damaged or cut short")
    return data[start:stop]


def _torch_storage(identity: object) -> _Storage:
    match identity:
        case ("storage", _StorageType(dtype=dtype), str(key), str(), int(numel)):
            # The key becomes part of a name in the archive. PyTorch uses only numbers.
            if key.isascii() and key.isdigit() and numel >= 0:
                return _Storage(dtype, key, numel)
    raise PickleReadError("it refers to values in a way that torch.save does not")


def _rebuild_tensor(arguments: tuple) -> _TorchTensor:
    match arguments:
        # The seventh argument marks values that must be negated or conjugated when they are read.
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
    "collections.OrderedDict": new_dict,
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
    shape = checked_shape(tensor.shape, name)
    if len(content) < storage.numel * LAYOUT[storage.dtype].itemsize:
        raise FaultError(
            f"the tensor '{shown(name)}' needs {storage.numel:,} stored values of type {storage.dtype}, and "
            f"only {len(content):,} bytes are there"
        )
    if len(strides) != len(shape) or not all(type(step) is int and step >= 0 for step in (first, *strides)):
        raise FaultError(f"the tensor '{shown(name)}' has steps that torch.save does not write")
    count = math.prod(shape)
    last = first + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    # A stride of zero repeats values, so the count must be checked as well as the last index.
    if count and (last >= storage.numel or count > storage.numel):
        raise FaultError(
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
        return flat_values(content, dtype, count, first if count else 0)
    itemsize = LAYOUT[dtype].itemsize
    reach = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    view = np.lib.stride_tricks.as_strided(
        flat_values(content, dtype, reach, first), shape, [stride * itemsize for stride in strides], writeable=False
    )
    return view.flatten()


KIND = Kind(
    "a PyTorch state dict",
    "take a fresh copy of it, or torch.save the network's plain state dict again",
    _open,
)
