"""Where each tensor of a checkpoint by recipe lies in the weight files of an engine set."""

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from sa.export.checkpoint.checkpoint import Part
from sa.runtime.contract import BareName, Manifest, Record, Size

CONTENTS = "pack.json"  # the pack's table of contents, a `Pack`
Tensor = tuple[Part, str, tuple[int, ...]]  # what the recipe draws a tensor from: part, name, shape in PyTorch's layout
LARGEST = 1 << 28  # numbers of one tensor; the largest of StableAnimator's has 2**25


class Piece(Record):
    """A tensor, or a slice of it along its last axis, as it is stored."""

    tensor: Annotated[str, Field(min_length=1, max_length=300)]
    shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=8)]  # of the whole tensor, in PyTorch's layout
    transposed: bool  # stored as [in, out]
    start: Annotated[int, Field(ge=0)]  # of the last axis as stored
    stop: Annotated[int, Field(ge=1)]
    offset: Annotated[int, Field(ge=0)]  # in the file
    dtype: Literal["<f4", "<f2"]

    @model_validator(mode="after")
    def _fits_its_tensor(self) -> "Piece":
        if math.prod(self.shape) > LARGEST:
            raise ValueError(f"{self.tensor} has more than {LARGEST} numbers")
        if self.transposed and len(self.shape) != 2:
            raise ValueError(f"{self.tensor} is transposed and no matrix")
        if not self.start < self.stop <= self.stored_shape[-1]:
            raise ValueError(f"{self.tensor} has no columns {self.start} to {self.stop}")
        return self

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Of the whole tensor."""
        return self.shape[::-1] if self.transposed else self.shape

    @property
    def bytes(self) -> int:
        count = math.prod(self.stored_shape[:-1]) * (self.stop - self.start)
        return np.dtype(self.dtype).itemsize * count

    @property
    def end(self) -> int:
        return self.offset + self.bytes

    def stored(self, value: np.ndarray) -> np.ndarray:
        """What the file holds of the tensor `value`, float32 of `shape`."""
        kept = (value.T if self.transposed else value)[..., self.start : self.stop]
        return np.ascontiguousarray(kept, dtype=self.dtype)


class WeightsFile(Record):
    """The tensors of one weight file; between them are zeros."""

    name: BareName
    part: Part  # of the checkpoint, all its tensors
    pieces: Annotated[tuple[Piece, ...], Field(min_length=1, max_length=100_000)]

    def drawn_from(self, piece: Piece) -> Tensor:
        return self.part, piece.tensor, piece.shape


class PackedSet(Record):
    """An engine set without its weights. Its programs and its manifest lie beside it in the pack."""

    name: BareName
    weights: Annotated[tuple[WeightsFile, ...], Field(min_length=1, max_length=1000)]

    def check(self, manifest: Manifest) -> None:
        """ValueError unless the layout describes exactly the files that are no programs, each within its size."""
        programs = {engine.program for engine in manifest.engines}
        sizes = {file.name: file.bytes for engine in manifest.engines for file in engine.files}
        expected = sizes.keys() - programs
        described = [file.name for file in self.weights]
        if len(described) != len(set(described)) or set(described) != expected:
            raise ValueError(f"the manifest lists the weight files {sorted(expected)}, the layout {sorted(described)}")
        for file in self.weights:
            if (end := max(piece.end for piece in file.pieces)) > sizes[file.name]:
                raise ValueError(f"a tensor of {file.name} ends at byte {end} of {sizes[file.name]}")


class Pack(Record):
    """The table of contents of a pack."""

    format: Literal[1]
    project_version: Annotated[str, Field(max_length=100)]
    numpy: Annotated[str, Field(max_length=100)]  # that drew the weights
    sets: Annotated[tuple[PackedSet, ...], Field(min_length=1, max_length=32)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Pack":
        if len({one.name for one in self.sets}) != len(self.sets):
            raise ValueError("an engine set is listed twice")
        return self
