"""Where a checkpoint's files lie: as published, or as downloads, training scripts and other libraries leave them.

The published places come first. Elsewhere a file is taken if it is the only one; several are named and refused.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from sa.export.checkpoint.tensor_files import SUFFIXES
from sa.runtime.errors import InputError
from sa.runtime.system.regular_files import require_regular

Part = Literal["unet", "pose_net", "face_encoder", "vae", "image_encoder", "arcface"]

ANIMATION = "Animation"
# The folders where Stable Video Diffusion's files may be: as published, or as downloads leave them.
SVD_FOLDERS = ("SVD", "stable-video-diffusion-img2vid-xt", "SVD/stable-video-diffusion-img2vid-xt")
SVD_PARTS = ("vae", "image_encoder", "unet", "scheduler", "feature_extractor")
# The names of weight files without their endings, the preferred ones first.
DIFFUSERS = ("diffusion_pytorch_model", "diffusion_paddle_model", "model_state")
SVD_STEMS = {"vae": DIFFUSERS, "image_encoder": ("model", "pytorch_model", "model_state")}
STEMS = {"unet": "unet", "pose_net": "pose_net", "face_encoder": "face_encoder", "arcface": "glintr100_torch"}
ORDER = (".safetensors", ".bin", ".pth", ".pt", ".pdparams")

VARIANTS = (".fp32", ".fp16", ".bf16")  # the preferred ones first; no variant is full precision

_VARIANT = r"(?:\.(?:fp16|bf16|fp32))"
_FILE = re.compile(
    rf"(?P<stem>.+?)(?P<step>[-_](?:step[-_]?)?[0-9]+)?(?P<variant>{_VARIANT})?"
    rf"(?P<suffix>\.(?:safetensors|bin|pth|pt|pdparams))(?P<index>{_VARIANT}?\.index{_VARIANT}?\.json)?"
)
_FOLDER = re.compile(r"(?P<stem>.+?)(?P<step>[-_](?:step[-_]?)?[0-9]+)?")
_LEVELS = 5  # of folders below the given one: models--X/snapshots/Y/Animation/unet in a cache of huggingface_hub
_MAX_ENTRIES = 20_000


@dataclass(frozen=True)
class _Candidate:
    path: Path
    step: str  # of training, such as "-10000"; "" if the name has none
    rank: tuple[int, ...]


class Places:
    """The files of the checkpoint in `folder`. InputError if there is no Stable Video Diffusion or more than one.

    svd: with unet, vae and so on; root: the folder that everything lies in. It is the parent of `folder` if that is
    SVD/ or Animation/ itself.
    """

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: give --checkpoint the folder with SVD/ and Animation/.")
        self._folder = self.root = folder
        self._animation = folder / ANIMATION
        self.notes: list[str] = []
        if (known := _known_svd(folder)) is not None:
            self.svd = known
            return
        self.svd = self._find_svd()
        self.notes.append(f"Stable Video Diffusion was found in {self.svd}")

    def _find_svd(self) -> Path:
        folder, absolute = self._folder, Path(os.path.abspath(self._folder))
        if _is_svd(folder):
            if self._animation.is_dir():
                return folder
            self._folder, self.root, self._animation = absolute, absolute.parent, absolute.parent / ANIMATION
            return absolute
        found = [place for place in self._below if _is_svd(place)]
        if len(found) > 1:
            raise InputError(
                f"{folder} holds several folders of Stable Video Diffusion, {_listed(folder, found)}: "
                "rename the one that belongs here to SVD."
            )
        if found:
            return found[0]
        if (beside := _known_svd(absolute.parent)) is not None and any(_own_weights(folder)):
            self._folder, self.root, self._animation = absolute, absolute.parent, absolute
            self.__dict__.pop("_below", None)  # its paths may be relative
            return beside
        if (damaged := next((folder / name for name in SVD_FOLDERS if (folder / name).is_dir()), None)) is not None:
            return damaged  # what it lacks is named when it is read
        raise InputError(
            f"{folder} holds no Stable Video Diffusion: expected its folders feature_extractor, image_encoder, "
            "scheduler, unet and vae in SVD/, or where a download of stable-video-diffusion-img2vid-xt leaves them."
        )

    def weights(self, part: Part) -> Path:
        """The file of a part's weights, or its index. InputError if there is none, or more than one."""
        folder, candidates = self._published(part)
        if not candidates and part in STEMS:
            folder, candidates = self._elsewhere(part) or (folder, [])
            self.notes += [f"the {part} weights were found in {folder}"] if candidates else []
        # Training steps have no order of preference.
        plain = [candidate for candidate in candidates if not candidate.step] or candidates
        if len({candidate.step for candidate in plain}) > 1:
            raise InputError(
                f"{folder} holds the {part} weights of several training steps, "
                f"{_listed(folder, [candidate.path for candidate in plain])}: leave one of them there."
            )
        if not plain:
            raise self._missing(part, folder)
        return min(plain, key=lambda candidate: candidate.rank).path

    def every(self, part: Part) -> list[Path]:
        """All files that could be the part's weights."""
        candidates = [*self._published(part)[1], *(one for _, found in self._places(part) for one in found)]
        return [candidate.path for candidate in candidates]

    def _published(self, part: Part) -> tuple[Path, list[_Candidate]]:
        if part in STEMS:
            return self._animation, list(_candidates(self._animation, STEMS[part]))
        folder = self.svd / part
        return folder, list(_files(folder, SVD_STEMS[part]))

    def _places(self, part: Part) -> list[tuple[Path, list[_Candidate]]]:
        """The other folders that hold a part of StableAnimator's own."""
        places = [place for place in (self._folder, *self._below) if place != self._animation]
        found = [(place, files) for place in places if (files := list(_candidates(place, STEMS[part])))]
        # Stable Video Diffusion's own UNet is not StableAnimator's, and is named only if there is no other.
        return [(place, files) for place, files in found if place == self._folder or not _is_svd(place)] or found

    def _elsewhere(self, part: Part) -> tuple[Path, list[_Candidate]] | None:
        places = self._places(part)
        if len(places) > 1 and places[0][0] != self._folder:
            files = [found[0].path for _, found in places]
            raise InputError(
                f"{self._folder} holds several files of the {part} weights, {_listed(self._folder, files)}: "
                f"put the one that belongs here into {ANIMATION}/."
            )
        return places[0] if places else None

    @cached_property
    def _below(self) -> list[Path]:
        """Folders below the given one, the nearest first, without the parts of Stable Video Diffusion."""
        level, found, entries = [self._folder], [], 0
        seen = {os.path.realpath(self._folder)}
        for _ in range(_LEVELS):
            inner = []
            for place in level:
                within = SVD_PARTS if _is_svd(place) else ()
                for entry in _entries(place):
                    entries += 1
                    if entries > _MAX_ENTRIES:
                        raise InputError(
                            f"{self._folder} holds more than {_MAX_ENTRIES:,} files and folders: give --checkpoint a "
                            "folder with SVD/ and Animation/ alone."
                        )
                    if not entry.is_dir() or entry.name.startswith(".") or entry.name in within:
                        continue
                    if (real := os.path.realpath(entry)) not in seen:  # a link may lead back
                        seen.add(real)
                        inner.append(entry)
            found += inner
            level = inner
        return found

    def _missing(self, part: Part, folder: Path) -> InputError:
        stems = (STEMS[part],) if part in STEMS else SVD_STEMS[part]
        there = [entry for entry in _entries(folder) if entry.suffix.lower() in SUFFIXES]
        found = _listed(folder, there) if there else "no weight file"
        return InputError(
            f"{folder / stems[0]}.safetensors is missing: expected the {part} weights there, named "
            f"{' or '.join(stems)} and ending in {', '.join(SUFFIXES)}, and found {found}."
        )


def _known_svd(folder: Path) -> Path | None:
    return next((folder / name for name in SVD_FOLDERS if (folder / name / "unet" / "config.json").is_file()), None)


def _is_svd(folder: Path) -> bool:
    return (folder / "vae").is_dir() and (folder / "image_encoder").is_dir()


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # none, or not readable: what is needed there is missing
        return []


def _own_weights(folder: Path) -> Iterator[_Candidate]:
    for stem in STEMS.values():
        yield from _candidates(folder, stem)


def _candidates(folder: Path, stem: str) -> Iterator[_Candidate]:
    """The weight files in `folder` of StableAnimator's part `stem`, and those in a folder of that name there."""
    yield from _files(folder, (stem,))
    for path in _entries(folder):
        match = _FOLDER.fullmatch(path.name)
        if match is not None and match["stem"] == stem and path.is_dir():
            for inner in _files(path, DIFFUSERS):
                yield _Candidate(inner.path, match["step"] or "", (1, *inner.rank))


def _files(folder: Path, stems: tuple[str, ...]) -> Iterator[_Candidate]:
    """The weight files in `folder` with one of these names."""
    for path in _entries(folder):
        match = _FILE.fullmatch(path.name)
        if match is not None and match["stem"] in stems:
            require_regular(path)
            if path.is_file():
                yield _Candidate(path, match["step"] or "", _rank(match, stems))


def _rank(match: re.Match, stems: tuple[str, ...]) -> tuple[int, ...]:
    """Less is better: full precision, the preferred name and ending, one file rather than several."""
    index = match["index"] or ""
    variants = [*filter(None, [match["variant"]]), *re.findall(_VARIANT, index), ".fp32"]
    return (
        0,
        VARIANTS.index(variants[0]),
        stems.index(match["stem"]),
        ORDER.index(match["suffix"]),
        int(bool(index)),
    )


def _listed(folder: Path, paths: list[Path]) -> str:
    names = [str(path.relative_to(folder)) for path in paths]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
