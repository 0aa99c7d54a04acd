"""PaddlePaddle's weight files: right values, and one plain sentence for every file that cannot be used."""

import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from tensor_checks import as_bfloat16, assert_same, assert_view_of_the_file, floats, from_bfloat16, refusal
from weight_files import write_pdparams

from sa.export.checkpoint.tensor_files import open_tensor_file
from sa.runtime.errors import InputError


@pytest.fixture(scope="module")
def paddle_file(tmp_path_factory):
    """Saves what real networks hold, with the real paddle.save."""
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


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("state", "found"),
    [
        ([np.zeros(2)], "does not hold a dict of tensors"),
        ({"w": np.zeros(2), "lr": 0.1}, "its entry 'lr' is not a tensor"),
        ({"w": ("name", np.zeros(2), 3)}, "its entry 'w' is not a tensor"),
        ({"model": {"w": np.zeros(2)}, "net": {"w": np.zeros(2)}}, "several tables of tensors: model, net"),
        ({"another": {"w": ("linear_0.w_0", np.zeros(2))}}, "its entry 'another' is not a tensor"),
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
    assert found in refusal(write_pdparams(tmp_path / "x.pdparams", state, protocol))


def array_pickle(shape: bytes, content: bytes, known: bytes = b"numpy._core.multiarray\n_reconstruct\n") -> bytes:
    """{"w": array} written by hand, so that its parts can contradict each other."""
    shell = b"c" + known + b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNK\x00K\x00K\x00tb"
    return b"\x80\x03}X\x01\x00\x00\x00w" + shell + b"(K\x01" + shape + dtype + b"\x89" + content + b"tbs."


def test_arrays_of_old_and_new_numpy(tmp_path):
    for known in (b"numpy.core.multiarray\n_reconstruct\n", b"numpy._core.multiarray\n_reconstruct\n"):
        path = write_pdparams(tmp_path / "x.pdparams", array_pickle(b"K\x02\x85", b"C\x08" + bytes(8), known))
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
        (b"PK\x03\x04 is a zip", "not a complete zip archive"),
    ],
)
def test_hand_made_pdparams_are_refused(tmp_path, pickled, found):
    assert found in refusal(write_pdparams(tmp_path / "x.pdparams", pickled))


@pytest.mark.parametrize(("text", "found"), [(b"\xff" * 8000, "not text"), (b"ab" * 4001, "has 8,002")])
def test_damage_in_values_written_as_text_is_found_when_they_are_read(tmp_path, text, found):
    content = LATIN1 % (struct.pack("<I", len(text)) + text)
    path = write_pdparams(tmp_path / "x.pdparams", array_pickle(b"M\xd0\x07\x85", content))
    tensor = open_tensor_file(path)["w"]
    with pytest.raises(InputError, match=found) as caught:
        tensor.read()
    assert str(caught.value).startswith(f"{path} ")
