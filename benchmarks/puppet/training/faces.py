"""Trains recognisers of puppets' faces: the ArcFace that HJB follows, and any other embedder."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from sa.benchmarks.peers.networks.arcface import IResNet
from sa.benchmarks.puppet.draw.clips import SIZE, Clip, Split, clip
from sa.benchmarks.puppet.draw.identity import random_identity
from sa.benchmarks.puppet.draw.sample_sheet import grid
from sa.benchmarks.puppet.training.loop import Schedule, Stage
from sa.benchmarks.puppet.training.machine import Machine
from sa.benchmarks.puppet.training.pixels import from_tensor, to_tensor
from sa.runtime.refinement.crops import Box, crop_matrices

PUPPETS = 1000  # identities to tell apart
BLOCKS, WIDTH, FEATURES = (1, 1, 1, 1), 6, 512
SCHEDULE = Schedule(0.01, steps=300)
SEED, BATCH = 21, 24
SCALE, MARGIN = 16.0, 0.2  # Deng et al. 2019, equation 3; small, because a narrow network reaches no more
JITTER = 0.08  # most that a box's edges move, as a fraction of its sides
HELD_OUT = 32  # identities to make pairs of


class Classifier(nn.Module):
    """An embedder, and a centre for every identity. Angles to the centres tell identities apart."""

    def __init__(self, embedder: nn.Module, features: int):
        super().__init__()
        self.embedder = embedder
        self.centres = nn.Parameter(torch.randn(PUPPETS, features) / math.sqrt(features))

    def loss(self, faces: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
        cosines = F.normalize(self.embedder(faces)) @ F.normalize(self.centres).T
        angles = torch.acos(cosines.clamp(-1 + 1e-6, 1 - 1e-6))
        own = F.one_hot(labels, PUPPETS).bool()
        return F.cross_entropy(SCALE * torch.where(own, torch.cos(angles + margin), cosines), labels)


def train_arcface(folder: Path, machine: Machine) -> IResNet:
    torch.manual_seed(SEED)
    arcface = IResNet(BLOCKS, WIDTH, FEATURES)
    return train_embedder(folder, arcface, FEATURES, "train", SCHEDULE, SEED, MARGIN, machine)


def train_embedder(
    folder: Path,
    embedder: nn.Module,
    features: int,
    split: Split,
    schedule: Schedule,
    seed: int,
    margin: float,
    machine: Machine,
) -> nn.Module:
    classifier = Classifier(embedder, features)
    held_out = [held_out_faces(number) for number in range(HELD_OUT)]

    def loss(rng: np.random.Generator) -> torch.Tensor:
        labels = rng.integers(PUPPETS, size=BATCH)
        faces = torch.cat([random_face(split, int(label), rng) for label in labels])
        return classifier.loss(faces, torch.from_numpy(labels), margin)

    def check() -> dict[str, float]:
        embeddings = F.normalize(embedder(torch.cat(held_out)), dim=1).unflatten(0, (HELD_OUT, -1))
        return same_and_other(embeddings)

    classifier = Stage(folder, classifier, schedule, seed, machine).run(
        loss, check, lambda path: grid([from_tensor(one) for one in held_out[:8]], 112).save(path)
    )
    return classifier.embedder


def same_and_other(embeddings: torch.Tensor) -> dict[str, float]:
    """How well embeddings [identities, views, n] of length 1 tell identities apart.

    "same" and "other" are the mean cosines of two views of one identity and of two identities. "nearest" is how often
    a view's nearest other view is of its own identity.
    """
    count, views = embeddings.shape[:2]
    flat = embeddings.flatten(0, 1)
    cosines = flat @ flat.T
    owner = torch.arange(count).repeat_interleave(views)
    own = owner[:, None] == owner[None]
    other_view = own & ~torch.eye(len(flat), dtype=torch.bool)
    nearest = cosines.masked_fill(torch.eye(len(flat), dtype=torch.bool), -2).argmax(dim=1)
    return {
        "same": cosines[other_view].mean().item(),
        "other": cosines[~own].mean().item(),
        "nearest": (owner[nearest] == owner).float().mean().item(),
    }


def random_face(split: Split, number: int, rng: np.random.Generator) -> torch.Tensor:
    """A puppet's face [1, 3, 112, 112] in random motion, clothes and backdrop. Its box is inexact; half are blurred."""
    one = clip(split, number, take=int(rng.integers(1 << 30)))
    other = random_identity(rng)  # lends everything except the face
    dressed = replace(
        one.identity, top=other.top, trim=other.trim, pattern=other.pattern, long_sleeves=other.long_sleeves,
        legs=other.legs, backdrop=other.backdrop, wall=other.wall, accent=other.accent,
    )  # fmt: skip
    one, frame = Clip(dressed, one.motion), int(rng.integers(200))
    picture, box = one.picture(frame), np.array(one.face_box(frame))
    if rng.random() < 0.5:
        smaller = int(SIZE * rng.uniform(0.4, 1.0))
        picture = picture.resize((smaller, smaller), Image.Resampling.BOX).resize((SIZE, SIZE))
    sides = np.tile(box[2:] - box[:2], 2)
    return crop(to_tensor([picture])[0], np.rint(box + rng.uniform(-JITTER, JITTER, 4) * sides))


def held_out_faces(number: int) -> torch.Tensor:
    """Four faces [4, 3, 112, 112] of a held-out puppet, one from each of four motions."""
    clips = [clip("held-out", number, take) for take in range(4)]
    return torch.cat([crop(to_tensor([one.picture(0)])[0], np.array(one.face_box(0))) for one in clips])


def crop(picture: torch.Tensor, box: np.ndarray) -> torch.Tensor:
    """Crop as HJB does (docs/model.md, section 8): picture [3, H, W] -> [1, 3, 112, 112].

    box: left, top, right, bottom, inclusive.
    """
    left, top, right, bottom = (int(v) for v in np.clip(box, 0, SIZE - 1))
    rows, columns = crop_matrices(Box(top, max(top, bottom), left, max(left, right)), *picture.shape[1:])
    rows, columns = (torch.from_numpy(matrix).to(picture.device) for matrix in (rows, columns))
    return (rows @ picture @ columns.T)[None]
