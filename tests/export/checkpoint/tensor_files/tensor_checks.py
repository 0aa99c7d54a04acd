"""Helpers for the tests of all kinds of weight files."""

from pathlib import Path

import numpy as np
import pytest

from sa.export.checkpoint.tensor_files import open_tensor_file
from sa.runtime.errors import InputError

RANDOM = np.random.default_rng(7)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def as_bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper half of each float32: its bfloat16."""
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
