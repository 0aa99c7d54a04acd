"""sa-bench puppet-train: trains the puppet checkpoint, stage by stage. Every stage can be interrupted and resumed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from sa.benchmarks.peers.networks import vae as vae_peer
from sa.benchmarks.peers.networks.arcface import IResNet
from sa.benchmarks.puppet import CHECKPOINT
from sa.benchmarks.puppet.training import diffusion, faces, judges, vae
from sa.benchmarks.puppet.training.examples import Examples, make_examples
from sa.benchmarks.puppet.training.loop import LOG, Schedule
from sa.benchmarks.puppet.training.publish import (
    CONFIGS,
    VAE_CONFIG,
    publish,
    publish_configs,
    published,
    published_vae_config,
)

STILLS, STILL_FRAMES = 1600, 4
CLIPS, CLIP_FRAMES = 200, 9
HELD_OUT = 24
LOGS = "training"  # folder of the checkpoint


def train(work: Path, threads: int, more: int | None) -> None:
    """Run every stage, or only `more` further steps on clips, and replace the repository's checkpoint with the result.

    States, logs and sheets are kept in `work`. `threads` are PyTorch's.
    """
    torch.set_num_threads(threads)
    if more:
        _more(work, more)
    else:
        _all(work)


def _all(work: Path) -> None:
    out = work / "checkpoint"
    network = vae.train_pictures(work / "vae-pictures", CONFIGS[VAE_CONFIG])
    publish_configs(out, vae.latent_scale(network))
    publish(out, "vae", network)
    arcface = faces.train_arcface(work / "arcface")
    publish(out, "arcface", arcface)

    examples = _examples(work, out)
    torch.manual_seed(diffusion.SEED)
    animator = diffusion.Animator(CONFIGS)
    animator.prepare()
    stills = examples("stills", "train", 0, STILLS, True, STILL_FRAMES)
    held_out = examples("held-out-stills", "held-out", 0, HELD_OUT, True, 2)
    decoder = _vae(out)
    diffusion.train_pictures(work / "diffusion-pictures", animator, decoder, stills, held_out)
    _publish_animator(out, animator)
    diffusion.train_clips(work / "diffusion-clips", animator, decoder, *_clips(examples))
    _publish_animator(out, animator)

    # This leaves the encoder as it is, so it can come last.
    publish(out, "vae", vae.train_frames(work / "vae-frames", network))
    publish(out, "second_embedder", judges.train_second_embedder(work / "second-embedder"))
    publish(out, "joint_finder", judges.train_joint_finder(work / "joint-finder"))
    _deliver(work)


def _more(work: Path, steps: int) -> None:
    out = work / "checkpoint"
    shutil.copytree(CHECKPOINT, out, dirs_exist_ok=True)
    animator = diffusion.Animator(CONFIGS)
    for part in diffusion.PARTS:
        published(CHECKPOINT, part, getattr(animator, part))
    schedule = Schedule(steps, diffusion.CLIPS.peak)
    diffusion.train_clips(work / "diffusion-more", animator, _vae(out), *_clips(_examples(work, out)), schedule)
    _publish_animator(out, animator)
    _deliver(work)


def _vae(checkpoint: Path) -> nn.Module:
    return published(checkpoint, "vae", vae_peer.build(published_vae_config(checkpoint)))


def _examples(work: Path, checkpoint: Path) -> Callable[..., Examples]:
    """A function examples(name, split, first, count, apart, frames) that uses the published encoder and ArcFace."""
    encoder = _vae(checkpoint)
    arcface = published(checkpoint, "arcface", IResNet(faces.BLOCKS, faces.WIDTH, faces.FEATURES))

    def examples(name: str, *which: object) -> Examples:
        with vae.without_finest(encoder):
            return make_examples(work / name, *which, encoder, arcface)

    return examples


def _clips(examples: Callable[..., Examples]) -> tuple[Examples, Examples]:
    """The clips to learn from, and held-out clips."""
    learned = examples("clips", "train", STILLS, CLIPS, False, CLIP_FRAMES)
    return learned, examples("held-out-clips", "held-out", 0, HELD_OUT, False, CLIP_FRAMES)


def _publish_animator(checkpoint: Path, animator: diffusion.Animator) -> None:
    for part in diffusion.PARTS:
        publish(checkpoint, part, getattr(animator, part))


def _deliver(work: Path) -> None:
    """Copy weights and logs into the repository."""
    for log in sorted(work.glob(f"*/{LOG}")):
        kept = work / "checkpoint" / LOGS / f"{log.parent.name}.csv"
        kept.parent.mkdir(exist_ok=True)
        shutil.copy(log, kept)
    shutil.copytree(work / "checkpoint", CHECKPOINT, dirs_exist_ok=True)
    print(f"the checkpoint is in {CHECKPOINT}")
