"""Writes weight files as torch.save and paddle.save do, without PyTorch; also wrong ones, for tests."""

import io
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np


@dataclass
class Values:
    """A storage as PyTorch pickles it: a reference to a part of the archive."""

    kind: str
    key: str
    data: bytes
    numel: int


@dataclass
class Tensor:
    """A tensor as PyTorch pickles it."""

    values: Values
    shape: tuple
    strides: tuple
    offset: int = 0
    more: tuple = ()

    def __reduce__(self) -> tuple:
        plain = (self.values, self.offset, self.shape, self.strides, False, OrderedDict(), *self.more)
        return fake_torch()["torch._utils"]._rebuild_tensor_v2, plain


class Parameter:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple:
        return fake_torch()["torch._utils"]._rebuild_parameter, (self.tensor, True, OrderedDict())


FAKE_TORCH: dict[str, ModuleType] = {}


def fake_torch() -> dict[str, ModuleType]:
    """Modules with the names that PyTorch's pickles ask for, to write such pickles without PyTorch."""
    if not FAKE_TORCH:
        for module, names in {
            "torch": [f"{kind}Storage" for kind in [*LAYOUTS, "ComplexFloat"]],
            "torch._utils": ["_rebuild_tensor_v2", "_rebuild_parameter"],
        }.items():
            FAKE_TORCH[module] = ModuleType(module)
            for name in names:
                setattr(FAKE_TORCH[module], name, type(name, (), {"__module__": module, "__call__": None}))
    return FAKE_TORCH


LAYOUTS = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": np.uint16,
    "Long": np.int64,
    "Int": np.int32,
    "Byte": np.uint8,
    "Bool": np.bool_,
}


class TorchPickler(pickle.Pickler):
    def persistent_id(self, value: object) -> tuple | None:
        if isinstance(value, Values):
            storage = getattr(fake_torch()["torch"], f"{value.kind}Storage")
            return "storage", storage, value.key, "cpu", value.numel
        return None


def values_of(array: np.ndarray, key: str = "0", kind: str | None = None, numel: int | None = None) -> Values:
    kind = kind or next(kind for kind, layout in LAYOUTS.items() if array.dtype == layout)
    return Values(kind, key, array.tobytes(), array.size if numel is None else numel)


def tensor_of(array: np.ndarray, key: str = "0", kind: str | None = None) -> Tensor:
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return Tensor(values_of(array, key, kind), array.shape, strides)


def torch_state(arrays: Mapping[str, np.ndarray]) -> OrderedDict[str, Tensor]:
    """A state dict of contiguous arrays, each with values of its own; uint16 stands for bfloat16."""
    return OrderedDict((name, tensor_of(array, str(key))) for key, (name, array) in enumerate(arrays.items()))


def torch_pickle(state: object, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    with mock.patch.dict(sys.modules, fake_torch()):
        TorchPickler(buffer, protocol).dump(state)
    return buffer.getvalue()


def leaves(state: object) -> Iterator[object]:
    """What a dict holds, and the dicts in it."""
    for value in state.values() if isinstance(state, dict) else ():
        yield from leaves(value) if isinstance(value, dict) else [value]


def parts_of(state: object, protocol: int = 2) -> dict[str, bytes]:
    """The parts of the archive that torch.save would write."""
    parts = {"data.pkl": torch_pickle(state, protocol), "byteorder": b"little"}
    for value in leaves(state):
        tensor = value.tensor if isinstance(value, Parameter) else value
        if isinstance(tensor, Tensor) and isinstance(tensor.values, Values):
            parts[f"data/{tensor.values.key}"] = tensor.values.data
    return {**parts, "version": b"3\n", ".data/serialization_id": b"1"}


def write_archive(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            info = zipfile.ZipInfo(f"{path.stem}/{name}")
            info.compress_type = compression
            # PyTorch starts every part at a multiple of 64 bytes.
            padding = -(archive.fp.tell() + 30 + len(info.filename) + 4) % 64
            info.extra = struct.pack("<HH", 0x4246, padding) + bytes(padding)
            archive.writestr(info, content)
    return path


def write_torch(path: Path, state: object, protocol: int = 2) -> Path:
    """`state` as torch.save writes it: `torch_state(arrays)`, or anything made of Tensors."""
    return write_archive(path, parts_of(state, protocol))


def write_pdparams(path: Path, value: object, protocol: int = 4) -> Path:
    """`value` as paddle.save writes a dict of arrays; bytes as they are."""
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path
