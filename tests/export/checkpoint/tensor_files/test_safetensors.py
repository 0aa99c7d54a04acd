"""Weight files in the .safetensors format: right values, and one plain sentence for every broken one."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from tensor_checks import as_bfloat16, assert_same, assert_view_of_the_file, floats, from_bfloat16, refusal

from sa.export.checkpoint.tensor_files import open_tensor_file


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
