"""Processes that a command starts for its work: which GPU they see, and how they ended."""

import contextlib
import os
import signal
from collections.abc import Sequence

VISIBLE = "CUDA_VISIBLE_DEVICES"


def seeing(gpus: Sequence[int] | None) -> dict[str, str]:
    """The environment of a process that sees these GPUs alone, numbered as this one sees them. None: all of them."""
    environment = dict(os.environ)
    if gpus is not None:
        visible = [word for word in environment.get(VISIBLE, "").split(",") if word]
        environment[VISIBLE] = ",".join(visible[gpu] if gpu < len(visible) else str(gpu) for gpu in gpus)
    return environment


def how_it_ended(code: int) -> str:
    """An exit code of subprocess, in words."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"
