"""What is known of the driving frames, on disk. It is appended frame by frame, so that a killed run can resume."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sa.runtime.prepare.motion.scenes import GLANCE
from sa.runtime.prepare.whole_body import KEYPOINTS

HEADER = struct.Struct("<3i")  # width and height of the frame, persons
SMALL = GLANCE[0] * GLANCE[1] * 3  # bytes of a frame's glance
FEATURES = 512  # of a face's embedding
PERSON, FACE = KEYPOINTS * 3 * 8, FEATURES * 4  # bytes


class PoseLog:
    """The keypoints and faces of all persons in every selected frame, a glance at it, and the size all frames share."""

    def __init__(self, path: Path):
        """Open or create the log. A record that a kill cut short is removed."""
        self._file = path.open("a+b")
        self.frames = 0
        self.persons = 0  # in the last frame
        self.size = 0, 0  # width and height; zeros while there is no frame
        self._file.truncate(self._count_records())

    def __enter__(self) -> "PoseLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def append(self, size: tuple[int, int], keypoints: np.ndarray, glance: np.ndarray, faces: np.ndarray) -> None:
        """size: width and height of the frame; keypoints [persons, 133, 3] in its pixels; glance [18, 32, 3] uint8.

        faces: [persons, 512] embeddings, NaN where there is none.
        """
        record = HEADER.pack(*size, len(keypoints)) + glance.tobytes()
        self._file.write(record + keypoints.astype("<f8").tobytes() + faces.astype("<f4").tobytes())
        self._file.flush()
        self.frames, self.size, self.persons = self.frames + 1, size, len(keypoints)

    def __iter__(self) -> Iterator[np.ndarray]:
        """keypoints [persons, 133, 3] of every frame."""
        return (keypoints for keypoints, _ in self.sightings())

    def sightings(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """keypoints [persons, 133, 3] float64 and faces [persons, 512] float32 of every frame."""
        for at, persons in self._records():
            self._file.seek(at + SMALL)
            keypoints = np.frombuffer(self._file.read(persons * PERSON), "<f8").reshape(persons, KEYPOINTS, 3)
            yield keypoints, np.frombuffer(self._file.read(persons * FACE), "<f4").reshape(persons, FEATURES)

    def glances(self) -> Iterator[np.ndarray]:
        """[18, 32, 3] uint8 of every frame."""
        for at, _ in self._records():
            self._file.seek(at)
            yield np.frombuffer(self._file.read(SMALL), np.uint8).reshape(GLANCE[1], GLANCE[0], 3)

    def _records(self) -> Iterator[tuple[int, int]]:
        """Where each record's contents begin, and how many persons it has."""
        at = 0
        for _ in range(self.frames):
            self._file.seek(at)
            persons = HEADER.unpack(self._file.read(HEADER.size))[-1]
            yield at + HEADER.size, persons
            at += HEADER.size + SMALL + persons * (PERSON + FACE)

    def _count_records(self) -> int:
        """Count the complete records; returns the offset where they end."""
        size = self._file.seek(0, os.SEEK_END)
        whole = 0
        while whole + HEADER.size <= size:
            self._file.seek(whole)
            width, height, persons = HEADER.unpack(self._file.read(HEADER.size))
            end = whole + HEADER.size + SMALL + persons * (PERSON + FACE)
            if end > size:
                break
            whole = end
            self.frames, self.size, self.persons = self.frames + 1, (width, height), persons
        return whole
