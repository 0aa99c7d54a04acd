"""Trains the temporal VAE as Stable Video Diffusion's was: on single pictures, then the decoder on frames of videos."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sa.benchmarks.puppet.draw.clips import SIZE
from sa.benchmarks.puppet.draw.sample_sheet import grid
from sa.benchmarks.puppet.networks.layers import SpatialResBlock, SpatioTemporalResBlock
from sa.benchmarks.puppet.networks.vae import Vae
from sa.benchmarks.puppet.training.album import REFERENCES, VIDEO
from sa.benchmarks.puppet.training.examples import Drawn, Index
from sa.benchmarks.puppet.training.loop import Schedule, Stage
from sa.benchmarks.puppet.training.machine import Machine
from sa.benchmarks.puppet.training.pixels import bytes_to_tensor, from_tensor
from sa.benchmarks.puppet.training.temporal import silence, zero

SEED = 11
PICTURES, MORE_PICTURES = Schedule(0.01, steps=6000), Schedule(0.002)
BATCH, CROP = 8, 64  # crops in a step; a step of whole pictures has as many pixels
FRAMES, MORE_FRAMES = Schedule(0.002, steps=400, warm_up=20), Schedule(0.002, warm_up=20)
CHUNK = 4  # frames decoded at once
GAP = 6.0
KL = 2e-5  # weight of the divergence per latent number, beside the mean absolute error per pixel
EDGE = 1.0
COLOUR, PATCH = 4.0, 8
LIMB, FACE, HAND = 2.0, 6.0, 6.0  # extra weight of what is near a drawn limb, in the face's box, in a hand's
NEAR, LIT = 7, 48  # pixels across of what is near; levels from which a pose's pixel is drawn
ANCHOR, ANCHORED = 0.1, 2.0  # weight of the latents' agreement with colours, and the deviation they get
# Brightness, blue against orange, green against magenta, each by its deviation among the puppets' patches.
OPPONENT = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [-0.5, 0, 0.5], [-0.25, 0.5, -0.25]])
DEVIATION = torch.tensor([0.33, 0.18, 0.13])
HELD_OUT = 16  # clips


def new_vae(config: dict) -> Vae:
    """A VAE to train from nothing, whose latents are not scaled."""
    torch.manual_seed(SEED)
    network = Vae({**config, "scaling_factor": 1.0})
    prepare(network)
    keep_levels(network)
    return network


def train_pictures(
    folder: Path,
    network: Vae,
    schedule: Schedule,
    data: Drawn,
    held_out: Drawn,
    machine: Machine,
    crop: int = CROP,
) -> Vae:
    """Encoder and spatial decoder, on single pictures.

    Crops show more puppets in a step. But a narrow network's norms measure the whole picture, so it has to learn whole
    pictures in the end: their `crop` is SIZE.
    """
    network.to(machine.device).requires_grad_(True)
    left_out = silent(network)
    rest(left_out)
    for name, parameter in network.decoder.named_parameters():
        parameter.requires_grad_("time" not in name and "temporal" not in name)
    wanted = bytes_to_tensor(held_out.pictures[:HELD_OUT, 0])
    machine.compile(network)
    count = BATCH * CROP**2 // crop**2 * machine.batches

    def loss(rng: np.random.Generator) -> torch.Tensor:
        pictures, weights = batch(data, rng, count, crop)
        shape = (count, 4, crop // 8, crop // 8)
        noise = torch.from_numpy(rng.standard_normal(shape, np.float32)).to(machine.device)
        with machine.mixed_precision():
            found, mean, log_variance = network(pictures, noise)
        mean, log_variance = mean.float(), log_variance.float()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        error = reconstruction(found.float(), pictures, weights)
        return error + ANCHOR * colour_distance(mean, pictures) + KL * divergence

    stage = Stage(folder, network, schedule, SEED, machine, best="psnr")
    trained = stage.run(
        loss,
        lambda: {"psnr": psnr(network.decoder(network.encode(wanted)[0], None), wanted)},
        lambda path: _show(network, wanted, path),
    )
    rest(left_out, False)
    return trained


def train_frames(folder: Path, network: Vae, schedule: Schedule, data: Drawn, held_out: Drawn, machine: Machine) -> Vae:
    """The decoder with its temporal layers, on chunks of whole frames; the encoder is frozen."""
    network.to(machine.device).requires_grad_(False)
    network.decoder.requires_grad_(True)
    left_out = [block for block in silent(network) if not block.conv2.weight.requires_grad]
    rest(left_out)
    wanted = [bytes_to_tensor(clip[REFERENCES : REFERENCES + CHUNK]) for clip in held_out.pictures[: HELD_OUT // 2]]
    with torch.no_grad():
        latents = [network.encode(frames)[0] for frames in wanted]

    def loss(rng: np.random.Generator) -> torch.Tensor:
        clip, first = int(rng.integers(len(data))), REFERENCES + int(rng.integers(VIDEO - CHUNK + 1))
        frames = bytes_to_tensor(data.pictures[clip, first : first + CHUNK])
        weights = detail_weights(data, clip, slice(first, first + CHUNK))
        with torch.no_grad(), machine.mixed_precision():
            mean, log_variance = network.encode(frames)
        noise = torch.from_numpy(rng.standard_normal(mean.shape, np.float32)).to(machine.device)
        with machine.mixed_precision():
            found = network.decoder((mean + (log_variance / 2).exp() * noise).float(), CHUNK)
        return reconstruction(found.float(), frames, weights)

    def check() -> dict[str, float]:
        pairs = [(network.decoder(z, CHUNK), truth) for z, truth in zip(latents, wanted, strict=True)]
        change = [((d[1:] - d[:-1]) - (t[1:] - t[:-1])).abs().mean().item() for d, t in pairs]
        return {"psnr": float(np.mean([psnr(d, t) for d, t in pairs])), "flicker": float(np.mean(change))}

    stage = Stage(folder, network, schedule, SEED + 1, machine, check_every=50, best="psnr")
    trained = stage.run(loss, check, lambda path: _show(network, torch.cat(wanted[:4]), path))
    rest(left_out, False)
    return trained


def prepare(network: Vae) -> None:
    """Make temporal layers and finest blocks do nothing at the start. The other blocks keep their initial weights."""
    silence(network.decoder)
    for block in finest(network):
        zero(block.conv2)
    nn.init.zeros_(network.decoder.time_conv_out.weight)
    for i, kernel in enumerate(network.decoder.time_conv_out.weight.data):
        kernel[i, 1] = 1  # the frame itself
    nn.init.zeros_(network.decoder.time_conv_out.bias)


def keep_levels(network: Vae) -> None:
    """Make the norms that every signal must pass keep the picture's brightness and contrast at the start.

    A narrow network's 32 groups have two channels each, so a GroupNorm removes the little that tells a pale picture
    from a dark one. A large gap between the two channels' biases dominates the group's statistics, so the picture's own
    level survives.
    """
    for bias in (
        network.encoder.mid_block.resnets[-1].conv2.bias,
        network.decoder.up_blocks[-1].resnets[0].spatial_res_block.conv_shortcut.bias,
    ):
        bias.data[1::2] += GAP


def finest(network: Vae) -> list[SpatialResBlock]:
    """The blocks at full resolution, which cost more than all others together."""
    late: list[SpatioTemporalResBlock] = list(network.decoder.up_blocks[-1].resnets)
    return [*network.encoder.down_blocks[0].resnets, *(block.spatial_res_block for block in late)]


def silent(network: Vae) -> list[SpatialResBlock]:
    """Those of the finest blocks that do nothing, because they were not trained yet."""
    return [block for block in finest(network) if not block.conv2.weight.any() and not block.conv2.bias.any()]


def rest(blocks: list[SpatialResBlock], idle: bool = True) -> None:
    """Leave these blocks out, or compute them again."""
    for block in blocks:
        block.idle = idle


def reconstruction(decoded: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of pixels and of their differences to the right and down, by weights [n, 1, H, W].

    The squared error of the patches' mean colours is added; without it, rare hues are learned late.
    """
    error = decoded - truth
    across, down = (error[..., 1:] - error[..., :-1]).abs(), (error[..., 1:, :] - error[..., :-1, :]).abs()
    edges = (across * weights[..., 1:]).mean() + (down * weights[..., 1:, :]).mean()
    colours = F.avg_pool2d(error, PATCH).square().mean()
    return (error.abs() * weights).mean() + EDGE * edges + COLOUR * colours


def colour_distance(latents: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """Squared distance of the first three latents from their patches' mean colours, in standard deviations.

    Without this term, the VAE spends its four channels on brightness, one hue and outlines, and never learns the second
    hue: the encoder drops it, so the decoder cannot use it, so the encoder has no reason to keep it.
    """
    axes = (OPPONENT / DEVIATION[:, None])[..., None, None].to(pictures.device)
    return (latents[:, :3] / ANCHORED - F.conv2d(F.avg_pool2d(pictures, PATCH), axes)).square().mean()


def batch(data: Drawn, rng: np.random.Generator, count: int, crop: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures [count, 3, s, s] and weights [count, 1, s, s]; most crops are around the puppet."""
    clips = rng.integers(len(data), size=count)
    frames = rng.integers(data.pictures.shape[1], size=count)
    pictures = bytes_to_tensor(data.pictures[clips, frames])
    weights = detail_weights(data, clips, frames)
    corners = np.clip(rng.normal((32, 32), (24, 24), (count, 2)), 0, SIZE - crop).astype(int).tolist()
    cut = [(slice(None), slice(y, y + crop), slice(x, x + crop)) for y, x in corners]
    return tuple(torch.stack([one[c] for one, c in zip(many, cut, strict=True)]) for many in (pictures, weights))


def detail_weights(data: Drawn, clips: Index, frames: Index, cell: int = 1) -> torch.Tensor:
    """How much each cell's error counts, by what is drawn in it: [n, 1, 128 / c, 128 / c] for n frames.

    It is 1, and more where a face's box or a hand's is, or where the pose has a limb or a finger: those are small.
    """
    poses, boxes = data.poses[clips, frames], data.boxes[clips, frames]
    lit = (poses.amax(dim=-1) >= LIT)[:, None].float()
    limbs = F.max_pool2d(lit, NEAR, 1, NEAR // 2) if cell == 1 else F.max_pool2d(lit, cell)
    right, left = (_inside(data.hands[clips, frames, i], cell) for i in range(2))
    return 1 + LIMB * limbs + FACE * _inside(boxes, cell) + HAND * torch.maximum(right, left)


def _inside(boxes: torch.Tensor, cell: int) -> torch.Tensor:
    """Boxes [n, 4] in pixels -> [n, 1, 128 / c, 128 / c]: 1 where one is, 0 elsewhere."""
    left, top, right, bottom = (boxes.long() // cell)[:, None, None].unbind(-1)
    at = torch.arange(SIZE // cell, device=boxes.device)
    rows, columns = at[:, None], at
    return ((rows >= top) & (rows <= bottom) & (columns >= left) & (columns <= right))[:, None].float()


def psnr(decoded: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean over pictures, in dB, of values in -1..1."""
    errors = F.mse_loss(decoded.clamp(-1, 1), truth, reduction="none").mean(dim=(1, 2, 3))
    return float((-10 * torch.log10(errors / 4)).mean())


def sharpness(found: torch.Tensor, truth: torch.Tensor) -> float:
    """The energy of the differences between neighbouring pixels, as a share of the truth's: below 1 if blurred."""

    def energy(pictures: torch.Tensor) -> torch.Tensor:
        return sum(pictures.clamp(-1, 1).diff(dim=axis).square().mean(dim=(1, 2, 3)) for axis in (2, 3))

    return float((energy(found) / energy(truth)).mean())


def decoded(network: Vae, latents: torch.Tensor) -> torch.Tensor:
    """Scaled latents of clips [B, T, 4, h, w] -> pictures [B T, 3, H, W]."""
    frames = latents.shape[1]
    return torch.cat([network.decoder(clip / network.scaling_factor, frames) for clip in latents])


def _show(network: Vae, pictures: torch.Tensor, path: Path) -> None:
    found = network.decoder(network.encode(pictures)[0], None)
    rows = zip(pictures.split(8), found.split(8), strict=True)
    grid([from_tensor(part) for row in rows for part in row]).save(path)


@torch.no_grad()
def latent_scale(network: Vae, data: Drawn, pictures: int = 256) -> float:
    """The scaling factor: one over the standard deviation of the latents of training pictures."""
    rng = np.random.default_rng(SEED)
    batches = [batch(data, rng, 16, SIZE)[0] for _ in range(pictures // 16)]
    return float(1 / torch.cat([network.encode(some)[0] for some in batches]).std())
