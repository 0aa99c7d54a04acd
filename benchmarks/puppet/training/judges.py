"""Trains the networks that judge results and take no part in making them: a second embedder and a joint finder.

Both have another architecture than the ArcFace that HJB follows, and are trained on other puppets.
"""

import itertools
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from sa.benchmarks.puppet.draw.clips import SIZE, Clip, clip
from sa.benchmarks.puppet.draw.motion import JOINTS
from sa.benchmarks.puppet.draw.sample_sheet import grid
from sa.benchmarks.puppet.training.faces import train_embedder
from sa.benchmarks.puppet.training.loop import Schedule, Stage
from sa.benchmarks.puppet.training.machine import Machine
from sa.benchmarks.puppet.training.pixels import from_tensor, to_tensor

EMBEDDER_FEATURES = 128
EMBEDDER_SCHEDULE, EMBEDDER_SEED = Schedule(0.01, steps=300), 31
# The joints that the framing leaves in the picture.
FOUND = tuple(name for name in JOINTS if not name.endswith(("hip", "knee", "ankle", "ear")))
FINDER_SCHEDULE, FINDER_SEED, FINDER_BATCH = Schedule(0.01, steps=800), 32, 12
PUPPETS = 100_000


def _layer(before: int, after: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, stride, padding=dilation, dilation=dilation)
    return nn.Sequential(conv, nn.GroupNorm(4, after), nn.ReLU())


class Embedder(nn.Module):
    """face [n, 3, 112, 112] in -1..1 -> [n, 128], seen at half the size."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 64, 96)
        self.layers = nn.Sequential(*(_layer(a, b, 2) for a, b in itertools.pairwise(widths)))
        self.out = nn.Linear(widths[-1] * 16, EMBEDDER_FEATURES)

    def forward(self, face: torch.Tensor) -> torch.Tensor:
        return self.out(F.adaptive_avg_pool2d(self.layers(F.avg_pool2d(face, 2)), 4).flatten(1))


class JointFinder(nn.Module):
    """picture [n, 3, 128, 128] in -1..1 -> [n, joints, 2], x and y in pixels: the centres of heat maps."""

    def __init__(self) -> None:
        super().__init__()
        self.shrink = nn.Sequential(_layer(3, 24, 2), _layer(24, 48, 2))
        self.around = nn.ModuleList(_layer(48, 48, dilation=d) for d in (1, 2, 4, 8, 4, 2))
        self.heat = nn.Conv2d(48, len(FOUND), 1)

    def heat_maps(self, picture: torch.Tensor) -> torch.Tensor:
        """[n, joints, 32, 32], log-probabilities over a map."""
        x = self.shrink(picture)
        for layer in self.around:
            x = x + layer(x)
        return F.log_softmax(self.heat(x).flatten(2), dim=2).unflatten(2, x.shape[2:])

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        maps = self.heat_maps(picture).exp()
        at = (torch.arange(maps.shape[2], dtype=maps.dtype) + 0.5) * (SIZE / maps.shape[2])
        return torch.stack([maps.sum(dim=2) @ at, maps.sum(dim=3) @ at], dim=2)


def joints(one: Clip, frame: float) -> np.ndarray:
    """The true joints [joints, 2], in pixels."""
    body = one.posture(frame).body
    return np.stack([body[name] for name in FOUND]) * SIZE


def train_second_embedder(folder: Path, machine: Machine) -> Embedder:
    torch.manual_seed(EMBEDDER_SEED)
    embedder = Embedder()
    return train_embedder(
        folder, embedder, EMBEDDER_FEATURES, "judges", EMBEDDER_SCHEDULE, EMBEDDER_SEED, margin=0.0, machine=machine
    )


def train_joint_finder(folder: Path, machine: Machine) -> JointFinder:
    torch.manual_seed(FINDER_SEED)
    finder = JointFinder()
    held_out = [clip("held-out", number) for number in range(64)]
    pictures, truth = to_tensor([one.picture(0) for one in held_out]), np.stack([joints(one, 0) for one in held_out])

    def loss(rng: np.random.Generator) -> torch.Tensor:
        some, wanted = [], []
        for number in rng.integers(PUPPETS, size=FINDER_BATCH).tolist():
            one, frame = clip("judges", number), int(rng.integers(200))
            picture = one.picture(frame)
            if rng.random() < 0.5:  # results may be blurred
                smaller = int(SIZE * rng.uniform(0.4, 1.0))
                picture = picture.resize((smaller, smaller), Image.Resampling.BOX).resize((SIZE, SIZE))
            some.append(picture)
            wanted.append(joints(one, frame))
        at = torch.from_numpy(np.stack(wanted).astype(np.float32))
        seen = ((at >= 0) & (at < SIZE)).all(dim=2)
        maps = finder.heat_maps(to_tensor(some))
        cells = (at * (maps.shape[2] / SIZE)).long().clamp(0, maps.shape[2] - 1)
        heat = -maps.flatten(2).gather(2, (cells[..., 1] * maps.shape[3] + cells[..., 0])[..., None])[..., 0]
        return heat[seen].mean()

    def check() -> dict[str, float]:
        return {"error": float(np.nanmean(pixel_errors(finder(pictures).numpy(), truth)))}

    def show(path: Path) -> None:
        grid(
            [
                from_tensor(pictures[:8]),
                from_tensor(finder.heat_maps(pictures[:8]).exp().amax(1, True).expand(-1, 3, -1, -1)),
            ]
        ).save(path)

    return Stage(folder, finder, FINDER_SCHEDULE, FINDER_SEED, machine).run(loss, check, show)


def pixel_errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances in pixels [..., joints] of the joints that truly are in the picture; NaN for the others."""
    inside = ((truth >= 0) & (truth < SIZE)).all(axis=-1)
    return np.where(inside, np.linalg.norm(found - truth, axis=-1), np.nan)
