"""The price list: which settings it has, and what they are counted to cost."""

import numpy as np
import pytest

from sa.benchmarks.puppet.prices import GUIDANCE, PRICES, SHALLOW_SHARE, Price, unet_pairs
from sa.runtime.contract import Schedule
from sa.runtime.pipeline.quality import qualities, quality_settings
from sa.runtime.pipeline.settings import Settings
from sa.runtime.sampling.schedule import ays_sigmas


def test_every_quality_is_in_it_and_exact_comes_first():
    named = {price.quality: price for price in PRICES if price.name == f"`{price.quality}`"}
    assert list(named) == list(qualities()) and PRICES[0] is named["exact"]
    for name, price in named.items():
        expected = quality_settings(name)
        assert (price.settings.steps, price.settings.schedule) == (expected.steps, expected.schedule)
        assert price.settings.guidance == GUIDANCE


def counted(**changes) -> float:
    return unet_pairs(Schedule(sigma_min=0.002, sigma_max=700.0), Settings(**changes))


def test_calls_are_counted():
    assert counted(steps=7) == 7
    assert counted(steps=7, guidance=1.0) == 3.5
    assert counted(steps=7, guidance=1.0, guidance_start=2.0) == 7


def test_steps_outside_the_interval_count_half():
    """Of the ten steps of Align Your Steps, six have a sigma above 0.2 and at most 20."""
    assert counted(steps=10, schedule="ays", guidance_interval=(0.2, 20.0)) == 6 + 4 / 2


def test_shallow_steps_count_what_they_compute():
    assert counted(steps=5, cache_interval=2) == pytest.approx(3 + 2 * SHALLOW_SHARE)
    # Two branches where one was kept: the fourth step of seven is whole, though it is not a third one.
    sigmas = ays_sigmas(7)
    enters = int(np.flatnonzero(sigmas <= 20)[0])
    assert enters == 2
    steps = counted(steps=7, schedule="ays", guidance_interval=(0.0, 20.0), cache_interval=3)
    assert steps == pytest.approx(0.5 + SHALLOW_SHARE / 2 + 1 + 1 + 2 * SHALLOW_SHARE + 1)


def test_a_combination_keeps_what_it_does_not_change():
    settings = Price("x", {"steps": 3}, "fast").settings
    assert settings.steps == 3 and settings.guidance_interval == quality_settings("fast").guidance_interval
