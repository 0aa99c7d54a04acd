"""docs/cli.md is what the parsers say today."""

import re

import pytest

from sa.benchmarks.cli_reference import PAGE, PARSERS, page


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == page(), "docs/cli.md is out of date: write it with `make cli-reference`"


@pytest.mark.parametrize("columns", ["40", "400"])
def test_it_does_not_depend_on_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    assert page() == PAGE.read_text()


def test_it_has_every_command_and_flag():
    text = page()
    for make in PARSERS:
        parser = make()
        assert f"\n## {parser.prog}\n" in text
        for flag in re.findall(r"^  (--[a-z-]+)", parser.format_help(), re.MULTILINE):
            assert f"| `{flag}" in text
    for command in ("run", "merge"):
        assert f"\n### sa-bench {command}\n" in text and f"\n| `{command}` | " in text
    assert "| `--engines DIR` | **required**; " in text


def test_a_bar_in_a_flag_does_not_end_its_cell():
    assert "| `--identity FILE\\|none` |" in page()
