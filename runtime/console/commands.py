"""Runs a command. If it fails, the user sees one sentence on stderr and an exit code."""

import argparse
import os
import sys
from collections.abc import Callable

import shtab

from sa.runtime.console.flags import join_ranges
from sa.runtime.errors import UserError

DEBUG = "SA_DEBUG"


def run_command(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], None],
    argv: list[str] | None,
    lighter: str = "end other programs, or take a machine with more",
) -> int:
    """Parse the arguments, run the command, and turn any failure into one sentence. Returns the exit code.

    Every command has --print-completion, which writes what a shell needs to complete its flags. `lighter`: what is
    advised when the memory is full.

    0 done; 2 and 3 for the errors in errors.py; 130 interrupted; 1 anything else.
    With SA_DEBUG=1 an unexpected error keeps its traceback.
    """
    shtab.add_argument_to(parser, "--print-completion", help="write the completion of this command for a shell")
    try:
        run(parser.parse_args(join_ranges(sys.argv[1:] if argv is None else argv)))
    except UserError as error:
        return _fail(name, str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail(name, "interrupted; nothing was written.", 130)
    except MemoryError:
        return _fail(name, f"out of memory; {lighter}.", 1)
    except OSError as error:
        if os.environ.get(DEBUG):
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fail(name, f"{where}{error.strerror or error}; nothing was written.", 1)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        return _fail(name, f"{unexpected(error)}; run again with {DEBUG}=1 and report it.", 1)
    return 0


def unexpected(error: Exception) -> str:
    """An error that nobody foresaw, on one line."""
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _fail(name: str, sentence: str, code: int) -> int:
    # File names may contain line breaks or terminal control characters.
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in sentence)
    print(f"{name}: {shown}{'' if shown.endswith('.') else '.'}", file=sys.stderr)
    return code
