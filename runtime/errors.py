"""The errors a user can meet, each one sentence and each with its exit code."""

import reprlib

from pydantic import ValidationError


class UserError(Exception):
    """A problem the user can mend: one sentence with what was expected, what was found and what to do."""

    exit_code = 1


class InputError(UserError):
    """A flag, checkpoint or case that cannot be used."""

    exit_code = 2


class EngineSetError(UserError):
    """An engine set that is missing, damaged or does not fit this machine or these flags."""

    exit_code = 3


def first_fault(error: ValidationError) -> str:
    """The first thing pydantic found wrong, in words that fit into a sentence: `height must be ..., not ...`."""
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
    expected = fault["msg"].partition(" should ")[2]
    if kind in ("too_short", "too_long"):
        return f"{where} must {expected.replace(' after validation', '')}"
    if kind.startswith(("int_", "float_")):
        expected = expected.partition(",")[0]
    return f"{where or 'the file'} must {expected}, not {found}"
