"""Reads driving frames one by one, from a video with PyAV or from a folder in natural order."""

import contextlib
import hashlib
import itertools
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from sa.runtime.case.images import read_image
from sa.runtime.case.numbering import image_files
from sa.runtime.errors import InputError
from sa.runtime.prepare.input.animated import durations, is_animated_webp, pictures
from sa.runtime.prepare.input.containers import open_container
from sa.runtime.prepare.input.timeline import Selection, Timeline, plan_frames, require_times
from sa.runtime.prepare.input.timestamps import read_timestamps
from sa.runtime.prepare.input.tracks import choose_track
from sa.runtime.prepare.input.upright import require_pixels, upright
from sa.runtime.system.regular_files import require_regular


@dataclass(frozen=True)
class Frame:
    index: int  # in the source, from 0
    name: str  # for messages and case.json
    pixels: np.ndarray  # [H, W, 3] uint8 RGB, upright, with square pixels


class Driving(ABC):
    """A source of driving frames. It holds one decoded frame at a time."""

    fps: float | None = None  # of the selected frames; None where the source has no frame rate
    timeline: Timeline | None = None  # when the source's frames are shown; None: it has no times
    stored: tuple[int, int] | None = None  # width and height of its pixels, if these are not square
    audio_from: float | None = None  # seconds into the source's audio at the first selected frame; None: it has none
    selected: Sequence[int] = ()  # numbers of the selected frames in the source, some repeated where it is resampled

    def __init__(self, path: Path, selection: Selection):
        self.path, self.selection = path, selection
        self.decoded = 0  # frames that the last pass decoded, selected or not
        self.warnings: list[str] = []

    def _say(self, warning: str) -> None:
        """Once, however often the frames are read."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    @abstractmethod
    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """The selected frames after the first `skip`; InputError if one cannot be decoded."""

    @abstractmethod
    def digest(self) -> str:
        """The hex SHA-256 of the video file, or of the names and contents of a folder's images."""


def open_driving(path: Path, selection: Selection, fps: float | None = None, keep_rate: bool = False) -> Driving:
    """The frames of a video or folder; InputError if there are none.

    fps: the rate to which a video is resampled, or that of a folder's frames. keep_rate: a video's varying rate stays.
    """
    if path.is_dir():
        return _Folder(path, selection, fps)
    if not path.exists():
        raise InputError(f"{path} does not exist: give --driving a video or a folder of frames.")
    require_regular(path)
    return (_Animation if is_animated_webp(path) else _Video)(path, selection, fps, keep_rate)


class _Folder(Driving):
    def __init__(self, path: Path, selection: Selection, fps: float | None):
        super().__init__(path, selection)
        self.files = natural_order(image_files(path))
        if not self.files:
            raise InputError(f"{path} holds no image: give --driving a folder of frames as PNG, JPEG or the like.")
        for file in self.files:
            require_regular(file)
        require_times(selection, fps)
        count = len(self.files)
        if fps is not None:
            self.fps = fps / selection.step
            self.timeline = Timeline([number / fps for number in range(count)], count / fps)
        first, last = selection.bounds(count, self.timeline.times if self.timeline else None)
        self.selected = range(first, last, selection.step)

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        self.decoded = len(self.files)
        for index in self.selected[skip:]:
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

    def __init__(self, path: Path, selection: Selection, fps: float | None, keep_rate: bool):
        super().__init__(path, selection)
        shown = durations(path)
        self.timeline = Timeline(list(itertools.accumulate(shown[:-1], initial=0.0)), sum(shown))
        self.selected, self.fps = plan_frames(self.timeline, selection, fps, keep_rate)

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        times = Counter(self.selected[skip:])
        self.decoded = 0
        for index, pixels in enumerate(pictures(self.path)):
            self.decoded += 1
            yield from itertools.repeat(Frame(index, f"{self.path.name}#{index}", pixels), times[index])

    def digest(self) -> str:
        return file_digest(self.path)


class _Video(Driving):
    def __init__(self, path: Path, selection: Selection, fps: float | None, keep_rate: bool):
        super().__init__(path, selection)
        self._track: int | None = None  # its number among the video tracks
        with self._opened() as (container, stream):
            self._stamps = read_timestamps(container, stream)
            audible = bool(container.streams.audio)
            if stream.sample_aspect_ratio not in (None, 0, 1):
                self.stored = stream.width, stream.height
        self.timeline = self._stamps.timeline
        self.selected, self.fps = plan_frames(self.timeline, selection, fps, keep_rate)
        if audible and self.fps and self.selected:
            self.audio_from = self._stamps.start + self.timeline.times[self.selected[0]]
        self._say_of_time(resampled=fps is not None, kept=keep_rate)

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        self.decoded = 0
        wanted = iter(self.selected[skip:])
        following = next(wanted, None)
        with self._opened() as (container, stream), self._decoding():
            for decoded in _pictures(container, stream):
                index, self.decoded = self.decoded, self.decoded + 1
                if index == following:
                    require_pixels(decoded.width, decoded.height, stream.sample_aspect_ratio, self.path)
                    frame = Frame(index, f"{self.path.name}#{index}", upright(decoded, stream))
                    while following == index:
                        yield frame
                        following = next(wanted, None)
                if following is None and self.selection.stop is not None:
                    return  # what comes after may be damaged
        if not self.decoded:
            raise InputError(f"{self.path} holds no frame: give --driving a video that plays.")
        if self.decoded < len(self._stamps.timeline.times):
            self._say(
                f"{self.path} has {len(self._stamps.timeline.times)} frames, but {self.decoded} could be decoded: it "
                "may be cut short."
            )

    def digest(self) -> str:
        return file_digest(self.path)

    def _say_of_time(self, resampled: bool, kept: bool) -> None:
        times, path = self.timeline, self.path
        assert times is not None  # a video's
        if times.varies and not resampled:
            how = (
                "its frames are taken one after another, which changes its speed"
                if kept
                else f"its frames are taken at {self.fps:.4g} a second, by their times; choose another rate with --fps"
            )
            self._say(f"{path} has a varying frame rate: {how}.")
        if self._stamps.undecodable:
            self._say(
                f"{path} begins with {self._stamps.undecodable} frames that cannot be decoded, as what they refer to "
                "is missing: frame 0 is the first that can."
            )
        if self._stamps.missing:
            there = len(times.times) + self._stamps.undecodable
            self._say(
                f"{path} should have {there + self._stamps.missing} frames, but {there} are in it: it may be cut short."
            )

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        try:
            container = open_container(str(self.path.absolute()))
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


def _pictures(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The decoded frames. Only the last packet may be damaged: the file is cut short there. FFmpegError elsewhere."""
    stream.thread_type = "SLICE"  # threads by frame tell of damage at another frame, or of none, from call to call
    damage: av.error.FFmpegError | None = None
    for packet in container.demux(stream):
        if damage is not None and packet.size:
            raise damage
        try:
            yield from packet.decode()
        except av.error.FFmpegError as error:
            damage = error


def file_digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def natural_order(files: Iterable[Path]) -> list[Path]:
    """Numbers in names count as numbers: frame_9 comes before frame_10."""

    def key(file: Path) -> list[tuple[int, int, str]]:
        parts = re.split(r"([0-9]+)", file.name)
        return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]

    return sorted(files, key=key)
