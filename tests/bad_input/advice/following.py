"""What messages advise, one row each. A test provokes the message, does what it says, and sees that this helps."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prepare_data import face_detector, face_recogniser, golden_file, person, picture_file, pose_networks
from spoiling import Spoil

from sa.runtime.case.case import Case, open_pose
from sa.runtime.prepare.cli import main

FRAMES = 2
FACE = np.array([[300.0, 200], [340, 200], [320, 220], [305, 245], [335, 245]])
# By name: its value, several, "" for a switch, None to leave it out. {place} is the folder of the row.
Flags = dict[str, str | tuple[str, ...] | None]
NETWORKS: Flags = {"--keypoints": None, "--models": "{place}/models"}
BASE: Flags = {
    "--reference": "{place}/photo.png",
    "--driving": "{place}/frames",
    "--out": "{place}/out",
    "--size": "64x64",
    "--keypoints": "{place}/poses.npz",
}


@dataclass(frozen=True)
class Cure:
    """One of the things that a message advises."""

    do: Spoil = lambda place: None
    flags: Flags = field(default_factory=dict)


@dataclass(frozen=True)
class Advice:
    """A message, how it comes about, and all that it advises."""

    said: str  # a part of the message that has the advice; {place} stays as it is in the sources
    cures: tuple[Cure, ...]
    spoil: Spoil = lambda place: None
    flags: Flags = field(default_factory=dict)
    patch: tuple[object, str, object] | None = None  # an attribute of a module, for limits that are large


def each_cure(table: list[Advice]) -> pytest.MarkDecorator:
    pairs = [(advice, cure) for advice in table for cure in advice.cures]
    names = [f"{advice.said[:50]}-{advice.cures.index(cure)}" for advice, cure in pairs]
    return pytest.mark.parametrize(("advice", "cure"), pairs, ids=names)


def check(
    advice: Advice, cure: Cure, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """sa-prepare says it, as an error or a warning. Once the advice is followed, there is a case, and it is silent.

    sa-run can read the case, and its poses show somebody.
    """
    if advice.patch is not None:
        monkeypatch.setattr(*advice.patch)
    advice.spoil(place)
    flags = BASE | advice.flags
    code, said = prepare(flags, place, capsys)
    assert advice.said in said and code in (0, 1, 2)
    cure.do(place)
    flags |= cure.flags if code else {"--overwrite": "", **cure.flags}
    code, said = prepare(flags, place, capsys)
    assert code == 0, said
    assert advice.said not in said
    for folder in made_in(flags, place):
        poses = [np.asarray(open_pose(pose)) for pose in Case.read(folder).poses]
        assert any(pose.any() for pose in poses) and len({pose.shape for pose in poses}) == 1


def prepare(flags: Flags, place: Path, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    """The exit code, and all that is said: the error, or the warnings of the cases that are made."""
    words = [word for flag, value in flags.items() for word in worded(flag, value, place)]
    capsys.readouterr()
    code = main([*words, "--quiet"])
    said = [capsys.readouterr().err]
    for case in made_in(flags, place) if code == 0 else ():
        said += json.loads((case / "case.json").read_text())["warnings"]
    return code, "\n".join(said).replace(str(place), "{place}")


def worded(flag: str, value: str | tuple[str, ...] | None, place: Path) -> list[str]:
    """The flag on a command line."""
    values = value if isinstance(value, tuple) else () if value is None else (value,)
    return [word for one in values for word in ((flag, one.format(place=place)) if one else (flag,))]


def made_in(flags: Flags, place: Path) -> list[Path]:
    """The case of --out, or the cases in it."""
    out = Path(str(flags["--out"]).format(place=place))
    return [file.parent for file in (*out.glob("case.json"), *out.glob("*/case.json"))]


# -- good and bad files ----------------------------------------------------------------------------------------


def photo(place: Path) -> None:
    picture_file(place / "photo.png", 128, 128)


def frames(place: Path) -> None:
    for number in range(FRAMES):
        picture_file(place / "frames" / f"f{number}.png", 128, 128, seed=number)


def keypoints(
    driving: list[np.ndarray] | np.ndarray | None = None, reference: np.ndarray | None = None, **further: object
) -> Spoil:
    """poses.npz; driving: one person in each frame, or [frames, persons, 133, 3]; reference: [persons, 133, 3]."""

    def spoil(place: Path) -> None:
        given = [person(0.25)] * FRAMES if driving is None else driving
        driven = np.stack(given)[:, None] if isinstance(given, list) else given
        standing = person(0.25)[None] if reference is None else reference
        np.savez(place / "poses.npz", driving=driven, reference=standing, **further)

    return spoil


def networks(place: Path, face: bool = True) -> None:
    """Networks that always see the same person, whose picture is the photo and the frames."""
    arrays = golden_file("chain")
    for name in ("photo.png", "frames/f0.png", "frames/f1.png"):
        Image.fromarray(arrays["image"]).save(place / name)
    models = pose_networks(place / "models", arrays)
    face_recogniser(models)
    face_detector(models, FACE if face else None)


def without(*names: str) -> Spoil:
    """Networks, but for these of models/."""

    def spoil(place: Path) -> None:
        networks(place)
        for name in names:
            (place / "models" / name).unlink()

    return spoil


def hidden(points: np.ndarray, which: slice | list[int]) -> np.ndarray:
    """A copy of keypoints [..., 133, 3] in which these are not seen."""
    points = points.copy()
    points[..., which, 2] = 0.1
    return points


def earlier(name: str, **flags: str) -> Spoil:
    """A case of the place's files in the folder `name`."""

    def make(place: Path) -> None:
        given = BASE | {"--out": f"{place}/{name}", "--overwrite": "", **{f"--{of}": on for of, on in flags.items()}}
        words = [word for flag, value in given.items() for word in (flag, str(value).format(place=place)) if word]
        assert main([*words, "--quiet"]) == 0

    return make
