"""The errors a user can meet, each one sentence and each with its exit code."""


class UserError(Exception):
    """A problem the user can mend: one sentence with what was expected, what was found and what to do."""

    exit_code = 1


class InputError(UserError):
    """A flag, checkpoint or case that cannot be used."""

    exit_code = 2


class EngineSetError(UserError):
    """An engine set that is missing, damaged or does not fit this machine or these flags."""

    exit_code = 3
