"""What training learns from, as tensors on its device: drawn clips, and what the encoders make of them."""

import hashlib
import json
import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sa.benchmarks.puppet.draw.clips import SIZE, generator
from sa.benchmarks.puppet.networks.vae import Vae
from sa.benchmarks.puppet.training.album import FRAMES, REFERENCES, Album, mapped
from sa.benchmarks.puppet.training.faces import crop
from sa.benchmarks.puppet.training.machine import Machine
from sa.benchmarks.puppet.training.pixels import bytes_to_tensor

NOISE_AUG = 0.02  # noise in the reference before it is encoded, as published
PART = 20  # clips between two records of progress
IDENTITY = 512
_LATENT = (4, SIZE // 8, SIZE // 8)
Index = int | slice | np.ndarray | torch.Tensor
_FIELDS = {
    "latents": (FRAMES, *_LATENT),
    "references": (REFERENCES, *_LATENT),
    "identities": (REFERENCES, IDENTITY),
}


@dataclass(frozen=True)
class Drawn:
    """Tensors by [clip, frame]. On a CPU they are files, of which only what is used is read."""

    pictures: torch.Tensor  # [n, FRAMES, 128, 128, 3] uint8
    poses: torch.Tensor  # [n, FRAMES, 128, 128, 3] uint8
    boxes: torch.Tensor  # [n, FRAMES, 4] int16, of faces
    hands: torch.Tensor  # [n, FRAMES, 2, 4] int16, boxes of hands

    def __len__(self) -> int:
        return len(self.boxes)

    @staticmethod
    def load(album: Album, machine: Machine) -> "Drawn":
        arrays = {name: array[: album.clips] for name, array in album.arrays().items()}
        return Drawn(**{name: torch.from_numpy(array).to(machine.device) for name, array in arrays.items()})


@dataclass(frozen=True)
class Examples:
    """Clips of which the first REFERENCES frames can be references, and all others follow each other."""

    drawn: Drawn
    latents: torch.Tensor  # [n, FRAMES, 4, 16, 16] float32, scaled: the target
    references: torch.Tensor  # [n, REFERENCES, 4, 16, 16] float32, not scaled, of the noisy picture: the condition
    identities: torch.Tensor  # [n, REFERENCES, 512] float32

    def __len__(self) -> int:
        return len(self.latents)


@torch.no_grad()
def encode(album: Album, drawn: Drawn, vae: Vae, arcface: nn.Module, machine: Machine) -> Examples:
    """Encode an album, into files beside it that belong to these networks. If interrupted, it goes on where it was."""
    folder = album.folder / f"encoded-{_digest(vae.encoder, vae.quant_conv, arcface)}"
    rows = len(album.arrays()["boxes"])
    arrays = {name: mapped(folder / f"{name}.npy", (rows, *shape), np.float32) for name, shape in _FIELDS.items()}
    progress = folder / "encoded.json"
    done = json.loads(progress.read_text())["clips"] if progress.exists() else 0
    vae.to(machine.device)
    arcface.to(machine.device)
    while done < album.clips:
        machine.require_time()
        for index in range(done, min(done + PART, album.clips)):
            rng = generator(album.split, album.first + index, 4)
            _encode({name: array[index] for name, array in arrays.items()}, drawn, index, rng, vae, arcface)
        for array in arrays.values():
            array.flush()
        done = min(done + PART, album.clips)
        partial = progress.with_suffix(".partial")
        partial.write_text(json.dumps({"clips": done}))
        os.replace(partial, progress)
        if done % (10 * PART) == 0 or done == album.clips:
            print(f"{album.folder.name}: {done} of {album.clips} clips encoded", flush=True)
    found = {name: torch.from_numpy(array[: album.clips]).to(machine.device) for name, array in arrays.items()}
    found["latents"] = found["latents"] * vae.scaling_factor
    return Examples(drawn, **found)


def _encode(
    row: dict[str, np.ndarray], drawn: Drawn, index: int, rng: np.random.Generator, vae: Vae, arcface: nn.Module
) -> None:
    pictures = bytes_to_tensor(drawn.pictures[index])
    noise = torch.from_numpy(rng.standard_normal((REFERENCES, *pictures.shape[1:]), np.float32)).to(pictures.device)
    latents = vae.encode(torch.cat([pictures, pictures[:REFERENCES] + NOISE_AUG * noise]))[0].cpu()
    row["latents"][:], row["references"][:] = latents[:FRAMES], latents[FRAMES:]
    boxes = drawn.boxes[index, :REFERENCES].cpu().numpy()
    faces = [crop(picture, box) for picture, box in zip(pictures[:REFERENCES], boxes, strict=True)]
    row["identities"][:] = arcface(torch.cat(faces)).cpu()


def _digest(*networks: nn.Module) -> str:
    found = hashlib.sha256()
    for network in networks:
        for name, value in network.state_dict().items():
            found.update(name.encode())
            found.update(value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]
