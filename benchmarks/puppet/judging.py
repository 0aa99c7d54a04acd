"""The networks that judge a puppet's video, from the puppet checkpoint. The VAE shows what the truth's latents give."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from sa.benchmarks.peers.networks.arcface import IResNet
from sa.benchmarks.puppet import CHECKPOINT
from sa.benchmarks.puppet.draw.clips import SIZE
from sa.benchmarks.puppet.networks.vae import Vae
from sa.benchmarks.puppet.training import faces
from sa.benchmarks.puppet.training.judges import FOUND, Embedder, JointFinder, pixel_errors
from sa.benchmarks.puppet.training.pixels import bytes_to_tensor, to_tensor
from sa.benchmarks.puppet.training.publish import published, published_vae_config
from sa.runtime.case.images import frames_to_bytes
from sa.runtime.output.video import frame_path


@dataclass(frozen=True)
class Face:
    """Embeddings of faces [n, features], each of length 1."""

    arcface: torch.Tensor
    judge: torch.Tensor


class Judges:
    def __init__(self) -> None:
        self._arcface = published(CHECKPOINT, "arcface", IResNet(faces.BLOCKS, faces.WIDTH, faces.FEATURES))
        self._embedder = published(CHECKPOINT, "second_embedder", Embedder())
        self._finder = published(CHECKPOINT, "joint_finder", JointFinder())

    def reference(self, case: Path) -> Face:
        with Image.open(case / "reference.png") as image:
            picture = to_tensor([image.convert("RGB")])[0]
        return self._embed(faces.crop(picture, _box(case / "reference_mask.png")))

    def faces(self, case: Path, frames: np.ndarray) -> Face:
        """The faces in a video's frames [T, H, W, 3], at the boxes that the case gives."""
        boxes = [_box(frame_path(case / "faces", index)) for index in range(len(frames))]
        pictures = bytes_to_tensor(frames)
        return self._embed(torch.cat([faces.crop(p, box) for p, box in zip(pictures, boxes, strict=True)]))

    def similarity(self, video: Face, reference: Face) -> tuple[float, float]:
        """Mean cosine over frames, by the ArcFace and by the second embedder."""
        return tuple(float((getattr(video, by) @ getattr(reference, by)[0]).mean()) for by in ("arcface", "judge"))

    def joint_error(self, frames: np.ndarray, truth: list[dict[str, list[float]]]) -> float:
        """Mean distance in pixels of joints found in frames [T, H, W, 3] from the true ones that are in the picture."""
        wanted = np.array([[joints[name] for name in FOUND] for joints in truth]) * SIZE
        with torch.no_grad():
            found = self._finder(bytes_to_tensor(frames)).numpy()
        return float(np.nanmean(pixel_errors(found, wanted)))

    @torch.no_grad()
    def _embed(self, crops: torch.Tensor) -> Face:
        return Face(F.normalize(self._arcface(crops), dim=1), F.normalize(self._embedder(crops), dim=1))


@torch.no_grad()
def reconstructed(frames: np.ndarray) -> np.ndarray:
    """A video [T, H, W, 3] uint8, encoded and decoded as one tile: what its own latents would give."""
    vae = published(CHECKPOINT, "vae", Vae(published_vae_config(CHECKPOINT)))
    found = vae.decoder(vae.encode(bytes_to_tensor(frames))[0], len(frames))
    return frames_to_bytes(found.numpy())


def _box(mask: Path) -> np.ndarray:
    """Left, top, right, bottom of the white rectangle."""
    with Image.open(mask) as image:
        left, top, right, bottom = image.convert("L").getbbox()
    return np.array([left, top, right - 1, bottom - 1])
