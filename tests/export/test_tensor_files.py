"""Weight files: right values from each kind, and one plain sentence about every file that cannot be used."""

import io
import json
import math
import pickle
import random
import struct
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest
import safetensors.numpy

from sa.export.tensor_files import open_tensor_file
from sa.runtime.errors import InputError

RANDOM = np.random.default_rng(7)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def as_bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper half of each float32, which is what bfloat16 keeps."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def from_bfloat16(halves: np.ndarray) -> np.ndarray:
    return (halves.astype(np.uint32) << 16).view(np.float32)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_tensor_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert "\n" not in message
    return message


def assert_same(path: Path, expected: dict[str, np.ndarray]) -> None:
    tensors = open_tensor_file(path)
    assert list(tensors) == list(expected)
    for name, values in expected.items():
        found = tensors[name].read()
        assert tensors[name].shape == found.shape == values.shape, name
        assert found.dtype == values.dtype, name
        assert found.tobytes() == values.tobytes(), name


def assert_view_of_the_file(values: np.ndarray) -> None:
    assert not values.flags.owndata
    assert not values.flags.writeable


# -- .safetensors ------------------------------------------------------------------------------------------


def write_safetensors(path: Path, header: object, values: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + values)
    return path


def test_safetensors_written_by_the_library(tmp_path):
    saved = {
        "b.weight": floats(3, 4),
        "a.half": floats(5).astype(np.float16),
        "double": floats(2, 2).astype(np.float64),
        "count": np.array(7, np.int64),
        "small": np.arange(-3, 3, dtype=np.int8),
        "mask": np.array([True, False, True]),
        "empty": np.empty((0, 4), np.float32),
    }
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(saved, path, {"format": "pt"})
    order = list(json.loads(path.read_bytes()[8:].split(b"}}")[0] + b"}}"))
    order.remove("__metadata__")
    expected = {name: saved[name] for name in order}
    for name in ("a.half", "double"):
        expected[name] = expected[name].astype(np.float32)
    assert_same(path, expected)
    tensors = open_tensor_file(path)
    assert {name: tensors[name].dtype for name in ("a.half", "double", "count", "mask")} == {
        "a.half": "float16",
        "double": "float64",
        "count": "int64",
        "mask": "bool",
    }
    assert_view_of_the_file(tensors["b.weight"].read())


def test_safetensors_bfloat16(tmp_path):
    halves = as_bfloat16(floats(2, 3))
    entry = {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}
    path = write_safetensors(tmp_path / "x.safetensors", {"w": entry}, halves.tobytes())
    assert_same(path, {"w": from_bfloat16(halves)})
    assert open_tensor_file(path)["w"].dtype == "bfloat16"


def test_safetensors_by_paddle_have_bfloat16_as_uint16(tmp_path):
    halves = as_bfloat16(floats(2, 3))
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"w": halves}, path, {"format": "pd"})
    assert_same(path, {"w": from_bfloat16(halves)})
    safetensors.numpy.save_file({"w": halves}, path, {"format": "pt"})
    assert "the tensor 'w' has the type U16" in refusal(path)


def test_misaligned_safetensors_give_aligned_values(tmp_path):
    values = floats(4)
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    header = json.dumps({"w": entry}).encode()
    path = write_safetensors(tmp_path / "x.safetensors", header + b" " * (3 - len(header) % 4), values.tobytes())
    assert_same(path, {"w": values})
    assert open_tensor_file(path)["w"].read().flags.aligned


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff{}", "not JSON"),
        (b"[" * 50_000, "not JSON"),
        (b"[]", "not a table"),
        ({"__metadata__": {"format": 1}}, "not a table"),
        (b'{"w": {}, "w": {}}', "a name twice"),
        ({"w": 1}, "does not give type"),
        ({"w": {"dtype": "F32", "shape": [2]}}, "does not give type"),
        (entry(dtype="F8_E4M3"), "the type F8_E4M3, where F64, F32"),
        (entry(dtype=["F32"]), "does not give type"),
        (entry(shape=2), "does not give type"),
        (entry(shape=[-2]), "not a list of whole numbers"),
        (entry(shape=[2.0]), "not a list of whole numbers"),
        (entry(shape=[True, 2]), "not a list of whole numbers"),
        (entry(shape=[2**62, 4]), "too large"),
        (entry(shape=[0, 2**62], offsets=[0, 0]), "too large"),
        (entry(shape=[1] * 9), "too large"),
        (entry(shape=[3]), "needs 12 bytes and has 8"),
        (entry(offsets=[0, 4]), "needs 8 bytes and has 4"),
        (entry(offsets=[8, 0]), "makes no sense"),
        (entry(offsets=[-8, 0]), "makes no sense"),
        (entry(offsets=[0, 8, 9]), "does not give type"),
        (entry(shape=[4], offsets=[0, 16]), "cut short, as the tensor 'w' ends 8 bytes behind its end"),
        ({}, "8 bytes follow"),
        (entry(shape=[1], offsets=[0, 4]), "4 bytes follow"),
        (entry(shape=[1], offsets=[4, 8]), "overlap or leave a gap"),
        ({**entry(), "v": entry()["w"]}, "overlap or leave a gap"),
    ],
)
def test_broken_safetensors_are_refused(tmp_path, header, found):
    message = refusal(write_safetensors(tmp_path / "x.safetensors", header, bytes(8)))
    assert "cannot be read as a .safetensors file" in message
    assert found in message


@pytest.mark.parametrize("length", [9, 2**33, 2**64 - 1])
def test_a_safetensors_header_longer_than_the_file_is_refused(tmp_path, length):
    path = write_safetensors(tmp_path / "x.safetensors", b"{}", length=length)
    assert f"they give {length:,} in a file of 10 bytes" in refusal(path)
    path.write_bytes(b"\x02\0\0\0")
    assert "file of 4 bytes" in refusal(path)


def test_a_safetensors_header_of_any_length_is_not_read(tmp_path):
    path = write_safetensors(tmp_path / "x.safetensors", b"{}", length=9 * 2**20)
    with path.open("r+b") as file:
        file.truncate(10 * 2**20)
    assert "at most 8,388,608 bytes" in refusal(path)


# -- .pth --------------------------------------------------------------------------------------------------


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


def torch_pickle(state: object, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    with mock.patch.dict(sys.modules, fake_torch()):
        TorchPickler(buffer, protocol).dump(state)
    return buffer.getvalue()


def parts_of(state: object, protocol: int = 2) -> dict[str, bytes]:
    """The parts of the archive that torch.save would write."""
    parts = {"data.pkl": torch_pickle(state, protocol), "byteorder": b"little"}
    for value in state.values() if isinstance(state, dict) else ():
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
    return write_archive(path, parts_of(state, protocol))


def module_state() -> OrderedDict:
    state = OrderedDict()
    for key, (name, array) in enumerate(
        {
            "conv.weight": floats(4, 3, 3, 3),
            "norm.running_var": floats(4),
            "norm.num_batches_tracked": np.array(12, np.int64),
            "half": floats(2, 5).astype(np.float16),
            "double": floats(3).astype(np.float64),
            "steps": np.arange(-3, 3, dtype=np.int32),
            "bytes": np.arange(5, dtype=np.uint8),
            "mask": np.array([[True, False, True]]),
            "brain": as_bfloat16(floats(7)),
            "empty": np.empty((0, 3), np.float32),
            "scale": np.array(2.5, np.float32),
        }.items()
    ):
        state[name] = tensor_of(array, str(key))
    state._metadata = OrderedDict({"": {"version": 1}, "norm": {"version": 2}})
    return state


def expected_of(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    expected = {}
    for name, tensor in state.items():
        flat = np.frombuffer(tensor.values.data, LAYOUTS[tensor.values.kind])
        if tensor.values.kind == "BFloat16":
            flat = from_bfloat16(flat)
        elif tensor.values.kind in ("Half", "Double"):
            flat = flat.astype(np.float32)
        expected[name] = flat.reshape(tensor.shape)
    return expected


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "PTH"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_state_dict_of_every_type(tmp_path, protocol, suffix):
    state = module_state()
    path = write_torch(tmp_path / f"net.{suffix}", state, protocol)
    assert_same(path, expected_of(state))
    tensors = open_tensor_file(path)
    assert [tensor.dtype for tensor in tensors.values()] == [
        *["float32", "float32", "int64", "float16", "float64", "int32", "uint8", "bool", "bfloat16"],
        *["float32", "float32"],
    ]
    assert_view_of_the_file(tensors["conv.weight"].read())


def test_views_of_shared_values(tmp_path):
    base = floats(6, 8)
    shared = values_of(base)
    state = {
        "base": Tensor(shared, (6, 8), (8, 1)),
        "transposed": Tensor(shared, (8, 6), (1, 8)),
        "column": Tensor(shared, (6,), (8,), 3),
        "row": Tensor(shared, (8,), (1,), 16),
        "every other": Tensor(shared, (3, 3), (16, 3), 1),
        "moved": Tensor(shared, (2, 6, 4), (4, 8, 1)),
        "one column": Tensor(shared, (6, 1), (8, 1), 5),
        "one row": Tensor(shared, (1, 8), (99, 1), 40),
        "same everywhere": Tensor(shared, (5,), (0,), 47),
        "nothing": Tensor(shared, (0, 8), (8, 1), 48),
    }
    path = write_torch(tmp_path / "net.pth", state)
    expected = {
        "base": base,
        "transposed": base.T,
        "column": base[:, 3],
        "row": base[2],
        "every other": base[0:6:2, 1:8:3],
        "moved": base.reshape(6, 2, 4).transpose(1, 0, 2),
        "one column": base[:, 5:6],
        "one row": base[5:6],
        "same everywhere": np.full(5, base[5, 7]),
        "nothing": base[6:],
    }
    assert_same(path, {name: np.ascontiguousarray(values) for name, values in expected.items()})
    for name in ("row", "one row"):
        assert_view_of_the_file(open_tensor_file(path)[name].read())


def test_views_of_bfloat16(tmp_path):
    halves = as_bfloat16(floats(4, 6))
    values = values_of(halves, kind="BFloat16")
    path = write_torch(tmp_path / "net.pth", {"w": Tensor(values, (6, 4), (1, 6))})
    assert_same(path, {"w": np.ascontiguousarray(from_bfloat16(halves).T)})


def test_parameters_are_read_as_tensors(tmp_path):
    weight = floats(2, 2)
    path = write_torch(tmp_path / "net.pth", {"w": Parameter(tensor_of(weight))})
    assert_same(path, {"w": weight})


def test_tensors_outlive_the_file_they_came_from(tmp_path):
    weight = floats(100)
    path = write_torch(tmp_path / "net.pth", {"w": tensor_of(weight)})
    values = open_tensor_file(path)["w"].read()
    path.unlink()
    assert values.tobytes() == weight.tobytes()


def test_forgotten_values_are_read_again(tmp_path):
    weight = floats(3, 2000)
    path = write_torch(tmp_path / "net.pth", {"w": tensor_of(weight)})
    tensors = open_tensor_file(path)
    before = tensors["w"].read()
    tensors.forget()
    assert before.tobytes() == tensors["w"].read().tobytes() == weight.tobytes()


SHARED = values_of(np.zeros(10, np.float32))
TORCH_LIES = {
    "offset": (Tensor(SHARED, (5,), (1,), 6), "asks for more than the 10 values"),
    "strides": (Tensor(SHARED, (2, 2), (9, 1)), "asks for more than the 10 values"),
    "shape": (Tensor(SHARED, (11,), (1,)), "asks for more than the 10 values"),
    "repeated": (Tensor(SHARED, (2**39,), (0,)), "asks for more than the 10 values"),
    "large": (Tensor(SHARED, (2**31, 2**31), (0, 0)), "too large"),
    "large and empty": (Tensor(SHARED, (0, 2**60), (1, 1)), "too large"),
    "many dimensions": (Tensor(SHARED, (1,) * 9, (1,) * 9), "too large"),
    "negative size": (Tensor(SHARED, (-1,), (1,)), "not a list of whole numbers"),
    "negative stride": (Tensor(SHARED, (5,), (-1,), 5), "steps that torch.save does not write"),
    "negative offset": (Tensor(SHARED, (5,), (1,), -1), "steps that torch.save does not write"),
    "missing stride": (Tensor(SHARED, (5, 2), (1,)), "steps that torch.save does not write"),
    "large stride": (Tensor(SHARED, (2,), (2**62,)), "asks for more than the 10 values"),
    "odd stride": (Tensor(SHARED, (5,), ("1",)), "steps that torch.save does not write"),
    "odd size": (Tensor(SHARED, (5.0,), (1,)), "not a list of whole numbers"),
    "numel": (Tensor(values_of(np.zeros(10, np.float32), numel=11), (11,), (1,)), "only 40 bytes are there"),
    "huge numel": (Tensor(values_of(np.zeros(1, np.float32), numel=2**62), (2**39,), (1,)), "only 4 bytes"),
}


@pytest.mark.parametrize("name", TORCH_LIES)
def test_a_tensor_that_leaves_its_values_is_refused(tmp_path, name):
    tensor, found = TORCH_LIES[name]
    message = refusal(write_torch(tmp_path / "net.pth", {"fine": tensor_of(floats(10), "1"), "the one": tensor}))
    assert "the tensor 'the one'" in message
    assert found in message


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "0/../0", "", "-1", "٣"])
def test_a_key_that_is_not_a_number_is_refused(tmp_path, key):
    path = write_torch(tmp_path / "net.pth", {"w": tensor_of(floats(2), key)})
    assert "refers to values in a way that torch.save does not" in refusal(path)


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ([1, 2], "does not hold a dict of tensors"),
        (tensor_of(floats(2)), "does not hold a dict of tensors"),
        ({"w": tensor_of(floats(2)), "epoch": 3}, "its entry 'epoch' is not a tensor"),
        ({"state_dict": {"epoch": 3}}, "its entry 'state_dict' is not a tensor"),
        ({"state_dict": {}}, "its entry 'state_dict' is not a tensor"),
        ({"deeper": {"state_dict": {"w": tensor_of(floats(2))}}}, "its entry 'deeper' is not a tensor"),
        ({"w": Tensor(SHARED, [10], (1,))}, "describes a tensor in a way"),
        ({"w": Tensor(SHARED, (10,), (1,), 0, ({"neg": True},))}, "describes a tensor in a way"),
        ({"w": Tensor("storage", (10,), (1,))}, "describes a tensor in a way"),
        ({"w": Parameter(3)}, "describes a parameter in a way"),
        ({"w": Tensor(values_of(np.zeros(1), numel=-1), (1,), (1,))}, "refers to values in a way"),
        ({"w": Tensor(values_of(np.zeros(1), kind="ComplexFloat"), (1,), (1,))}, "torch.ComplexFloatStorage"),
        ({"w": np.zeros(3)}, "_reconstruct, which a state dict does not need"),
    ],
)
def test_what_is_not_a_plain_state_dict_is_refused(tmp_path, state, found):
    assert found in refusal(write_torch(tmp_path / "net.pth", state))


@pytest.mark.parametrize("key", ["state_dict", "module", "model"])
def test_the_user_is_told_where_a_nested_state_dict_lies(tmp_path, key):
    path = write_torch(tmp_path / "net.pth", {"epoch": 3, key: module_state()})
    message = refusal(path)
    assert f"lie one level down, under '{key}'" in message
    assert f"save only its '{key}'" in message


def test_a_layer_called_model_is_no_nested_state_dict(tmp_path):
    weight = floats(3)
    assert_same(write_torch(tmp_path / "net.pth", {"model": tensor_of(weight)}), {"model": weight})


def test_no_code_of_a_pth_is_run(tmp_path):
    mark = tmp_path / "was here"
    code = f"touch '{mark}'".encode()
    attacks = {
        "os.system": b"\x80\x02cos\nsystem\nX" + struct.pack("<I", len(code)) + code + b"\x85R.",
        "builtins.eval": b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
    }
    for name, pickled in attacks.items():
        message = refusal(write_archive(tmp_path / "net.pth", {"data.pkl": pickled}))
        assert f"asks for the Python object {name}, which a state dict does not need" in message
        pdparams = tmp_path / "net.pdparams"
        pdparams.write_bytes(pickled)
        assert f"asks for the Python object {name}, which" in refusal(pdparams)
    assert not mark.exists()


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "net.pth"
    weight = {"w": tensor_of(floats(2))}
    parts = parts_of(weight)
    refused = {
        "no part": ({}, "does not hold the one part"),
        "no pickle": ({"version": b"3"}, "does not hold the one part"),
        "deep pickle": ({"deep/data.pkl": parts["data.pkl"]}, "does not hold the one part"),
        "no values": (
            {"data.pkl": parts["data.pkl"]},
            "values of the tensor 'w' (its part data/0) are missing",
        ),
        "big-endian": ({**parts, "byteorder": b"big"}, "its numbers are big-endian"),
        "TorchScript": ({**parts, "constants.pkl": b""}, "TorchScript program"),
        "TorchScript code": ({**parts, "code/net.py": b""}, "TorchScript program"),
        "cut pickle": ({**parts, "data.pkl": parts["data.pkl"][:-9]}, "pickle is cut short"),
    }
    for name, (content, found) in refused.items():
        assert found in refusal(write_archive(path, content)), name

    write_archive(path, parts, zipfile.ZIP_DEFLATED)
    assert "is compressed or encrypted" in refusal(path)

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("b/data.pkl", b"\x80\x02}.")
    assert "does not hold the one part" in refusal(path)

    with pytest.warns(UserWarning), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/data.pkl", b"\x80\x02}.")
    assert "two parts of the same name" in refusal(path)


def test_the_format_before_zip_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    message = refusal(path)
    assert "before version 1.6" in message
    assert "weights_only=True" in message


def test_a_pth_cut_anywhere_is_refused(tmp_path):
    whole = write_torch(tmp_path / "net.pth", {"w": tensor_of(floats(50))}).read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        assert "not a complete zip archive" in refusal(path)


def test_zip_lies_are_refused(tmp_path):
    whole = write_torch(tmp_path / "net.pth", {"w": tensor_of(floats(50))}).read_bytes()
    path = tmp_path / "lie.pth"

    def lie(at: int, value: bytes) -> str:
        path.write_bytes(whole[:at] + value + whole[at + len(value) :])
        return refusal(path)

    directory = whole.index(b"PK\x01\x02")
    values = whole.index(b"PK\x01\x02", whole.index(b"net/data/0", directory) - 50)
    assert "net/data.pkl is damaged" in lie(0, b"XX")
    assert "is damaged or cut short" in lie(values + 24, struct.pack("<I", 2**31))
    assert "is damaged or cut short" in lie(values + 20, struct.pack("<I", 2**31))
    assert "is damaged or cut short" in lie(values + 20, struct.pack("<II", 2**31, 2**31))
    assert "lies outside the file" in lie(values + 42, struct.pack("<I", len(whole) - 5))
    assert "is compressed or encrypted" in lie(values + 8, b"\x01")
    end = whole.index(b"PK\x05\x06")
    assert "cannot be read as a PyTorch state dict" in lie(end + 12, struct.pack("<I", 2**32 - 2))


def test_a_zip_directory_of_any_size_is_not_read(tmp_path):
    path = tmp_path / "net.pth"
    size = 9 * 2**20
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, size, 0, 0))
    assert "list of parts is too long" in refusal(path)


# -- .pdparams ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paddle_file(tmp_path_factory):
    """Saves what real networks hold with the real paddle.save."""
    paddle = pytest.importorskip("paddle")
    folder = tmp_path_factory.mktemp("paddle")

    def save(state: dict, protocol: int = 4, tensors: bool = True) -> Path:
        path = folder / f"model_state_{protocol}.pdparams"
        wrapped = {}
        for name, values in state.items():
            wrapped[name] = paddle.to_tensor(values) if tensors and isinstance(values, np.ndarray) else values
        paddle.save(wrapped, str(path), protocol=protocol)
        return path

    return save


def paddle_state() -> dict[str, np.ndarray]:
    return {
        "linear.weight": floats(40, 50),
        "norm._mean": floats(4),
        "half": floats(3, 5).astype(np.float16),
        "double": floats(3).astype(np.float64),
        "brain": as_bfloat16(floats(33, 44)),
        "count": np.array(3, np.int64),
        "steps": np.arange(5, dtype=np.int32),
        "mask": np.array([True, False]),
        "empty": np.empty((0, 3), np.float32),
    }


@pytest.mark.parametrize("tensors", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_paddle_state_dicts(paddle_file, protocol, tensors):
    state = paddle_state()
    path = paddle_file(state, protocol, tensors)
    pickled = path.read_bytes()
    assert (b"StructuredToParameterName@@" in pickled) is tensors
    expected = {
        **state,
        "half": state["half"].astype(np.float32),
        "double": state["double"].astype(np.float32),
        "brain": from_bfloat16(state["brain"]),
    }
    assert_same(path, expected)
    found = open_tensor_file(path)
    assert found["brain"].dtype == "bfloat16"
    assert found["linear.weight"].read().flags.aligned


def test_paddle_tensors_with_their_variable_names(paddle_file):
    # A state dict with anything but tensors in it is saved as pairs of name and array.
    weight = floats(30, 40)
    for protocol in (2, 4):
        paddle = pytest.importorskip("paddle")
        path = paddle_file({"w": paddle.to_tensor(weight), "b": weight[0]}, protocol, tensors=False)
        assert b"tuple" in path.read_bytes()
        assert_same(path, {"w": weight, "b": weight[0]})


def test_paddle_arrays_in_column_order(paddle_file):
    weight = floats(30, 40)
    for protocol in (2, 4):
        path = paddle_file({"w": weight.T, "h": weight.astype(np.float16).T}, protocol, tensors=False)
        half = weight.astype(np.float16).astype(np.float32).T
        assert_same(path, {"w": np.ascontiguousarray(weight.T), "h": np.ascontiguousarray(half)})


def test_paddle_values_stay_in_the_file_until_read(tmp_path):
    size = 4_000_000
    path = tmp_path / "large.pdparams"
    path.write_bytes(pickle.dumps({"w": np.ones(size, np.float32), "pad": np.zeros(1, np.float32)}, 4))
    open_tensor_file(path)
    tracemalloc.start()
    try:
        tensor = open_tensor_file(path)["w"]
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
    assert tensor.read().sum() == size


def test_an_aligned_paddle_array_is_a_view(tmp_path):
    path = tmp_path / "x.pdparams"
    for letters in range(1, 5):
        path.write_bytes(pickle.dumps({"w" * letters: np.ones(1000, np.float32)}, 4))
        values = open_tensor_file(path)["w" * letters].read()
        assert values.flags.aligned
        if not values.flags.writeable:
            assert_view_of_the_file(values)
            return
    pytest.fail("one of four following places must be aligned")


def pdparams(path: Path, value: object, protocol: int = 4) -> Path:
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("state", "found"),
    [
        ([np.zeros(2)], "does not hold a dict of tensors"),
        ({"w": np.zeros(2), "lr": 0.1}, "its entry 'lr' is not a tensor"),
        ({"w": ("name", np.zeros(2), 3)}, "its entry 'w' is not a tensor"),
        ({"model": {"w": np.zeros(2)}, "epoch": 1}, "one level down, under 'model'"),
        ({"model": {"w": ("linear_0.w_0", np.zeros(2))}}, "load it with PaddlePaddle"),
        ({"w": np.zeros(2), "UnpackBigParamInfor@@": {"w": {"slices": []}}}, "protocol=4"),
        ({"w": np.array(["text"])}, "of type 'U4', where f8, f4"),
        ({"w": np.array([object()])}, "of type 'O8', where f8, f4"),
        ({"w": np.zeros(2, np.complex64)}, "of type 'c8', where f8, f4"),
        ({"w": np.zeros(2, ">f4")}, "big-endian or structured"),
        ({"w": np.zeros(2, [("a", "f4")])}, "of type 'V4', where"),
        ({"w": np.zeros(2), 3: np.zeros(2)}, "a key that is not a name"),
        ({"w": np.float32(3)}, "multiarray.scalar, which a state dict does not need"),
        ({"w": slice(1, 2)}, ".slice, which a state dict does not need"),
    ],
)
def test_other_pdparams_are_refused(tmp_path, state, found, protocol):
    assert found in refusal(pdparams(tmp_path / "x.pdparams", state, protocol))


def array_pickle(shape: bytes, content: bytes, known: bytes = b"numpy._core.multiarray\n_reconstruct\n") -> bytes:
    """{"w": array} by hand, so that its parts need not fit together."""
    shell = b"c" + known + b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNK\x00K\x00K\x00tb"
    return b"\x80\x03}X\x01\x00\x00\x00w" + shell + b"(K\x01" + shape + dtype + b"\x89" + content + b"tbs."


def test_arrays_of_old_and_new_numpy(tmp_path):
    for known in (b"numpy.core.multiarray\n_reconstruct\n", b"numpy._core.multiarray\n_reconstruct\n"):
        path = pdparams(tmp_path / "x.pdparams", array_pickle(b"K\x02\x85", b"C\x08" + bytes(8), known))
        assert_same(path, {"w": np.zeros(2, np.float32)})


LATIN1 = b"c_codecs\nencode\nX%sX\x06\x00\x00\x00latin1\x86R"


@pytest.mark.parametrize(
    ("pickled", "found"),
    [
        (array_pickle(b"K\x03\x85", b"C\x08" + bytes(8)), "needs 12 bytes and has 8"),
        (array_pickle(b"K\x01\x85", b"C\x08" + bytes(8)), "needs 4 bytes and has 8"),
        (array_pickle(b"J\xff\xff\xff\xff\x85", b"C\x08" + bytes(8)), "not a list of whole numbers"),
        (array_pickle(b"\x8a\x08" + struct.pack("<q", 2**62) + b"\x85", b"C\x00"), "too large"),
        (array_pickle(b"K\x02\x85", b"]"), "not one of plain numbers"),
        (array_pickle(b"K\x02\x85", b"X\x00\x00\x00\x00"), "not one of plain numbers"),
        (array_pickle(b"K\x02\x85", LATIN1 % (b"\x04\x00\x00\x00\xc4\x80ab")), "bytes as text"),
        (b"\x80\x02cnumpy\nndarray\n.", "does not hold a dict of tensors"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "not a function"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.", "describes an array"),
        (b"\x80\x02cnumpy\ndtype\n)R.", "describes a numpy type"),
        (b"\x80\x02cbuiltins\ntuple\n)R.", "makes a tuple"),
        (b"\x80\x02cbuiltins\nbytes\nK\x05\x85R.", "makes bytes"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "makes an ordered dict"),
        (array_pickle(b"K\x02\x85", b"C\x08" + bytes(8))[:-3] + b"0s.", "operation POP"),
        (
            b"\x80\x02}X\x01\x00\x00\x00wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n)N\x87Rs.",
            "no content",
        ),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40), "BYTEARRAY8"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "numbers a remembered value 2,147,483,647"),
        (b"PK\x03\x04 is a zip", "pickle operation"),
    ],
)
def test_hand_made_pdparams_are_refused(tmp_path, pickled, found):
    assert found in refusal(pdparams(tmp_path / "x.pdparams", pickled))


@pytest.mark.parametrize(("text", "found"), [(b"\xff" * 8000, "not text"), (b"ab" * 4001, "has 8,002")])
def test_damage_in_values_written_as_text_is_found_when_they_are_read(tmp_path, text, found):
    content = LATIN1 % (struct.pack("<I", len(text)) + text)
    path = pdparams(tmp_path / "x.pdparams", array_pickle(b"M\xd0\x07\x85", content))
    tensor = open_tensor_file(path)["w"]
    with pytest.raises(InputError, match=found) as caught:
        tensor.read()
    assert str(caught.value).startswith(f"{path} ")


# -- any file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "pdparams"])
def test_files_that_are_none(tmp_path, suffix):
    path = tmp_path / f"missing.{suffix}"
    assert "it does not exist" in refusal(path)
    path.touch()
    assert "it is empty" in refusal(path)
    folder = tmp_path / f"folder.{suffix}"
    folder.mkdir()
    assert "it is not a file" in refusal(folder)


def test_an_unknown_suffix_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    message = refusal(path)
    assert "found '.onnx'" in message
    assert ".safetensors, .pth, .pt, .bin, .pdparams" in message


def fuzz_originals(folder: Path) -> dict[str, bytes]:
    state = {
        "w": floats(6, 5),
        "h": floats(4).astype(np.float16),
        "b": as_bfloat16(floats(4)),
        "n": np.array(3, np.int64),
        "m": np.array([True, False]),
    }
    torch_state = OrderedDict((name, tensor_of(array, str(i))) for i, (name, array) in enumerate(state.items()))
    torch_state["t"] = Tensor(torch_state["w"].values, (5, 6), (1, 5))
    torch_state._metadata = OrderedDict({"": {"version": 1}})
    named = {name: (f"{name}_0", array) for name, array in state.items()}
    safetensors.numpy.save_file(state, folder / "x.safetensors", {"format": "pd"})
    return {
        "x.safetensors": (folder / "x.safetensors").read_bytes(),
        "x.pth": write_torch(folder / "x.pth", torch_state).read_bytes(),
        "x.pt": write_torch(folder / "x.pt", torch_state, 4).read_bytes(),
        "2.pdparams": pickle.dumps({**state, "t": floats(40, 50).T}, 2),
        "4.pdparams": pickle.dumps({**named, "t": floats(4, 5).T}, 4),
    }


def damaged(original: bytes, chance: random.Random) -> bytes:
    data = bytearray(original)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                del data[at:]
            case 1:
                del data[at : at + chance.randint(1, 40)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 40))
            case 3:
                data[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)])
            case _:
                data[at : at + 1] = chance.randbytes(1)
    return bytes(data)


def test_random_damage_gives_values_or_a_sentence(tmp_path):
    chance = random.Random(20240607)
    outcomes = {"read": 0, "refused": 0}
    # Reserving what a damaged length asks for would go far beyond this.
    most = 4_000_000
    for name, original in fuzz_originals(tmp_path).items():
        path = tmp_path / name
        path.write_bytes(original)
        for tensor in open_tensor_file(path).values():
            tensor.read()
        tracemalloc.start()
        try:
            for _ in range(200):
                path.write_bytes(damaged(original, chance))
                try:
                    for tensor in open_tensor_file(path).values():
                        assert tensor.read().size == math.prod(tensor.shape)
                    outcomes["read"] += 1
                except InputError as error:
                    assert str(error).startswith(f"{path} ")
                    assert "\n" not in str(error)
                    outcomes["refused"] += 1
            assert tracemalloc.get_traced_memory()[1] < most
        finally:
            tracemalloc.stop()
    assert min(outcomes.values()) > 50
