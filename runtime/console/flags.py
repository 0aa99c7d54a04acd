"""Flags: one that counts once, values that begin with a minus, and other names for them where there are none."""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any


class Once(argparse.Action):
    """Stores one value. A second one is an error instead of the one that counts."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        given = f"{self.dest} was given"
        if getattr(namespace, given, False):
            parser.error(f"{option} was given twice: give it once")
        setattr(namespace, given, True)
        setattr(namespace, self.dest, values)


def join_ranges(argv: Sequence[str]) -> list[str]:
    """--frames -10: as --frames=-10:, which argparse takes for a value, so that the command itself can answer."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] == "--frames" and re.match(r"-[0-9:.]", word):
            joined[-1] = f"--frames={word}"
        else:
            joined.append(word)
    return joined


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A sentence about flags, with the names that they have elsewhere, by flag. A flag without one stays."""
    return re.sub(r"--[a-z]+(-[a-z]+)*", lambda flag: names.get(flag[0], flag[0]), text)
