"""Sentences of sa-prepare and sa-run in a node's words: inputs instead of flags."""

from collections.abc import Iterator
from contextlib import contextmanager

from sa.runtime.console.flags import renamed
from sa.runtime.errors import UserError

# Inputs of the nodes that make and animate cases, by the commands' flags.
INPUTS = {
    "--case": "folder",
    "--out": "folder",
    "--size": "width and height",
    "--refine-start": "start",
    "--refine-iters": "iterations",
    **{
        f"--{name.replace('_', '-')}": name
        for name in (
            *("reference", "driving", "person", "keypoints", "models", "identity", "frames", "fps"),
            *("fit", "reference_person", "background", "anchor", "retarget", "no_fill", "smooth"),
            *("device", "quality", "steps", "guidance", "seed", "refine"),
        )
    },
}


def worded(text: str) -> str:
    return renamed(text, INPUTS)


@contextmanager
def in_words() -> Iterator[None]:
    """Errors for the user name a node's inputs."""
    try:
        yield
    except UserError as error:
        raise type(error)(worded(str(error))) from error
