"""The small model of a step whose tiles are spread."""

import pytest

from sa.benchmarks.scaling.tiles import StepModel, measure, of_tiles
from sa.runtime.case.case import Case
from sa.runtime.sampling.tiles import tile_indices


def test_the_last_round_of_tiles_limits_the_speed_up():
    model = StepModel(call=2.0)
    assert [model.speed_up(8, n) for n in (1, 2, 4, 8)] == [1, 2, 4, 8]
    assert model.speed_up(9, 8) == pytest.approx(9 / 2) and model.speed_up(3, 8) == 3


def test_transfers_and_what_is_not_spread_count():
    model = StepModel(call=2.0, transfer=0.5, rest=1.0)
    assert model.seconds(8, 1) == 21 and model.seconds(8, 4) == 2 * 2.5 + 1
    assert model.speed_up(8, 8) == pytest.approx(21 / 3.5)


def test_a_case_of_so_many_tiles_is_measured(engines, case_folder):
    case = Case.read(case_folder("recipe_basic"))
    for tiles in (1, 4, 16):
        assert len(tile_indices(of_tiles(case, tiles, 4, 2).frames, 4, 2)) == tiles
    said = measure(engines("recipe_basic", "onnxruntime"), case_folder("recipe_basic"), [2], [2], 2, 2, 1)
    assert said.count("\n") == 2 and said.splitlines()[-1].startswith("| 2 | ")
