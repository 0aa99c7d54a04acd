"""Tables go into a page of the documentation, and nothing else of it changes."""

import pytest

from sa.benchmarks.puppet import prices, study
from sa.benchmarks.puppet.page import BEGIN, END, figure_cell, write_study
from sa.runtime.errors import UserError


def test_tables_go_between_the_markers_and_nothing_else_changes(tmp_path):
    page = tmp_path / "puppet.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for text in ("first", "second"):
        write_study(page, text)
    assert page.read_text() == f"before\n{BEGIN}\n\nsecond\n\n{END}\nafter\n"


def test_a_page_without_markers_is_left_alone(tmp_path):
    page = tmp_path / "puppet.md"
    page.write_text("by hand\n")
    with pytest.raises(UserError, match="lacks the lines"):
        write_study(page, "tables")
    assert page.read_text() == "by hand\n"


@pytest.mark.parametrize("page", [study.PAGE, prices.PAGE])
def test_the_documents_have_a_place_for_the_tables(page):
    text = page.read_text()
    assert text.index(BEGIN) < text.index(END)


def test_a_figure_that_is_not_known_is_left_out():
    assert figure_cell((1.0, 0.5, 2.0), 2) == "1.00 [0.50, 2.00]"
    assert figure_cell((float("nan"),) * 3, 2) == ""
