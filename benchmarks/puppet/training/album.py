"""Drawn clips on disk: what the diffusion stage learns from, before anything is encoded.

Worker processes draw ahead of training, in parts. A part that is finished has a mark beside the arrays, so drawing can
be ended at any moment and goes on at the first part without one. A part's pixels depend on its number alone.
"""

import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sa.benchmarks.puppet.draw.clips import SIZE, Split, clip, generator
from sa.benchmarks.puppet.training.machine import Machine
from sa.runtime.case.images import pose_pixels
from sa.runtime.errors import InputError

REFERENCES, VIDEO = 3, 8  # frames of a clip: some at random times, then some that follow each other
FRAMES = REFERENCES + VIDEO
MOMENTS = 200  # times a clip's frames are drawn at
POLL = 0.2  # seconds
COMPARED = 8  # clips that are drawn again, to see whether an album is today's

_FIELDS = {
    "pictures": ((SIZE, SIZE, 3), np.uint8),
    "poses": ((SIZE, SIZE, 3), np.uint8),
    "boxes": ((4,), np.int16),
    "hands": ((2, 4), np.int16),
}


@dataclass(frozen=True)
class Album:
    """The first `clips` clips of a split in `folder`. Files are as large as what was drawn, whatever their length."""

    folder: Path
    split: Split
    clips: int
    first: int = 0  # number of the first puppet
    part: int = 20  # clips in a part

    @property
    def parts(self) -> int:
        return -(-self.clips // self.part)

    def arrays(self) -> dict[str, np.ndarray]:
        """By name: pictures and poses [n, FRAMES, 128, 128, 3] uint8, boxes of faces [n, FRAMES, 4] and of hands
        [n, FRAMES, 2, 4] int16.

        The files of an album that was made longer have more than its clips. InputError if one that was drawn lacks a
        file.
        """
        lacking = [name for name in _FIELDS if not (self.folder / f"{name}.npy").exists()]
        if lacking and any(self.folder.glob("part-*.drawn")):
            raise InputError(
                f"{self.folder} has no {lacking[0]}.npy: expected one, as sa-bench puppet-train draws it today; remove "
                "the folder, so that it is drawn again."
            )
        shapes = {name: (self.parts * self.part, FRAMES, *shape) for name, (shape, _) in _FIELDS.items()}
        return {name: mapped(self.folder / f"{name}.npy", shapes[name], _FIELDS[name][1]) for name in _FIELDS}

    def drawn(self, part: int) -> bool:
        return self._mark(part).exists()

    def draw(self, part: int) -> None:
        """Draw one part, unless it is drawn."""
        if self.drawn(part):
            return
        arrays = self.arrays()
        for index in range(part * self.part, (part + 1) * self.part):
            _draw({name: array[index] for name, array in arrays.items()}, self.split, self.first + index)
        for array in arrays.values():
            array.flush()
        self._mark(part).touch()

    def require_todays(self) -> None:
        """InputError if what is drawn is not as it would be today, by the first clips of some parts."""
        parts = [part for part in range(self.parts) if self.drawn(part)]
        arrays = self.arrays()
        for part in parts[:: max(1, len(parts) // COMPARED)]:
            index = part * self.part
            kept = {name: array[index] for name, array in arrays.items()}
            today = {name: np.empty_like(array) for name, array in kept.items()}
            _draw(today, self.split, self.first + index)
            if any(not np.array_equal(today[name], kept[name]) for name in kept):
                raise InputError(
                    f"{self.folder} holds other drawings: expected {self.split} clips from {self.first} on, as today's "
                    "sa-bench puppet-train and Pillow draw them; remove it and the folders of stages that are not "
                    "published, so that both begin anew."
                )

    def _mark(self, part: int) -> Path:
        return self.folder / f"part-{part:05}.drawn"


class Drawing:
    """Processes that draw an album's parts in order, while the block runs. Without any, `wait` draws them itself."""

    def __init__(self, album: Album, workers: int):
        self.album = album
        album.arrays()  # so that the workers need not agree on who makes the files
        album.require_todays()
        start = multiprocessing.get_context("spawn").Process
        self._processes = [start(target=_work, args=(album, i, workers), daemon=True) for i in range(workers)]

    def __enter__(self) -> "Drawing":
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def wait(self, machine: Machine) -> None:
        """Until all parts are drawn; InputError if a worker ended before, OutOfTime if the machine's time does."""
        for part in range(self.album.parts):
            machine.require_time()
            if not self._processes:
                self.album.draw(part)
            while not self.album.drawn(part):
                if any(process.exitcode for process in self._processes):
                    raise InputError(f"a worker that draws {self.album.folder} has ended; start again, it goes on.")
                machine.require_time()
                time.sleep(POLL)


def mapped(path: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """The array in `path`, which may have more rows. It is made if it is missing; InputError if it does not fit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        np.lib.format.open_memmap(partial, "w+", dtype, shape)
        os.replace(partial, path)
    array = np.lib.format.open_memmap(path, "r+")
    if array.shape[1:] != shape[1:] or len(array) < shape[0]:
        raise InputError(
            f"{path} has the shape {array.shape}, expected {shape}: ask for fewer clips, or remove its folder."
        )
    return array


def _work(album: Album, worker: int, workers: int) -> None:
    for part in range(worker, album.parts, workers):
        album.draw(part)


def _draw(row: dict[str, np.ndarray], split: Split, number: int) -> None:
    one, rng = clip(split, number), generator(split, number, 2)
    apart = rng.integers(0, MOMENTS, REFERENCES).tolist()
    start = int(rng.integers(MOMENTS))
    for i, moment in enumerate([*apart, *range(start, start + VIDEO)]):
        row["pictures"][i] = one.picture(moment)
        row["poses"][i] = np.rint((pose_pixels(one.pose(moment), SIZE, SIZE)[0].transpose(1, 2, 0) + 1) * 127.5)
        row["boxes"][i] = one.face_box(moment)
        row["hands"][i] = one.hand_boxes(moment)
