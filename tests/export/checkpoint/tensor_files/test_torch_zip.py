"""PyTorch's weight files: right values, and one plain sentence for every file that cannot be used."""

import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from tensor_checks import as_bfloat16, assert_same, assert_view_of_the_file, floats, from_bfloat16, refusal
from weight_files import (
    LAYOUTS,
    Parameter,
    Tensor,
    parts_of,
    tensor_of,
    torch_state,
    values_of,
    write_archive,
    write_torch,
)

from sa.export.checkpoint.tensor_files import open_tensor_file


def module_state() -> OrderedDict:
    state = torch_state(
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
        }
    )
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


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "module", "model", "net", "ema"])
def test_a_nested_state_dict_is_found_by_its_name(tmp_path, key):
    optimizer = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-5, "params": [0, 1]}]}
    path = write_torch(tmp_path / "net.pth", {"epoch": 3, "optimizer": optimizer, key: module_state()})
    assert list(open_tensor_file(path)) == list(module_state())
    assert open_tensor_file(path).notes == (f"read its '{key}'",)


def test_a_running_average_beside_the_weights_is_passed_over(tmp_path):
    weights, average = {"w": tensor_of(np.ones(2))}, {"w": tensor_of(np.zeros(2), "1")}
    tensors = open_tensor_file(write_torch(tmp_path / "net.pth", {"ema": average, "state_dict": weights}))
    assert np.array_equal(tensors["w"].read(), np.ones(2))
    assert tensors.notes == ("read its 'state_dict'", "passed over its 'ema', a running average")


def test_several_nested_state_dicts_are_named(tmp_path):
    path = write_torch(tmp_path / "net.pth", {"model": module_state(), "net": module_state()})
    message = refusal(path)
    assert "it holds several tables of tensors: model, net; load it with PyTorch, save only the one" in message


def test_a_layer_called_model_is_no_nested_state_dict(tmp_path):
    weight = floats(3)
    assert_same(write_torch(tmp_path / "net.pth", {"model": tensor_of(weight)}), {"model": weight})


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
