"""Trains UNet, PoseNet, FusionFaceId and image encoder together, with the objective of Stable Video Diffusion.

The objective is that of Karras et al. 2022, with v-prediction and log-normal sigmas (docs/model.md, section 5).
Training begins on single frames without the temporal layers, and continues on clips with all layers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sa.benchmarks.peers.networks import image_encoder, unet
from sa.benchmarks.peers.networks.face_encoder import FusionFaceId
from sa.benchmarks.peers.networks.pose_net import PoseNet
from sa.benchmarks.puppet.draw.clips import SIZE
from sa.benchmarks.puppet.draw.sample_sheet import grid
from sa.benchmarks.puppet.training.examples import NOISE_AUG, Examples
from sa.benchmarks.puppet.training.loop import Schedule, Stage
from sa.benchmarks.puppet.training.pixels import bytes_to_tensor, from_tensor
from sa.benchmarks.puppet.training.temporal import silence, without_time
from sa.benchmarks.puppet.training.vae import decode, psnr
from sa.runtime.case.images import resize_matrix
from sa.runtime.sampling.conditioning import FPS_ID, MOTION_BUCKET_ID
from sa.runtime.sampling.sampler import sample_euler
from sa.runtime.sampling.schedule import karras_sigmas

PARTS = "unet", "pose_net", "face_encoder", "image_encoder"
SEED = 41
LOG_SIGMA = 0.7, 1.6  # mean and deviation, as Stable Video Diffusion was trained
DROP_TOKEN, DROP_ALL = 0.1, 0.1  # shares of samples without the CLIP token, and with no condition at all
FACE = 1.0  # extra weight of the face's box, as published
PICTURES, PICTURES_BATCH = Schedule(steps=2400, peak=0.01), 8
CLIPS, CLIPS_BATCH = Schedule(steps=240, peak=0.003), 2
HELD_OUT_SIGMAS = (0.3, 1.0, 3.0, 10.0, 60.0)
SHEET_STEPS = 10
SIGMA_MIN, SIGMA_MAX = 0.002, 700.0
GAP = 4.0


class Animator(nn.Module):
    """The networks of the diffusion stage, as one module."""

    def __init__(self, files: dict[str, dict]):
        super().__init__()
        config = files["unet/config.json"]
        self.unet = unet.build(config)
        self.pose_net = PoseNet(config["block_out_channels"][0])
        self.face_encoder = FusionFaceId(config["cross_attention_dim"])
        self.image_encoder = image_encoder.build(files["image_encoder/config.json"])
        preprocessor = files["feature_extractor/preprocessor_config.json"]
        self.size = files["image_encoder/config.json"]["image_size"]
        self.mean, self.std = (torch.tensor(preprocessor[f"image_{name}"])[:, None, None] for name in ("mean", "std"))

    def prepare(self) -> None:
        """Make the start easier: silent temporal layers, norms that keep levels (see vae.py), visible poses."""
        silence(self.unet)
        self.unet.up_blocks[-1].resnets[-1].spatial_res_block.conv2.bias.data[1::2] += GAP
        # Pose images are nearly black. Without this, the network would take long to notice the few thin lines.
        self.pose_net.conv_layers[0].weight.data *= 4

    def condition(self, batch: "Batch") -> "Condition":
        token = self.image_encoder(self.clip_pixels(batch.pictures))
        faces = self.face_encoder(batch.identities, token)
        frames = batch.poses.shape[1]
        poses = self.pose_net(batch.poses.flatten(0, 1)).unflatten(0, (-1, frames))
        return Condition(batch.references, token[:, None], faces, poses)

    def clip_pixels(self, pictures: torch.Tensor) -> torch.Tensor:
        """References [B, 3, 128, 128] in -1..1 as the image encoder sees them (docs/model.md, section 2.2)."""
        matrix = torch.from_numpy(_matrix(self.size))
        return ((matrix @ pictures @ matrix.T + 1) / 2 - self.mean) / self.std

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, condition: "Condition") -> torch.Tensor:
        """Velocities [B, T, 4, h, w] of scaled latents x with noise of sigma [B]."""
        inward = x / torch.sqrt(sigma**2 + 1)[:, None, None, None, None]
        images = condition.references[:, None].expand(-1, x.shape[1], -1, -1, -1)
        tokens = torch.cat([condition.token, condition.faces], dim=1)
        ids = torch.tensor([[FPS_ID, MOTION_BUCKET_ID, NOISE_AUG]])
        return self.unet(torch.cat([inward, images], dim=2), 0.25 * torch.log(sigma), ids, tokens, condition.poses)

    def denoise(self, x: torch.Tensor, sigma: torch.Tensor, condition: "Condition") -> torch.Tensor:
        s = sigma[:, None, None, None, None]
        return x / (s**2 + 1) - s / torch.sqrt(s**2 + 1) * self(x, sigma, condition)


@dataclass(frozen=True)
class Batch:
    """B clips of T frames. A clip's reference is not one of them."""

    latents: torch.Tensor  # [B, T, 4, h, w] scaled
    poses: torch.Tensor  # [B, T, 3, H, W] in -1..1
    weights: torch.Tensor  # [B, T, 1, h, w] of the loss
    references: torch.Tensor  # [B, 4, h, w] not scaled
    pictures: torch.Tensor  # [B, 3, H, W] the references in -1..1
    identities: torch.Tensor  # [B, 512]


@dataclass(frozen=True)
class Condition:
    references: torch.Tensor  # [B, 4, h, w]
    token: torch.Tensor  # [B, 1, X]
    faces: torch.Tensor  # [B, 4, X]
    poses: torch.Tensor  # [B, T, C0, h, w]

    def dropped(self, u: torch.Tensor) -> "Condition":
        """Zero the CLIP token of some samples, and everything of some others; u [B] is uniform and decides which.

        Zeroing everything is what sa-run's unconditional branch does, so guidance means nothing to a model trained
        without it. StableAnimator's training only zeroed the CLIP token.
        """
        everything = (u >= DROP_ALL).float()
        token = (u >= DROP_ALL + DROP_TOKEN).float()

        def kept(value: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
            return value * keep.view(-1, *[1] * (value.ndim - 1))

        return Condition(
            kept(self.references, everything),
            kept(self.token, token),
            kept(self.faces, everything),
            kept(self.poses, everything),
        )


@lru_cache
def _matrix(size: int) -> np.ndarray:
    return resize_matrix(SIZE, size).astype(np.float32)


def gather(examples: Examples, clips: np.ndarray, reference: np.ndarray, frames: np.ndarray) -> Batch:
    """The batch of these indices: clips [B], reference [B], frames [B, T]."""
    rows = clips[:, None]
    height, width = examples.latents.shape[-2:]
    weights = torch.ones(*frames.shape, 1, height, width)
    for weight, (left, top, right, bottom) in zip(
        weights.flatten(0, 1), examples.boxes[rows, frames].reshape(-1, 4) // 8, strict=True
    ):
        weight[:, top : bottom + 1, left : right + 1] += FACE
    return Batch(
        latents=torch.from_numpy(examples.latents[rows, frames]),
        poses=bytes_to_tensor(examples.poses[rows, frames].reshape(-1, SIZE, SIZE, 3)).unflatten(0, frames.shape),
        weights=weights,
        references=torch.from_numpy(examples.references[clips, reference]),
        pictures=bytes_to_tensor(examples.pictures[clips, reference]),
        identities=torch.from_numpy(examples.identities[clips, reference]),
    )


def pairs(examples: Examples, count: int, rng: np.random.Generator) -> Batch:
    """A reference and one other frame of its clip."""
    clips = rng.integers(len(examples), size=count)
    two = np.stack([rng.permutation(examples.latents.shape[1])[:2] for _ in range(count)])
    return gather(examples, clips, two[:, 0], two[:, 1:])


def videos(examples: Examples, count: int, rng: np.random.Generator) -> Batch:
    """The clip's first frame is the reference, the others are the video."""
    clips = rng.integers(len(examples), size=count)
    frames = np.tile(np.arange(1, examples.latents.shape[1]), (count, 1))
    return gather(examples, clips, np.zeros(count, int), frames)


def velocity_loss(
    animator: Animator, batch: Batch, sigma: torch.Tensor, noise: torch.Tensor, u: torch.Tensor
) -> torch.Tensor:
    """EDM's weighted error of the denoised latents. For v-prediction it is the plain error of the velocity."""
    s = sigma[:, None, None, None, None]
    x = batch.latents + s * noise
    wanted = (x / (s**2 + 1) - batch.latents) * torch.sqrt(s**2 + 1) / s
    found = animator(x, sigma, animator.condition(batch).dropped(u))
    return (batch.weights * (found - wanted) ** 2).mean()


def sample(animator: Animator, batch: Batch, steps: int, rng: np.random.Generator) -> torch.Tensor:
    """Scaled latents [B, T, 4, h, w] by sa-run's own loop, without guidance."""
    sigmas = karras_sigmas(steps, SIGMA_MIN, SIGMA_MAX)
    condition = animator.condition(batch)

    def denoise(x: np.ndarray, sigma: float) -> np.ndarray:
        return animator.denoise(torch.from_numpy(x), torch.full((len(x),), sigma), condition).numpy()

    noise = rng.standard_normal(batch.latents.shape, np.float32)
    return torch.from_numpy(sample_euler(denoise, noise * np.float32(np.hypot(SIGMA_MAX, 1)), sigmas))


def train_pictures(
    folder: Path, animator: Animator, vae: nn.Module, examples: Examples, held_out: Examples
) -> Animator:
    with without_time(animator.unet):
        return _train(folder, animator, vae, examples, held_out, PICTURES, PICTURES_BATCH, pairs, SEED)


def train_clips(
    folder: Path,
    animator: Animator,
    vae: nn.Module,
    examples: Examples,
    held_out: Examples,
    schedule: Schedule = CLIPS,
) -> Animator:
    animator.requires_grad_(True)
    return _train(folder, animator, vae, examples, held_out, schedule, CLIPS_BATCH, videos, SEED + 1)


def _train(
    folder: Path,
    animator: Animator,
    vae: nn.Module,
    examples: Examples,
    held_out: Examples,
    schedule: Schedule,
    size: int,
    draw: Callable[[Examples, int, np.random.Generator], Batch],
    seed: int,
) -> Animator:
    fixed = draw(held_out, 8, np.random.default_rng(seed))
    few = draw(held_out, 8 if fixed.latents.shape[1] == 1 else 2, np.random.default_rng(seed))
    truth = _decoded(vae, few.latents)

    def loss(rng: np.random.Generator) -> torch.Tensor:
        batch = draw(examples, size, rng)
        sigma = torch.from_numpy(np.exp(rng.normal(*LOG_SIGMA, size)).astype(np.float32))
        noise = torch.from_numpy(rng.standard_normal(batch.latents.shape, np.float32))
        return velocity_loss(animator, batch, sigma, noise, torch.from_numpy(rng.random(size, np.float32)))

    def check() -> dict[str, float]:
        noise = torch.from_numpy(np.random.default_rng(seed).standard_normal(fixed.latents.shape, np.float32))
        count = len(fixed.latents)
        row = {
            f"held-out at {s}": velocity_loss(animator, fixed, torch.full((count,), s), noise, torch.ones(count)).item()
            for s in HELD_OUT_SIGMAS
        }
        row["held-out"] = float(np.mean(list(row.values())))
        sampled = _decoded(vae, sample(animator, few, SHEET_STEPS, np.random.default_rng(seed)))
        shown.update(pictures=sampled)
        return row | {"psnr": psnr(sampled, truth)}

    shown: dict[str, torch.Tensor] = {}  # `check` fills it for `show`

    def show(path: Path) -> None:
        frames = few.latents.shape[1]
        rows = [few.pictures, few.poses.flatten(0, 1), shown["pictures"], truth]
        if frames > 1:
            rows[0] = few.pictures.repeat_interleave(frames, 0)
        grid([from_tensor(row) for row in rows]).save(path)

    return Stage(folder, animator, schedule, seed).run(loss, check, show)


def _decoded(vae: nn.Module, latents: torch.Tensor) -> torch.Tensor:
    """Scaled latents [B, T, 4, h, w] -> [B T, 3, H, W]."""
    with torch.no_grad():
        return torch.cat([decode(vae, clip / vae.config.scaling_factor, len(clip)) for clip in latents])
