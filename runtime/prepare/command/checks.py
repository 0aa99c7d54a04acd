"""Flags of sa-prepare that lack each other or exclude each other."""

import argparse
from collections.abc import Iterable

from sa.runtime.errors import InputError
from sa.runtime.prepare.command.arguments import CommandOptions, flag_of, parser

# How poses are made. --poses-ready takes them as they are.
OF_POSES = (
    "keypoints",
    "reference_keypoints",
    "frames",
    "compat",
    *sorted({*CommandOptions.model_fields} - {"background"}),
)


def require_files(a: argparse.Namespace) -> None:
    """InputError without a photo, a movement and a place for the case."""
    if a.reference is None or a.out is None or (a.driving is None and a.poses_ready is None):
        missing = "reference" if a.reference is None else "out" if a.driving or a.poses_ready else "driving"
        raise InputError(f"--{missing} is missing: a case needs --reference, --out, and --driving or --poses-ready.")


def require_published(a: argparse.Namespace) -> None:
    """InputError for --compat upstream beside what the published code does not have."""
    if a.compat is None:
        return
    if a.person != "largest":
        raise InputError("--person chooses whom to follow, --compat upstream follows nobody: give one of them.")
    if given := _given(a, ("anchor", "retarget", "smooth")):
        raise InputError(f"{given[0]} is not in the published code, which --compat upstream repeats: give one of them.")
    if a.identity:
        raise InputError("--compat upstream has an identity of every reference: leave out --identity none.")


def require_ready(a: argparse.Namespace) -> None:
    """InputError for --poses-ready beside what is done with a driving video."""
    if len(a.reference) > 1:
        raise InputError("--poses-ready were drawn for one photo: give one --reference.")
    if given := _given(a, OF_POSES):
        raise InputError(
            f"{given[0]} says how poses are made, --poses-ready takes them as they are: leave {given[0]} out."
        )


def require_own_poses(a: argparse.Namespace, earlier: bool) -> None:
    """InputError unless each of several photos has its poses from networks. earlier: --keypoints is a case."""
    if a.models is None or a.reference_keypoints is not None or (a.keypoints is not None and not earlier):
        raise InputError(
            "several --reference take their own poses from --models: give it, and no keypoints but an earlier case as "
            "--keypoints."
        )


def _given(a: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Those of the flags that are not as by default."""
    usual = parser()
    return [flag_of(name) for name in names if getattr(a, name) != usual.get_default(name)]
