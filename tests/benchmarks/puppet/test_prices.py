"""The price list: which settings it has, and what they are counted to cost."""

import numpy as np
import pytest
from PIL import Image

from sa.benchmarks.puppet import prices
from sa.benchmarks.puppet.prices import CACHED, ENGINES, GUIDANCE, PRICES, SHALLOW_SHARE, Price, unet_pairs
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


def test_cached_features_are_compared_with_the_exact_frames_and_the_truth(tmp_path, monkeypatch):
    """Frames of one grey: the exact ones 2 levels from the truth, the others so many as they have whole steps."""
    monkeypatch.setattr(prices, "PUPPETS", 2)

    def drawn(folder, level):
        folder.mkdir(parents=True, exist_ok=True)
        for frame in range(prices.FRAMES):
            Image.new("RGB", (4, 4), (level,) * 3).save(folder / f"frame_{frame}.png")
        return folder

    class Found:
        def of(self, price, number):
            level = 102 if price is PRICES[0] else 102 + -(-price.settings.steps // price.settings.cache_interval)
            return drawn(tmp_path / str(level) / "frames", level).parent

        def truth(self, number):
            return drawn(tmp_path / "truth", 100)

    rows = [line.split(" | ") for line in prices._cached(Found()).splitlines() if line.startswith("| ")][2:]
    assert [row[0][2:] for row in rows] == [price.name for price in (PRICES[0], *CACHED)]
    assert [int(row[1]) for row in rows] == [25, 13, 9, 5, 13, 9, 5, 14, 10, 7]

    def cell(levels, digits):
        return f"{20 * np.log10(255 / levels):.{digits}f}"

    assert rows[0][2] == "" and rows[0][3].startswith(cell(2, 2))
    for row in rows[1:]:
        assert row[2].startswith(cell(int(row[1]), 1)) and row[3].startswith(cell(int(row[1]) + 2, 2))


def test_every_setting_has_an_engine_set():
    assert {price.engines for price in (*PRICES, *CACHED)} == set(ENGINES)
