"""Errors for the user. Each message is one sentence, and each class has an exit code."""

import reprlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

# pydantic's wording and ours
PLAINER = {
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "more than",
    " after validation": "",
}


class UserError(Exception):
    """A problem the user can fix. Its message says what was expected, what was found and what to do."""

    exit_code = 1


class InputError(UserError):
    """A flag, checkpoint or case that cannot be used."""

    exit_code = 2


def import_failed(who: str, error: ImportError, extra: str) -> InputError:
    """What is said of a library that is not there, or that is there but cannot be loaded."""
    if isinstance(error, ModuleNotFoundError):
        remedy = f"which is not installed: `pip install 'stableanimator-deploy[{extra}]'`"
        return InputError(f"{who} needs {error.name}, {remedy}.")
    why = " ".join(str(error).split())[:200]
    return InputError(f"{who} cannot load a library that is installed ({why}): install what it needs of the system.")


class EngineSetError(UserError):
    """An engine set that is missing, damaged or does not fit this machine or these flags."""

    exit_code = 3


class CancelledError(UserError):
    """The program around a run cancelled it."""

    exit_code = 130


class LostWorkerError(CancelledError):
    """A process that a run had part of its work done by ended. What is done is kept."""

    exit_code = 1


class InTheWayError(CancelledError):
    """Something came to lie where a result belongs while it was made. What is done is kept."""

    exit_code = 2


class InterruptedRunError(UserError):
    """Ctrl-C or SIGTERM; the same command can resume the work."""

    exit_code = 130


def first_line(error: BaseException) -> str:
    """The first line of a library's error, to quote in a message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def first_fault(error: "ValidationError") -> str:
    """The first thing pydantic found wrong, as a clause for a message: `height must be ..., not ...`."""
    fault = error.errors()[0]
    where, kind, found = ".".join(str(part) for part in fault["loc"]), fault["type"], reprlib.repr(fault["input"])
    if kind == "missing":
        return f"{where} is missing"
    if kind == "extra_forbidden":
        return f"{where} is not known"
    if kind == "string_pattern_mismatch":
        return f"{where} cannot be {found}"
    if kind == "value_error":  # raised by one of our own checks
        return f"{where}: {fault['ctx']['error']}" if where else str(fault["ctx"]["error"])
    expected = "be a table of names" if kind == "model_type" else fault["msg"].partition(" should ")[2]
    for words, plainer in PLAINER.items():
        expected = expected.replace(words, plainer)
    if kind in ("too_short", "too_long"):  # pydantic already says what was found
        return f"{where} must {expected}"
    if kind.startswith(("int_", "float_")):  # drop the reason why it is not a number
        expected = expected.partition(",")[0]
    return f"{where or 'it'} must {expected}, not {found}"
