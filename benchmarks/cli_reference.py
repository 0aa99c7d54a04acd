"""make cli-reference: writes docs/cli.md, the flags of every command, from their argument parsers.

The page does not depend on the terminal's width, so a test can compare it with the parsers.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from sa.benchmarks.cli import parser as sa_bench
from sa.export.cli import parser as sa_export
from sa.runtime.batch.cli import parser as sa_batch
from sa.runtime.cli import parser as sa_run
from sa.runtime.comfyui.cli import parser as sa_comfyui
from sa.runtime.prepare.command.arguments import parser as sa_prepare
from sa.runtime.serve.cli import parser as sa_serve

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
PARSERS = (sa_prepare, sa_export, sa_run, sa_batch, sa_serve, sa_comfyui, sa_bench)  # in the order people use them
HEAD = """\
# Command line

<!-- Written by `make cli-reference` from the argument parsers. Do not edit. -->

Every command prints this with `--help`, and what a shell needs to complete its flags with `--print-completion SHELL`.
A mistake in a flag, a file or an engine set is answered in one sentence on stderr. `SA_DEBUG=1` keeps the traceback of
an unexpected error.
"""


def page() -> str:
    """The whole page as Markdown."""
    parsers = [parser for make in PARSERS for parser in _with_subcommands(make())]
    return "\n".join([HEAD, *(_section(parser) for parser in parsers)])


def _with_subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in _subcommands(parser):
        yield from action.choices.values()


def _subcommands(parser: argparse.ArgumentParser) -> list[argparse._SubParsersAction]:
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]


def _commands(action: argparse._SubParsersAction) -> Iterator[str]:
    """A table row for each subcommand."""
    for command in action._choices_actions:
        yield f"| `{command.dest}` | {_cell(command.help or '')} |"


def _section(parser: argparse.ArgumentParser) -> str:
    """One command: its description, a table for each group of flags, and its epilog."""
    level = "##" if " " not in parser.prog else "###"
    parts = [f"{level} {parser.prog}", _block(parser.description)]
    parts += [_table("command", _commands(action)) for action in _subcommands(parser)]
    for group in parser._action_groups:
        if rows := list(_rows(parser, group)):
            titled = group.title not in ("options", "positional arguments")
            title = f"**{group.title[0].upper()}{group.title[1:]}**" if titled else ""
            parts.append(f"{title}: {group.description}" if group.description else title)
            parts.append(_table("flag", rows))
    parts.append(_block(parser.epilog))
    return "\n\n".join(part for part in parts if part) + "\n"


def _rows(parser: argparse.ArgumentParser, group: argparse._ArgumentGroup) -> Iterator[str]:
    """A table row for each flag except --help."""
    formatter = parser._get_formatter()
    for action in group._group_actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        default = formatter._get_default_metavar_for_positional(action)
        if action.option_strings:
            default = formatter._get_default_metavar_for_optional(action)
        values = "" if action.nargs == 0 else formatter._format_args(action, default)
        words = f"{', '.join(action.option_strings)} {values}".strip()
        required = "**required**; " if action.required and action.option_strings else ""
        yield f"| `{_cell(words)}` | {required}{_cell(formatter._expand_help(action))} |"


def _table(first: str, rows: Iterable[str]) -> str:
    return "\n".join([f"| {first} | meaning |", "| --- | --- |", *rows])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _block(text: str | None) -> str:
    """Text as it is, because it was laid out by hand."""
    return f"```text\n{text.strip()}\n```" if text else ""


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
