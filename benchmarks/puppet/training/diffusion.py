"""Trains UNet, PoseNet, FusionFaceId and image encoder together, with the objective of Stable Video Diffusion.

The objective is that of Karras et al. 2022, with v-prediction and log-normal sigmas (docs/model.md, section 5). A step
learns from single frames without the temporal layers, or from clips with all layers.

Samples are weighted so that every noise level counts alike, as in Karras et al. 2024, "Analyzing and improving the
training dynamics of diffusion models". There a small network learns each level's error; here it is a formula.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sa.benchmarks.peers.networks.face_encoder import FusionFaceId
from sa.benchmarks.peers.networks.pose_net import PoseNet
from sa.benchmarks.puppet.draw.clips import SIZE
from sa.benchmarks.puppet.draw.sample_sheet import grid
from sa.benchmarks.puppet.networks.image_encoder import ImageEncoder
from sa.benchmarks.puppet.networks.unet import UNet
from sa.benchmarks.puppet.networks.vae import Vae
from sa.benchmarks.puppet.training.album import FRAMES, REFERENCES, VIDEO
from sa.benchmarks.puppet.training.examples import NOISE_AUG, Examples
from sa.benchmarks.puppet.training.loop import Schedule, Stage
from sa.benchmarks.puppet.training.machine import Machine
from sa.benchmarks.puppet.training.pixels import bytes_to_tensor, from_tensor
from sa.benchmarks.puppet.training.temporal import silence
from sa.benchmarks.puppet.training.vae import decoded, detail_weights, psnr, sharpness
from sa.runtime.case.images import resize_matrix
from sa.runtime.sampling.sampler import sample_euler
from sa.runtime.sampling.schedule import karras_sigmas
from sa.runtime.sampling.time_ids import FPS_ID, MOTION_BUCKET_ID

PARTS = "unet", "pose_net", "face_encoder", "image_encoder"
SEED = 41
LOG_SIGMA = 0.7, 1.6  # mean and deviation, as Stable Video Diffusion was trained
LEFT = 0.02  # variance of the scaled latents that a good animator cannot tell from the condition; 1 without condition
DROP_TOKEN, DROP_ALL = 0.1, 0.1  # shares of samples without the CLIP token, and with no condition at all
SCHEDULE, MORE = Schedule(0.01, steps=6000), Schedule(0.01)
PICTURES, CLIPS = 32, 4  # samples in a step of pictures, and in one of clips
CLIP_STEPS = 0.5  # share of the steps that learn from clips
HELD_OUT_SIGMAS = (0.3, 1.0, 3.0, 10.0, 60.0)
HELD_OUT_PICTURES, SAMPLED_CLIPS, SAMPLE_STEPS = 64, 4, 25
SIGMA_MIN, SIGMA_MAX = 0.002, 700.0
GAP = 4.0


class Animator(nn.Module):
    """The networks of the diffusion stage, as one module."""

    def __init__(self, files: dict[str, dict]):
        super().__init__()
        config = files["unet/config.json"]
        self.unet = UNet(config)
        self.pose_net = PoseNet(config["block_out_channels"][0])
        self.face_encoder = FusionFaceId(config["cross_attention_dim"])
        self.image_encoder = ImageEncoder(files["image_encoder/config.json"])
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
        matrix, mean, std = (one.to(pictures.device) for one in (_matrix(self.size), self.mean, self.std))
        return ((matrix @ pictures @ matrix.T + 1) / 2 - mean) / std

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, condition: "Condition", over_time: bool) -> torch.Tensor:
        """Velocities [B, T, 4, h, w] of scaled latents x with noise of sigma [B]."""
        inward = x / torch.sqrt(sigma**2 + 1)[:, None, None, None, None]
        images = condition.references[:, None].expand(-1, x.shape[1], -1, -1, -1)
        tokens = torch.cat([condition.token, condition.faces], dim=1)
        ids = torch.tensor([[FPS_ID, MOTION_BUCKET_ID, NOISE_AUG]], device=x.device)
        given = torch.cat([inward, images], dim=2)
        unet = self.unet if self.training else self.unet.forward  # compiled for training alone
        return unet(given, 0.25 * torch.log(sigma), ids, tokens, condition.poses, over_time)

    def denoise(self, x: torch.Tensor, sigma: torch.Tensor, condition: "Condition", over_time: bool) -> torch.Tensor:
        s = sigma[:, None, None, None, None]
        return x / (s**2 + 1) - s / torch.sqrt(s**2 + 1) * self(x, sigma, condition, over_time)


@dataclass(frozen=True)
class Batch:
    """B clips of T frames. A clip's reference is not one of them."""

    latents: torch.Tensor  # [B, T, 4, h, w] scaled
    poses: torch.Tensor  # [B, T, 3, H, W] in -1..1
    weights: torch.Tensor  # [B, T, 1, h, w] of the loss
    references: torch.Tensor  # [B, 4, h, w] not scaled
    pictures: torch.Tensor  # [B, 3, H, W] the references in -1..1
    identities: torch.Tensor  # [B, 512]

    @property
    def over_time(self) -> bool:
        """Frames are of a video, not pictures."""
        return self.latents.shape[1] > 1


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
def _matrix(size: int) -> torch.Tensor:
    return torch.from_numpy(resize_matrix(SIZE, size).astype(np.float32))


def gather(examples: Examples, clips: np.ndarray, reference: np.ndarray, frames: np.ndarray) -> Batch:
    """The batch of these indices: clips [B], reference [B], frames [B, T]."""
    drawn, device = examples.drawn, examples.latents.device
    clip, first, frame = (torch.from_numpy(index).to(device) for index in (clips, reference, frames))
    rows = clip[:, None]
    every_row, every_frame = rows.expand(frame.shape).flatten(), frame.flatten()
    return Batch(
        latents=examples.latents[rows, frame],
        poses=bytes_to_tensor(drawn.poses[every_row, every_frame]).unflatten(0, frames.shape),
        weights=detail_weights(drawn, every_row, every_frame, cell=8).unflatten(0, frames.shape),
        references=examples.references[clip, first],
        pictures=bytes_to_tensor(drawn.pictures[clip, first]),
        identities=examples.identities[clip, first],
    )


def pictures(examples: Examples, count: int, rng: np.random.Generator) -> Batch:
    """A reference and one other frame of its clip."""
    clips, reference = rng.integers(len(examples), size=count), rng.integers(REFERENCES, size=count)
    other = rng.integers(FRAMES - 1, size=count)
    return gather(examples, clips, reference, (other + (other >= reference))[:, None])


def videos(examples: Examples, count: int, rng: np.random.Generator) -> Batch:
    """A reference, and the frames of its clip that follow each other."""
    clips, reference = rng.integers(len(examples), size=count), rng.integers(REFERENCES, size=count)
    return gather(examples, clips, reference, np.tile(np.arange(REFERENCES, FRAMES), (count, 1)))


def velocity_error(
    animator: Animator, batch: Batch, sigma: torch.Tensor, noise: torch.Tensor, u: torch.Tensor
) -> torch.Tensor:
    """[B]: EDM's weighted error of the denoised latents. For v-prediction it is the plain error of the velocity."""
    s = sigma[:, None, None, None, None]
    x = batch.latents + s * noise
    wanted = (x / (s**2 + 1) - batch.latents) * torch.sqrt(s**2 + 1) / s
    found = animator(x, sigma, animator.condition(batch).dropped(u), batch.over_time)
    return (batch.weights * (found.float() - wanted) ** 2).mean(dim=(1, 2, 3, 4))


def evened(sigma: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """[B] weights that make errors of all noise levels, and with and without condition, about equally large.

    Latents of which a variance of r is unknown, seen through noise of sigma, are known up to r s^2 / (r + s^2). As an
    error of the velocity that is r (s^2 + 1) / (s^2 + r); the weight is its inverse, times LEFT. Without weights,
    samples whose error is large because nobody could do better make most of the gradient's noise.
    """
    unknown = torch.where(u < DROP_ALL, 1.0, LEFT)
    return LEFT / unknown * (sigma**2 + unknown) / (sigma**2 + 1)


def sample(animator: Animator, batch: Batch, steps: int, rng: np.random.Generator) -> torch.Tensor:
    """Scaled latents [B, T, 4, h, w] by sa-run's own loop, without guidance."""
    sigmas = karras_sigmas(steps, SIGMA_MIN, SIGMA_MAX)
    condition, device = animator.condition(batch), batch.latents.device

    def denoise(x: np.ndarray, sigma: float) -> np.ndarray:
        given = torch.from_numpy(x).to(device)
        found = animator.denoise(given, torch.full((len(x),), sigma, device=device), condition, batch.over_time)
        return found.float().cpu().numpy()

    noise = rng.standard_normal(batch.latents.shape, np.float32)
    return torch.from_numpy(sample_euler(denoise, noise * np.float32(np.hypot(SIGMA_MAX, 1)), sigmas)).to(device)


def train_animator(
    folder: Path,
    animator: Animator,
    vae: Vae,
    examples: Examples,
    held_out: Examples,
    schedule: Schedule,
    machine: Machine,
) -> Animator:
    """`held_out` measures: errors of the velocity at some sigmas, and the PSNR of sampled clips against true pixels."""
    animator.to(machine.device).requires_grad_(True)
    vae.to(machine.device)
    fixed = pictures(held_out, HELD_OUT_PICTURES, np.random.default_rng(SEED))
    first = np.arange(SAMPLED_CLIPS)
    few = gather(held_out, first, np.zeros_like(first), np.tile(np.arange(REFERENCES, FRAMES), (SAMPLED_CLIPS, 1)))
    truth = bytes_to_tensor(held_out.drawn.pictures[:SAMPLED_CLIPS, REFERENCES:].flatten(0, 1))
    machine.compile(animator.unet)

    def random_velocity(rng: np.random.Generator, batch: Batch) -> torch.Tensor:
        count = len(batch.latents)
        drawn = (
            np.exp(rng.normal(*LOG_SIGMA, count)).astype(np.float32),
            rng.standard_normal(batch.latents.shape, np.float32),
            rng.random(count, np.float32),
        )
        sigma, noise, u = (torch.from_numpy(one).to(machine.device) for one in drawn)
        with machine.mixed_precision():
            return (evened(sigma, u) * velocity_error(animator, batch, sigma, noise, u)).mean()

    def loss(rng: np.random.Generator) -> torch.Tensor:
        if rng.random() < CLIP_STEPS:
            return random_velocity(rng, videos(examples, CLIPS * machine.batches, rng))
        return random_velocity(rng, pictures(examples, PICTURES * machine.batches, rng))

    def check() -> dict[str, float]:
        count = len(fixed.latents)
        noise = np.random.default_rng(SEED).standard_normal(fixed.latents.shape, np.float32)
        given = torch.from_numpy(noise).to(machine.device), torch.ones(count, device=machine.device)
        row = {}
        for s in HELD_OUT_SIGMAS:
            sigma = torch.full((count,), s, device=machine.device)
            row[f"held-out at {s}"] = velocity_error(animator, fixed, sigma, *given).mean().item()
        row["held-out"] = float(np.mean(list(row.values())))
        shown[:] = [decoded(vae, sample(animator, few, SAMPLE_STEPS, np.random.default_rng(SEED)))]
        return row | {"psnr": psnr(shown[0], truth), "sharpness": sharpness(shown[0], truth)}

    shown: list[torch.Tensor] = []  # `check` fills it for `show`

    def show(path: Path) -> None:
        references = few.pictures.repeat_interleave(VIDEO, 0)
        grid([from_tensor(row) for row in (references, few.poses.flatten(0, 1), shown[0], truth)]).save(path)

    return Stage(folder, animator, schedule, SEED, machine, best="held-out").run(loss, check, show)
