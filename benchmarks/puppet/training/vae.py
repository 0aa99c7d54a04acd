"""Trains the temporal VAE as Stable Video Diffusion's was: on single pictures, then the decoder's temporal layers."""

import contextlib
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder
from diffusers.models.resnet import ResnetBlock2D, SpatioTemporalResBlock
from torch import nn
from torch.nn import functional as F

from sa.benchmarks.peers.networks import vae
from sa.benchmarks.puppet.draw.clips import SIZE, Clip, clip
from sa.benchmarks.puppet.draw.sample_sheet import grid
from sa.benchmarks.puppet.training.loop import Schedule, Stage
from sa.benchmarks.puppet.training.pixels import from_tensor, to_tensor
from sa.benchmarks.puppet.training.temporal import replaced, silence, without_time

SEED = 11
PUPPETS = 100_000  # training puppets a batch is drawn from
PICTURES = Schedule(steps=1400, peak=0.01)
BATCH, CROP = 8, 64
FRAMES = Schedule(steps=100, peak=0.002, warm_up=20)
CHUNK = 4  # frames decoded at once
GAP = 6.0
KL = 2e-5  # weight of the divergence per latent number, beside the mean absolute error per pixel
EDGE = 1.0
COLOUR, PATCH = 4.0, 8
FACE = 2.0  # extra weight of the face's box
ANCHOR, ANCHORED = 0.1, 2.0  # weight of the latents' agreement with colours, and the deviation they get
# Brightness, blue against orange, green against magenta, each by its deviation among the puppets' patches.
OPPONENT = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [-0.5, 0, 0.5], [-0.25, 0.5, -0.25]])
DEVIATION = torch.tensor([0.33, 0.18, 0.13])
HELD_OUT = [clip("held-out", 1000 + number) for number in range(16)]


def train_pictures(folder: Path, config: dict) -> AutoencoderKLTemporalDecoder:
    """Encoder and spatial decoder, on crops of single pictures."""
    torch.manual_seed(SEED)
    network = vae.build({**config, "scaling_factor": 1.0})
    prepare(network)
    keep_levels(network)
    held_out = to_tensor([one.picture(0) for one in HELD_OUT])
    stage = Stage(folder, network, PICTURES, SEED)

    def loss(rng: np.random.Generator) -> torch.Tensor:
        pictures, weights = batch(rng, BATCH, CROP)
        posterior = network.encode(pictures).latent_dist
        noise = torch.from_numpy(rng.standard_normal(posterior.mean.shape, np.float32))
        decoded = decode(network, posterior.mean + posterior.std * noise, 1)
        return (
            reconstruction(decoded, pictures, weights)
            + ANCHOR * colour_distance(posterior.mean, pictures)
            + KL * posterior.kl().mean() / posterior.mean[0].numel()
        )

    with without_time(network.decoder), without_finest(network):
        return stage.run(
            loss,
            lambda: {"psnr": psnr(decode(network, network.encode(held_out).latent_dist.mode(), 1), held_out)},
            lambda path: _show(network, held_out, path),
        )


def train_frames(folder: Path, network: AutoencoderKLTemporalDecoder) -> AutoencoderKLTemporalDecoder:
    """The decoder's temporal layers, on chunks of frames; all else is frozen."""
    network.requires_grad_(False)
    for name, parameter in network.decoder.named_parameters():
        parameter.requires_grad_("temporal" in name or "time" in name)
    held_out = [to_tensor([one.picture(frame) for frame in range(CHUNK)]) for one in HELD_OUT[:8]]
    latents = [network.encode(frames).latent_dist.mode() for frames in held_out]
    network.eval()

    def loss(rng: np.random.Generator) -> torch.Tensor:
        one, first = _random_clip(rng), int(rng.integers(0, 200))
        frames = to_tensor([one.picture(first + i) for i in range(CHUNK)])
        weights = face_weights([one] * CHUNK, [first + i for i in range(CHUNK)])
        with torch.no_grad():
            posterior = network.encode(frames).latent_dist
        noise = torch.from_numpy(rng.standard_normal(posterior.mean.shape, np.float32))
        # PyTorch 2.13 crashes in a GroupNorm's backward pass if its weights need a gradient and its input does not.
        latents = (posterior.mean + posterior.std * noise).requires_grad_()
        return reconstruction(decode(network, latents, CHUNK), frames, weights)

    def check() -> dict[str, float]:
        decoded = [decode(network, z, CHUNK) for z in latents]
        pairs = list(zip(decoded, held_out, strict=True))
        change = [((d[1:] - d[:-1]) - (t[1:] - t[:-1])).abs().mean().item() for d, t in pairs]
        return {"psnr": float(np.mean([psnr(d, t) for d, t in pairs])), "flicker": float(np.mean(change))}

    with without_finest(network):
        return Stage(folder, network, FRAMES, SEED + 1, check_every=50).run(
            loss, check, lambda path: _show(network, torch.cat(held_out[:4]), path)
        )


def prepare(network: AutoencoderKLTemporalDecoder) -> None:
    """Make temporal layers and finest blocks do nothing at the start. The other blocks keep their initial weights."""
    silence(network.decoder)
    for block in finest(network):
        for parameter in _spatial(block).conv2.parameters():
            nn.init.zeros_(parameter)
    nn.init.dirac_(network.decoder.time_conv_out.weight)
    nn.init.zeros_(network.decoder.time_conv_out.bias)


def keep_levels(network: AutoencoderKLTemporalDecoder) -> None:
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


def finest(network: AutoencoderKLTemporalDecoder) -> list[nn.Module]:
    """The blocks at full resolution, which cost more than all others together."""
    return [*network.encoder.down_blocks[0].resnets, *network.decoder.up_blocks[-1].resnets]


def without_finest(network: AutoencoderKLTemporalDecoder) -> contextlib.AbstractContextManager:
    """Within the block the finest blocks only pass their input on, as they do while they are silent."""
    return replaced(finest(network), _passed)


def _passed(block: nn.Module, hidden: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    shortcut = _spatial(block).conv_shortcut
    return hidden if shortcut is None else shortcut(hidden)


def _spatial(block: nn.Module) -> ResnetBlock2D:
    return block.spatial_res_block if isinstance(block, SpatioTemporalResBlock) else block


def decode(network: AutoencoderKLTemporalDecoder, latents: torch.Tensor, frames: int) -> torch.Tensor:
    """Unscaled latents [n, 4, h, w], in chunks of `frames` of one video -> [n, 3, 8h, 8w]."""
    video = latents.new_zeros(len(latents) // frames, frames)
    return network.decoder(latents, image_only_indicator=video, num_frames=frames)


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
    axes = (OPPONENT / DEVIATION[:, None])[..., None, None]
    return (latents[:, :3] / ANCHORED - F.conv2d(F.avg_pool2d(pictures, PATCH), axes)).square().mean()


def _random_clip(rng: np.random.Generator) -> Clip:
    return clip("train", int(rng.integers(PUPPETS)))


def batch(rng: np.random.Generator, count: int, crop: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures [count, 3, s, s] and weights [count, 1, s, s]; most crops are around the puppet."""
    clips, frames = [_random_clip(rng) for _ in range(count)], rng.integers(0, 200, count).tolist()
    pictures = to_tensor([one.picture(frame) for one, frame in zip(clips, frames, strict=True)])
    weights = face_weights(clips, frames)
    corners = np.clip(rng.normal((32, 32), (24, 24), (count, 2)), 0, SIZE - crop).astype(int)
    cut = [(slice(None), slice(y, y + crop), slice(x, x + crop)) for y, x in corners]
    return tuple(torch.stack([one[c] for one, c in zip(many, cut, strict=True)]) for many in (pictures, weights))


def face_weights(clips: list[Clip], frames: list[int]) -> torch.Tensor:
    """[n, 1, 128, 128]: 1, and more in the face's box."""
    weights = torch.ones(len(clips), 1, SIZE, SIZE)
    for weight, one, frame in zip(weights, clips, frames, strict=True):
        left, top, right, bottom = one.face_box(frame)
        weight[:, top : bottom + 1, left : right + 1] += FACE
    return weights


def psnr(decoded: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean over pictures, in dB, of values in -1..1."""
    errors = F.mse_loss(decoded.clamp(-1, 1), truth, reduction="none").mean(dim=(1, 2, 3))
    return float((-10 * torch.log10(errors / 4)).mean())


def _show(network: AutoencoderKLTemporalDecoder, pictures: torch.Tensor, path: Path) -> None:
    decoded = decode(network, network.encode(pictures).latent_dist.mode(), 1)
    rows = zip(pictures.split(8), decoded.split(8), strict=True)
    grid([from_tensor(part) for row in rows for part in row]).save(path)


def latent_scale(network: AutoencoderKLTemporalDecoder, pictures: int = 256) -> float:
    """The scaling factor: one over the standard deviation of the latents of training pictures."""
    rng = np.random.default_rng(SEED)
    batches = [batch(rng, 16, SIZE)[0] for _ in range(pictures // 16)]
    with torch.no_grad():
        return float(1 / torch.cat([network.encode(some).latent_dist.mode() for some in batches]).std())
