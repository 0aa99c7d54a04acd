"""The table and picture of refinement, from figures that are known."""

import pytest
from PIL import Image

from sa.benchmarks.puppet import PRESET, refining, study
from sa.export.presets import check_window, load_preset
from sa.runtime.cli import parser, settings_from


def test_the_table_has_a_row_for_every_choice_and_an_empty_cell_for_what_is_not_known():
    videos = [refining.Refined(20.0, 19.0, 22.0, 0.9, 0.8, seconds) for seconds in (float("nan"), float("nan"))]
    table = refining._table({row: videos for row in refining.ROWS}, 6)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(refining.ROWS)
    assert {line.count("|") for line in lines} == {len(refining.TITLES) + 2}
    assert all(line.endswith("| 0.800 [0.800, 0.800] |  |") for line in lines[2:])
    assert table.endswith("3 iterations if not said otherwise.")  # its rows say which latents move
    others = refining._table({row: videos for row in refining.BY_PRESET}, 25)
    assert others.endswith("The face's latents move, by the gradient of a window of 80 pixels.")


def test_rows_differ_in_what_they_ask_of_sa_run():
    asked = [tuple(row.flags.items()) for row in refining.ROWS]
    assert len(set(asked)) == len(asked)
    assert ("--refine-region", "frame") in asked[1] and ("--refine-gradient", "frame") in asked[2]
    assert all(("--refine-gradient", "window") in flags for flags in asked[3:])
    assert not any("--refine" in dict(flags) for flags in asked[:1])


@pytest.mark.parametrize(
    ("rows", "counts"),
    [(refining.LESS_OFTEN, [30, 10, 10, 9, 9, 9, 9, 9, 3, 6, 12]), (refining.BY_PRESET, [63, 18, 6])],
)
def test_rows_compute_as_many_gradients_as_their_names_say(rows, counts):
    found = []
    for row in rows[1:]:
        flags = [word for pair in row.flags.items() for word in pair if word]
        arguments = parser().parse_args(["--engines", "e", "--case", "c", "--out", "o", *flags])
        settings = settings_from(arguments)
        assert settings.refine is not None
        found.append(settings.refine.gradients(settings.steps))
    assert found == counts


def test_the_window_is_a_part_of_the_puppets_frame():
    flags = study.ENGINES[refining.ENGINES]
    assert flags[flags.index("--refine-window") + 1] == str(refining.WINDOW)
    check_window(refining.WINDOW, load_preset(PRESET).shapes)


def test_the_picture_shows_reference_results_and_truth(tmp_path):
    def frames(folder, colour, name="frame_6.png"):
        folder.mkdir(parents=True)
        Image.new("RGB", (128, 128), colour).save(folder / name)

    frames(tmp_path / "case-0-8", "red", "reference.png")
    frames(tmp_path / "case-0-8" / "truth", "lime")
    for name, colour in (("a", "blue"), ("b", "black")):
        frames(tmp_path / name / "frames", colour)
    shown = refining.pictures(tmp_path, [[tmp_path / "a"], [tmp_path / "b"]])
    centres = [shown.getpixel((2 + 64 + 130 * column, 66)) for column in range(4)]
    assert centres == [(255, 0, 0), (0, 0, 255), (0, 0, 0), (0, 255, 0)]
