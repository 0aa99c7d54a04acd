"""Reads driving frames one by one, from a video with PyAV or from a folder in natural order."""

import contextlib
import hashlib
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from sa.runtime.case.images import read_image
from sa.runtime.case.numbering import image_files
from sa.runtime.errors import InputError
from sa.runtime.prepare.input.animated import durations, is_animated_webp, pictures
from sa.runtime.prepare.input.tracks import choose_track
from sa.runtime.prepare.input.upright import upright
from sa.runtime.system.regular_files import require_regular


@dataclass(frozen=True)
class Selection:
    """The selected frames of the source: range(start, stop, step)."""

    start: int = 0
    stop: int | None = None
    step: int = 1

    def __str__(self) -> str:
        return f"{self.start}:{'' if self.stop is None else self.stop}:{self.step}"

    def indices(self) -> Iterator[int]:
        numbers = itertools.count(self.start, self.step)
        return itertools.takewhile(lambda index: self.stop is None or index < self.stop, numbers)

    def count_of(self, frames: int) -> int:
        """How many of the first `frames` frames of a source are selected."""
        return len(range(frames)[self.start : self.stop : self.step])


@dataclass(frozen=True)
class Frame:
    index: int  # in the source, from 0
    name: str  # for messages and case.json
    pixels: np.ndarray  # [H, W, 3] uint8 RGB, upright, with square pixels


class Driving(ABC):
    """A source of driving frames. It holds one decoded frame at a time."""

    fps: float | None = None  # of the selected frames; None where the source has no frame rate
    expected: int | None = None  # number of selected frames, if the source tells it before decoding
    stored: tuple[int, int] | None = None  # width and height of its pixels, if these are not square
    audio_from: float | None = None  # seconds into the source's audio at the first selected frame; None: it has none

    def __init__(self, path: Path, selection: Selection):
        self.path, self.selection = path, selection
        self.decoded = 0  # frames that the last pass decoded, selected or not
        self.warnings: list[str] = []

    @abstractmethod
    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """The selected frames after the first `skip`; InputError if one cannot be decoded."""

    @abstractmethod
    def digest(self) -> str:
        """The hex SHA-256 of the video file, or of the names and contents of a folder's images."""


def open_driving(path: Path, selection: Selection) -> Driving:
    """The frames of a video or folder; InputError if there are none."""
    if path.is_dir():
        return _Folder(path, selection)
    if not path.exists():
        raise InputError(f"{path} does not exist: give --driving a video or a folder of frames.")
    require_regular(path)
    return (_Animation if is_animated_webp(path) else _Video)(path, selection)


class _Folder(Driving):
    def __init__(self, path: Path, selection: Selection):
        super().__init__(path, selection)
        self.files = natural_order(image_files(path))
        if not self.files:
            raise InputError(f"{path} holds no image: give --driving a folder of frames as PNG, JPEG or the like.")
        for file in self.files:
            require_regular(file)
        self.expected = selection.count_of(len(self.files))

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        self.decoded = len(self.files)
        for index in range(len(self.files))[self.selection.start : self.selection.stop : self.selection.step][skip:]:
            file = self.files[index]
            yield Frame(index, file.name, np.asarray(read_image(file)))

    def digest(self) -> str:
        whole = hashlib.sha256()
        for file in self.files:
            with file.open("rb") as content:
                whole.update(f"{file.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
        return whole.hexdigest()


class _Animation(Driving):
    """An animated WebP."""

    def __init__(self, path: Path, selection: Selection):
        super().__init__(path, selection)
        shown = durations(path)
        self.fps = len(shown) / sum(shown) / selection.step
        self.expected = selection.count_of(len(shown))

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        wanted = set(itertools.islice(self.selection.indices(), skip, self.expected))
        self.decoded = 0
        for index, pixels in enumerate(pictures(self.path)):
            self.decoded += 1
            if index in wanted:
                yield Frame(index, f"{self.path.name}#{index}", pixels)

    def digest(self) -> str:
        return file_digest(self.path)


class _Video(Driving):
    def __init__(self, path: Path, selection: Selection):
        super().__init__(path, selection)
        self._track: int | None = None  # its number among the video tracks
        with self._opened() as (container, stream):
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) / selection.step if rate else None
            promised = stream.frames or (
                float(stream.duration * stream.time_base * rate) if stream.duration and stream.time_base and rate else 0
            )
            self.expected = selection.count_of(round(promised)) or None
            self._promised = stream.frames
            if stream.sample_aspect_ratio not in (None, 0, 1):
                self.stored = stream.width, stream.height
            if container.streams.audio and rate:
                first = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
                self.audio_from = first + selection.start / float(rate)

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        self.decoded = 0
        wanted = itertools.islice(self.selection.indices(), skip, None)
        following = next(wanted, None)
        with self._opened() as (container, stream), self._decoding():
            stream.thread_type = "AUTO"
            for decoded in container.decode(stream):
                if following is None:
                    return
                index, self.decoded = self.decoded, self.decoded + 1
                if index == following:
                    yield Frame(index, f"{self.path.name}#{index}", upright(decoded, stream))
                    following = next(wanted, None)
        if not self.decoded:
            raise InputError(f"{self.path} holds no frame: give --driving a video that plays.")
        if self.decoded < self._promised:
            said = f"{self.path} should have {self._promised} frames, but {self.decoded} could be decoded: "
            if not any(warning.startswith(said) for warning in self.warnings):  # by an earlier pass
                self.warnings.append(f"{said}it may be cut short.")

    def digest(self) -> str:
        return file_digest(self.path)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        try:
            container = av.open(str(self.path.absolute()))  # absolute, because a name may look like a URL
        except OSError as error:
            raise InputError(f"{self.path} cannot be read ({error.strerror}): give --driving a video.") from None
        except av.error.FFmpegError:
            raise InputError(
                f"{self.path} is not a video that can be read: give --driving a video or a folder of frames."
            ) from None
        with container:
            if self._track is None:
                self._track = choose_track(container, self.path, self.warnings)
            yield container, container.streams.video[self._track]

    @contextlib.contextmanager
    def _decoding(self) -> Iterator[None]:
        try:
            yield
        except av.error.FFmpegError:
            remedy = f"give a whole file, or --frames 0:{self.decoded}" if self.decoded else "give a whole file"
            raise InputError(f"{self.path} is damaged after {self.decoded} frames: {remedy}.") from None


def file_digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def natural_order(files: Iterable[Path]) -> list[Path]:
    """Numbers in names count as numbers: frame_9 comes before frame_10."""

    def key(file: Path) -> list[tuple[int, int, str]]:
        parts = re.split(r"([0-9]+)", file.name)
        return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part]

    return sorted(files, key=key)
