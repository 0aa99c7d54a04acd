"""The driving poses on disk, appended frame by frame, so that a killed run goes on where it was."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sa.runtime.prepare.whole_body import KEYPOINTS

HEADER = struct.Struct("<4i")  # index in the source, width, height, persons
PERSON = KEYPOINTS * 3 * 8  # bytes


class PoseLog:
    """Per selected frame: where it lies in the source, its size, and the persons' keypoints."""

    def __init__(self, path: Path):
        """Opens what is there; a record that a kill cut short is taken off."""
        self._file = path.open("a+b")
        self.frames = 0
        whole = 0
        for end in self._ends():
            self.frames, whole = self.frames + 1, end
        self._file.truncate(whole)

    def __enter__(self) -> "PoseLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def append(self, index: int, size: tuple[int, int], keypoints: np.ndarray) -> None:
        """size: width and height of the frame; keypoints [persons, 133, 3] in its pixels."""
        self._file.write(HEADER.pack(index, *size, len(keypoints)) + keypoints.astype("<f8").tobytes())
        self._file.flush()
        self.frames += 1

    def __iter__(self) -> Iterator[tuple[int, tuple[int, int], np.ndarray]]:
        """(index in the source, (width, height), keypoints [persons, 133, 3]) of every frame."""
        self._file.seek(0)
        for _ in range(self.frames):
            index, width, height, persons = HEADER.unpack(self._file.read(HEADER.size))
            keypoints = np.frombuffer(self._file.read(persons * PERSON), "<f8").reshape(persons, KEYPOINTS, 3)
            yield index, (width, height), keypoints

    def _ends(self) -> Iterator[int]:
        """Where each whole record ends."""
        size = self._file.seek(0, 2)
        place = 0
        while place + HEADER.size <= size:
            self._file.seek(place)
            persons = HEADER.unpack(self._file.read(HEADER.size))[3]
            place += HEADER.size + persons * PERSON
            if place <= size:
                yield place
