"""The generator's other properties; that it equals the golden noise is in test_golden.py."""

import numpy as np
import pytest

from sa.runtime.sampling.noise import TorchGenerator


def test_draws_follow_each_other():
    whole = TorchGenerator(7).normal((96,))
    generator = TorchGenerator(7)
    np.testing.assert_array_equal(np.concatenate([generator.normal((32,)), generator.normal((64,))]), whole)
    assert not np.array_equal(TorchGenerator(8).normal((96,)), whole)


def test_numbers_are_standard_normal():
    values = TorchGenerator(0).normal((4, 25000))
    assert values.dtype == np.float32 and np.isfinite(values).all()
    assert abs(values.mean()) < 0.01 and abs(values.std() - 1) < 0.01


def test_a_remainder_is_refused():
    with pytest.raises(ValueError, match="multiple of 16"):
        TorchGenerator(0).normal((3, 5))
