"""The price list: which settings it has, and what they are counted to cost."""

import numpy as np
import pytest
from sample_manifest import engine, manifest

from sa.benchmarks.puppet import GUIDANCE
from sa.benchmarks.puppet.prices import PRICES, Price, unet_flops
from sa.runtime.contract import DEEP, ROLES, SHALLOW, TensorSpec
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


@pytest.fixture
def counted():
    """UNet FLOPs in pairs, for settings on 4 frames in tiles of 3 that overlap by 2: two tiles."""
    shapes = dict(height=64, width=64, tile_size=3, decode_chunk=1)
    outputs = [TensorSpec(name=DEEP, shape=(1, 1))]
    engines = [engine(role) for role in ROLES if role != "unet"]
    engines += [engine("unet", outputs=outputs, flops=70), engine("time_embedding"), engine("conditioning")]
    engines.append(engine(SHALLOW, inputs=outputs, flops=10))
    made, pair = manifest(engines=engines, shapes=shapes, cache_depth=1), 70
    return lambda **changes: unet_flops(made, Settings(tile_overlap=2, **changes), 4) / pair


def test_calls_are_counted(counted):
    assert counted(steps=7) == 14
    assert counted(steps=7, guidance=1.0) == 7
    assert counted(steps=7, guidance=1.0, guidance_start=2.0) == 14


def test_steps_outside_the_interval_count_half(counted):
    """Of the ten steps of Align Your Steps, six have a sigma above 0.2 and at most 20."""
    assert counted(steps=10, schedule="ays", guidance_interval=(0.2, 20.0)) == 2 * (6 + 4 / 2)


def test_shallow_steps_count_what_they_compute(counted):
    assert counted(steps=5, cache_interval=2) == pytest.approx(2 * (3 + 2 / 7))
    # Two branches where one was kept: the fourth step of seven is whole, though it is not a third one.
    sigmas = ays_sigmas(7)
    enters = int(np.flatnonzero(sigmas <= 20)[0])
    assert enters == 2
    steps = counted(steps=7, schedule="ays", guidance_interval=(0.0, 20.0), cache_interval=3)
    assert steps == pytest.approx(2 * (1 / 2 + 1 / 14 + 1 + 1 + 1 / 7 + 1 / 7 + 1))


def test_a_combination_keeps_what_it_does_not_change():
    settings = Price("x", {"steps": 3}, "fast").settings
    assert settings.steps == 3 and settings.guidance_interval == quality_settings("fast").guidance_interval
