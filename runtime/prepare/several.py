"""Several photos on one driving source: a case each, the driving poses estimated once."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sa.runtime.case.case import CASE_FILE
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError
from sa.runtime.prepare.estimate.face_networks import find_face_models
from sa.runtime.prepare.estimate.models import find_pose_models
from sa.runtime.prepare.input.driving import open_driving
from sa.runtime.prepare.input.keypoints.kept import FILE as KEYPOINTS_FILE
from sa.runtime.prepare.preparation import prepare_case
from sa.runtime.prepare.settings import Settings, parameters_of
from sa.runtime.system.hashing import sha256


def prepare_cases(cases: list[Settings], out: Path, overwrite: bool, reporter: Reporter) -> Iterator[tuple[Path, dict]]:
    """Make cases that differ in the photo, each in a folder of `out` with its name; the folders, and their case.json.

    The first case's poses of the driving source are taken for the others. A case that an earlier command has made is
    kept. InputError for photos of one name, and without `overwrite` for a case that was made of something else.
    """
    folders: dict[Path, Settings] = {}
    for settings in cases:
        folder = out / settings.reference.stem
        if folder in folders:
            raise InputError(
                f"{folders[folder].reference} and {settings.reference} would both become {folder}: give --reference "
                "photos of different names, or one at a time."
            )
        folders[folder] = settings
    made: dict[Path, dict] = {}
    if not overwrite and (found := {folder: case for folder in folders if (case := _read(folder)) is not None}):
        shared = _Shared.of(cases[0])
        for folder, case in found.items():
            if (other := shared.differs(case, folder, folders[folder])) is not None:
                raise InputError(
                    f"{folder} is a case that was made with {other}: give --overwrite to make all anew, or another "
                    "--out."
                )
            made[folder] = case
    first = cases[0].keypoints
    for folder, settings in folders.items():
        chosen = replace(settings, keypoints=first)
        yield folder, made[folder] if folder in made else prepare_case(chosen, folder, overwrite, reporter)
        first = first or folder


def _kept_poses(folder: Path) -> set[str]:
    """SHA-256 of the poses that the cases in `folder` keep."""
    return {sha256(path) for path in folder.glob(f"*/{KEYPOINTS_FILE}")}


def _read(folder: Path) -> dict | None:
    """case.json of what may be an earlier case."""
    try:
        case = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return case if isinstance(case, dict) else None


@dataclass(frozen=True)
class _Shared:
    """SHA-256 of what all cases are made of."""

    driving: str
    given: str | None  # the driving poses that the user gave; None: they are estimated, or those of another folder
    pose_networks: frozenset[str]
    face_networks: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> "_Shared":
        """InputError for what cannot be read."""
        assert settings.models is not None  # several photos have no other poses of their own
        return cls(
            open_driving(settings.driving, settings.frames, settings.fps).digest(),
            None if settings.keypoints is None else sha256(settings.keypoints / KEYPOINTS_FILE),
            frozenset(sha256(model.path) for model in find_pose_models(settings.models)),
            frozenset(
                sha256(model.path)
                for model in find_face_models(settings.models, settings.upstream, settings.identity)
                if model is not None
            ),
        )

    def differs(self, case: dict, folder: Path, settings: Settings) -> str | None:
        """In what the case of case.json in `folder` differs from one that these settings make; None: in nothing."""
        try:
            sources = case["sources"]
            poses, networks = sources.get("keypoints"), {model["sha256"] for model in sources.get("models", ())}
            if sources["reference"]["sha256"] != sha256(settings.reference):
                return "another photo"
            if sources["driving"]["sha256"] != self.driving:
                return "another --driving"
            if self.given is not None and (poses is None or poses["sha256"] != self.given):
                return "other --keypoints"
            if self.given is None and poses is not None and poses["sha256"] not in _kept_poses(folder.parent):
                return "other --keypoints"
            if case["parameters"] != parameters_of(settings):
                return "other flags"
            # The same photo twice has its pose from the first case, and needs no pose networks.
            if networks not in (self.face_networks, self.face_networks | self.pose_networks):
                return "other --models"
            return None
        except (KeyError, TypeError, AttributeError):
            return "other sources"
