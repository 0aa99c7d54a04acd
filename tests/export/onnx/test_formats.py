"""How numbers are stored: bfloat16, which NumPy does not know, bit by bit."""

import numpy as np
import pytest

from sa.export.onnx.formats import FORMATS

BF16 = FORMATS["bf16"]


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (-2.5, 0xC020),
        (1 + 2.0**-8, 0x3F80),  # half a step above 1: to the even neighbour, below
        (1 + 3 * 2.0**-8, 0x3F82),  # and above
        (1 + 2.0**-8 + 2.0**-20, 0x3F81),
        (BF16.largest, 0x7F7F),
        (float(np.finfo(np.float32).max), 0x7F80),  # beyond the largest: infinite
        (-np.inf, 0xFF80),
        (0.0, 0),
    ],
)
def test_bfloat16_is_rounded_to_the_nearest_and_half_to_even(value, bits):
    assert BF16.encode(np.array([value]))[0] == bits


def test_nan_stays_nan():
    signalling = np.array([0x7F800001], np.uint32).view(np.float32)  # its upper half alone would be infinite
    assert np.isnan(BF16.rounded(signalling)).all()


@pytest.mark.parametrize(("name", "step"), [("fp32", 0.0), ("fp16", 2.0**-11), ("bf16", 2.0**-8)])
def test_rounding_is_within_half_a_step(name, step):
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    values = values[np.abs(values) > FORMATS["fp16"].smallest_normal]
    error = np.abs(FORMATS[name].rounded(values) - values) / np.abs(values)
    assert step / 4 <= error.max() <= step


def test_a_tensor_has_its_format():
    tensor = BF16.tensor(np.array([[1.0, -2.5]], np.float32))
    assert (tensor.data_type, list(tensor.dims), tensor.raw_data) == (BF16.element, [1, 2], b"\x80\x3f\x20\xc0")
