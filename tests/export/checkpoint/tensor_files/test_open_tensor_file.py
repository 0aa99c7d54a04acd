"""Tests for weight files of every kind."""

import json
import math
import os
import pickle
import random
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from tensor_checks import as_bfloat16, floats, refusal
from weight_files import Tensor, torch_state, write_archive, write_pdparams, write_torch

from sa.export.checkpoint.tensor_files import open_tensor_file
from sa.runtime.errors import InputError


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
    tensors = torch_state(state)
    tensors["t"] = Tensor(tensors["w"].values, (5, 6), (1, 5))
    tensors._metadata = OrderedDict({"": {"version": 1}})
    named = {name: (f"{name}_0", array) for name, array in state.items()}
    safetensors.numpy.save_file(state, folder / "x.safetensors", {"format": "pd"})
    return {
        "x.safetensors": (folder / "x.safetensors").read_bytes(),
        "x.pth": write_torch(folder / "x.pth", tensors).read_bytes(),
        "x.pt": write_torch(folder / "x.pt", tensors, 4).read_bytes(),
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
    # Allocating what a damaged length claims would take far more.
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


def resident_bytes(path: Path) -> int:
    """The bytes of the file that this process has in memory through its memory maps."""
    total, of_the_file = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        label, *rest = line.split()
        if not label.endswith(":"):
            of_the_file = line.endswith(f" {path.resolve()}")
        elif of_the_file and label == "Rss:":
            total += 1024 * int(rest[0])
    return total


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "pdparams"])
def test_forgotten_values_leave_memory_and_are_read_again(tmp_path, suffix):
    weight = floats(2, 1_000_000)
    path = tmp_path / f"net.{suffix}"
    if suffix == "safetensors":
        safetensors.numpy.save_file({"w": weight}, path)
    elif suffix == "pth":
        write_torch(path, torch_state({"w": weight}))
    else:
        write_pdparams(path, {"w": weight})
    tensors = open_tensor_file(path)
    before = tensors["w"].read()
    assert before.tobytes() == weight.tobytes()
    assert resident_bytes(path) >= weight.nbytes
    tensors.forget()
    assert resident_bytes(path) < weight.nbytes / 10
    assert before.tobytes() == tensors["w"].read().tobytes() == weight.tobytes()


@pytest.mark.parametrize("suffix", ["pth", "pdparams"])
def test_no_code_of_a_weight_file_is_run(tmp_path, suffix):
    mark = tmp_path / "was here"
    code = f"touch '{mark}'".encode()
    attacks = {
        "os.system": b"\x80\x02cos\nsystem\nX" + struct.pack("<I", len(code)) + code + b"\x85R.",
        "builtins.eval": b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
    }
    path = tmp_path / f"net.{suffix}"
    for name, pickled in attacks.items():
        if suffix == "pth":
            write_archive(path, {"data.pkl": pickled})
        else:
            write_pdparams(path, pickled)
        assert f"asks for the Python object {name}, which a state dict does not need" in refusal(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("index", "found"),
    [
        (b" " * (8 * 2**20 + 1), "it has 8,388,609 bytes, where 8,388,608 are the most"),
        (
            json.dumps({"weight_map": {str(i): f"{i}.safetensors" for i in range(1001)}}).encode(),
            "more than 1,000 files",
        ),
        (b'{"weight_map": {"w": 3}}', "no table weight_map"),
        (b'{"weight_map": {}}', "no table weight_map"),
    ],
)
def test_an_index_of_shards_is_bounded(tmp_path, index, found):
    path = tmp_path / "x.safetensors.index.json"
    path.write_bytes(index)
    message = refusal(path)
    assert "cannot be read as an index of weight files" in message
    assert found in message


def test_a_shard_that_is_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "shard.safetensors")
    path = tmp_path / "x.safetensors.index.json"
    path.write_text('{"weight_map": {"w": "shard.safetensors"}}')
    with pytest.raises(InputError, match="is a pipe, expected a regular file"):
        open_tensor_file(path)
