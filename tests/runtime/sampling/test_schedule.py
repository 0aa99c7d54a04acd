"""The noise levels of the steps."""

import numpy as np
import pytest

from sa.runtime.contract import Schedule
from sa.runtime.errors import InputError
from sa.runtime.sampling.schedule import AYS_SIGMAS, ays_sigmas, karras_sigmas, make_sigmas

MODEL = Schedule(sigma_min=0.002, sigma_max=700.0)


def test_ten_steps_are_the_published_ones():
    np.testing.assert_array_equal(ays_sigmas(10), np.append(AYS_SIGMAS, 0).astype(np.float32))


@pytest.mark.parametrize("steps", [1, 2, 6, 15, 25, 1000])
def test_any_number_of_steps_falls_from_the_same_sigma(steps):
    sigmas = ays_sigmas(steps)
    assert sigmas.dtype == np.float32 and len(sigmas) == steps + 1
    assert sigmas[0] == 700 and sigmas[-1] == 0 and (np.diff(sigmas) < 0).all()
    if steps > 1:
        assert sigmas[-2] == np.float32(0.034)


def test_logarithms_are_interpolated():
    """19 steps put one between each two of ten: their geometric mean."""
    sigmas, ten = ays_sigmas(19), ays_sigmas(10)
    np.testing.assert_array_equal(sigmas[:-1:2], ten[:-1])
    np.testing.assert_allclose(sigmas[1:-1:2], np.sqrt(ten[:-2] * ten[1:-1]), rtol=1e-6)


def test_a_schedule_by_its_name():
    np.testing.assert_array_equal(make_sigmas("karras", 7, MODEL), karras_sigmas(7, 0.002, 700.0))
    np.testing.assert_array_equal(make_sigmas("ays", 7, MODEL), ays_sigmas(7))


def test_a_model_of_other_noise_is_refused():
    with pytest.raises(InputError, match="largest sigma is 700, but the engine set's is 80"):
        make_sigmas("ays", 7, Schedule(sigma_min=0.002, sigma_max=80.0))
