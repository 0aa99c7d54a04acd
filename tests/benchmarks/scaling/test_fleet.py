"""The simulated fleet: sums that can be made by hand, and what must hold with any seed."""

from dataclasses import replace

import pytest

from sa.benchmarks.scaling.fleet import Fleet, simulate, table

STEADY = Fleet(1, cases_per_device=5, case=100.0, spread=0.0, overhead=2.0, load=10.0, boot=20.0, lifetime=1e15)


def test_a_device_that_lasts_does_one_case_after_the_other():
    made = simulate(STEADY)
    start = 20 + 8 + 10
    assert made.seconds == pytest.approx(start + 5 * 102) and made.kills == 0 and made.most_attempts == 1
    assert made.work == pytest.approx(500) and made.overhead == pytest.approx(10) and made.starting == start
    assert made.lost == 0 and made.idle == pytest.approx(0) and made.efficiency == pytest.approx(500 / 548)


def test_all_nodes_share_the_store_when_they_start():
    few, many = (simulate(replace(STEADY, devices=n)).starting / n for n in (20, 200))
    assert few == 38 and many == pytest.approx(20 + 80 + 10)


@pytest.mark.parametrize("seed", range(5))
def test_kills_lose_at_most_a_step_and_no_result(seed):
    fleet = Fleet(10, cases_per_device=10, lifetime=3600.0)
    made, anew, calm = (
        simulate(one, seed) for one in (fleet, replace(fleet, resume=False), replace(fleet, lifetime=1e15))
    )
    assert made.work == pytest.approx(calm.work) and anew.work == pytest.approx(calm.work)
    assert made.kills > 0 and made.most_attempts > 1
    longest_step = max(calm.work, 1) / 25  # of a case that is all of the work, which none is
    assert 0 < made.lost < made.kills * longest_step
    assert made.lost < anew.lost and made.efficiency > anew.efficiency
    # All that devices were held for is accounted for, but for the time without one.
    held = made.work + made.lost + made.starting + made.overhead + made.idle
    assert held <= fleet.devices * made.seconds + made.kills * (90 + 8 + 60) + 1e-6


def test_a_seed_is_a_result():
    assert simulate(Fleet(10), 3) == simulate(Fleet(10), 3) != simulate(Fleet(10), 4)
    assert table(1) == table(1) and table(1).count("\n") == 16
