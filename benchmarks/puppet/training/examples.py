"""The diffusion stage's training examples, made once and kept in files: latents, poses, references, identities."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sa.benchmarks.puppet.draw.clips import SIZE, Split, clip, generator
from sa.benchmarks.puppet.training.faces import crop
from sa.benchmarks.puppet.training.pixels import bytes_to_tensor
from sa.runtime.case.images import pose_pixels

NOISE_AUG = 0.02  # noise in the reference before it is encoded, as published
PART = 100  # clips between two records of progress


@dataclass(frozen=True)
class Examples:
    """Arrays by [clip, frame]; any frame can be the reference of its clip."""

    pictures: np.ndarray  # [n, f, 128, 128, 3] uint8
    poses: np.ndarray  # [n, f, 128, 128, 3] uint8
    boxes: np.ndarray  # [n, f, 4] of faces
    latents: np.ndarray  # [n, f, 4, 16, 16] float32, scaled: the target
    references: np.ndarray  # [n, f, 4, 16, 16] float32, not scaled, of the noisy picture: the condition
    identities: np.ndarray  # [n, f, 512] float32

    def __len__(self) -> int:
        return len(self.latents)


_FIELDS = {
    "pictures": ((SIZE, SIZE, 3), np.uint8),
    "poses": ((SIZE, SIZE, 3), np.uint8),
    "boxes": ((4,), np.int16),
    "latents": ((4, SIZE // 8, SIZE // 8), np.float32),
    "references": ((4, SIZE // 8, SIZE // 8), np.float32),
    "identities": ((512,), np.float32),
}


def make_examples(
    folder: Path, split: Split, first: int, count: int, apart: bool, frames: int, vae: nn.Module, arcface: nn.Module
) -> Examples:
    """Make clips first .. first + count - 1 of a split. If interrupted, it continues where it stopped.

    `apart` takes frames at random times. Otherwise the first frame is at one random time, and the others follow each
    other from another. `vae` must have its true scaling factor.
    """
    draw_examples(folder, split, first, count, apart, frames)
    arrays = _arrays(folder, count, frames)

    def encode(index: int) -> None:
        _encode(
            {name: array[index] for name, array in arrays.items()}, generator(split, first + index, 4), vae, arcface
        )

    _each(folder, "encoded", count, arrays, encode)
    return Examples(**arrays)


def draw_examples(folder: Path, split: Split, first: int, count: int, apart: bool, frames: int) -> None:
    """The part of make_examples that needs no network. It can run while the networks are trained."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = _arrays(folder, count, frames)

    def draw(index: int) -> None:
        _draw({name: array[index] for name, array in arrays.items()}, split, first + index, apart)

    _each(folder, "drawn", count, arrays, draw)


def _arrays(folder: Path, count: int, frames: int) -> dict[str, np.ndarray]:
    arrays = {}
    for name, (shape, dtype) in _FIELDS.items():
        path, whole = folder / f"{name}.npy", (count, frames, *shape)
        mode = "r+" if path.exists() else "w+"
        arrays[name] = np.lib.format.open_memmap(path, mode, dtype, None if mode == "r+" else whole)
    return arrays


def _each(folder: Path, what: str, count: int, arrays: dict[str, np.ndarray], make: Callable[[int], None]) -> None:
    """Call `make` for every clip that is not yet `what`, and record the progress after every PART clips."""
    progress = folder / f"{what}.json"
    done = json.loads(progress.read_text())["clips"] if progress.exists() else 0
    while done < count:
        last = min(done + PART, count)
        for index in range(done, last):
            make(index)
        for array in arrays.values():
            array.flush()
        partial = progress.with_suffix(".partial")
        partial.write_text(json.dumps({"clips": last}))
        os.replace(partial, progress)
        done = last
        print(f"{folder.name}: {done} of {count} clips {what}", flush=True)


def _draw(row: dict[str, np.ndarray], split: Split, number: int, apart: bool) -> None:
    one, rng, frames = clip(split, number), generator(split, number, 2), len(row["latents"])
    if apart:
        times = rng.integers(0, 200, frames).tolist()
    else:
        times = [int(rng.integers(200)), *(int(rng.integers(200)) + np.arange(frames - 1)).tolist()]
    for i, time in enumerate(times):
        row["pictures"][i] = one.picture(time)
        row["poses"][i] = np.rint((pose_pixels(one.pose(time), SIZE, SIZE)[0].transpose(1, 2, 0) + 1) * 127.5)
        row["boxes"][i] = one.face_box(time)


@torch.no_grad()
def _encode(row: dict[str, np.ndarray], rng: np.random.Generator, vae: nn.Module, arcface: nn.Module) -> None:
    frames, pictures = len(row["latents"]), bytes_to_tensor(row["pictures"])
    noise = torch.from_numpy(rng.standard_normal(pictures.shape, np.float32))
    latents = vae.encode(torch.cat([pictures, pictures + NOISE_AUG * noise])).latent_dist.mode()
    row["latents"][:] = latents[:frames] * vae.config.scaling_factor
    row["references"][:] = latents[frames:]
    faces = torch.cat([crop(picture, box) for picture, box in zip(pictures, row["boxes"], strict=True)])
    row["identities"][:] = arcface(faces)
