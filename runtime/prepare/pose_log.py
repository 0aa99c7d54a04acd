"""The driving poses on disk. They are appended frame by frame, so that a killed run can resume."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sa.runtime.prepare.whole_body import KEYPOINTS

HEADER = struct.Struct("<3i")  # width and height of the frame, persons
PERSON = KEYPOINTS * 3 * 8  # bytes


class PoseLog:
    """The keypoints of all persons in every selected frame, and the size that all frames share."""

    def __init__(self, path: Path):
        """Open or create the log. A record that a kill cut short is removed."""
        self._file = path.open("a+b")
        self.frames = 0
        self.size = 0, 0  # width and height; zeros while there is no frame
        self._file.truncate(self._count_records())

    def __enter__(self) -> "PoseLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def append(self, size: tuple[int, int], keypoints: np.ndarray) -> None:
        """size: width and height of the frame; keypoints [persons, 133, 3] in its pixels."""
        self._file.write(HEADER.pack(*size, len(keypoints)) + keypoints.astype("<f8").tobytes())
        self._file.flush()
        self.frames, self.size = self.frames + 1, size

    def __iter__(self) -> Iterator[np.ndarray]:
        """keypoints [persons, 133, 3] of every frame."""
        self._file.seek(0)
        for _ in range(self.frames):
            persons = HEADER.unpack(self._file.read(HEADER.size))[-1]
            yield np.frombuffer(self._file.read(persons * PERSON), "<f8").reshape(persons, KEYPOINTS, 3)

    def _count_records(self) -> int:
        """Count the complete records; returns the offset where they end."""
        size = self._file.seek(0, os.SEEK_END)
        whole = 0
        while whole + HEADER.size <= size:
            self._file.seek(whole)
            width, height, persons = HEADER.unpack(self._file.read(HEADER.size))
            if whole + HEADER.size + persons * PERSON > size:
                break
            whole += HEADER.size + persons * PERSON
            self.frames, self.size = self.frames + 1, (width, height)
        return whole
