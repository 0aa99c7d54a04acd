"""sa-bench puppet-train: trains the puppet checkpoint, stage by stage. Every stage can be interrupted and resumed."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from sa.benchmarks.peers.networks.arcface import IResNet
from sa.benchmarks.puppet import CHECKPOINT
from sa.benchmarks.puppet.draw.clips import SIZE
from sa.benchmarks.puppet.networks.vae import Vae
from sa.benchmarks.puppet.training import diffusion, faces, judges, vae
from sa.benchmarks.puppet.training.album import Album, Drawing
from sa.benchmarks.puppet.training.examples import Drawn, Examples, encode
from sa.benchmarks.puppet.training.loop import LOG, best_of
from sa.benchmarks.puppet.training.machine import Machine
from sa.benchmarks.puppet.training.publish import (
    CONFIGS,
    VAE_CONFIG,
    publish,
    publish_configs,
    published,
    published_vae_config,
)
from sa.runtime.errors import InputError

CLIPS, HELD_OUT, FIRST_HELD_OUT = 3000, 40, 1000  # puppets 0, 1, ... of the held-out split are for the studies
LOGS = "training"  # folder of the checkpoint

Part = Literal["vae", "decoder", "animator"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Work:
    """A folder of states, logs, sheets and drawings, and the checkpoint that comes of them."""

    folder: Path
    machine: Machine
    workers: int  # processes that draw
    clips: int = CLIPS
    first: int = 0  # number of the first clip to learn from

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    @contextmanager
    def drawn(self) -> Iterator[tuple[Album, Drawn, Album, Drawn]]:
        """The training clips and the held-out ones, once they are drawn."""
        name = f"album-{self.first}" if self.first else "album"
        album = Album(self.folder / name, "train", self.clips, self.first)
        held_out = Album(self.folder / "held-out", "held-out", HELD_OUT, FIRST_HELD_OUT)
        with Drawing(held_out, self.workers) as few, Drawing(album, self.workers) as many:
            few.wait(self.machine)
            many.wait(self.machine)
        yield album, Drawn.load(album, self.machine), held_out, Drawn.load(held_out, self.machine)

    def vae(self) -> Vae:
        return published(self.checkpoint, "vae", Vae(published_vae_config(self.checkpoint)))

    def examples(self) -> tuple[Examples, Examples]:
        """The clips to learn from and the held-out clips, by the checkpoint's encoder and ArcFace."""
        encoder = self.vae()
        vae.rest(vae.silent(encoder))
        arcface = published(self.checkpoint, "arcface", _new_arcface())
        with self.drawn() as (album, drawn, held_album, held_drawn):
            return (
                encode(album, drawn, encoder, arcface, self.machine),
                encode(held_album, held_drawn, encoder, arcface, self.machine),
            )


def train(work: Work) -> None:
    """Train every part from nothing, and replace the repository's checkpoint with the result."""
    out = work.checkpoint
    with work.drawn() as (_, drawn, _, held_drawn):
        network = vae.new_vae(CONFIGS[VAE_CONFIG])
        vae.train_pictures(work.folder / "vae-pictures", network, vae.PICTURES, drawn, held_drawn, work.machine)
        _publish_vae(out, network, drawn)
        # This leaves the encoder as it is, so the animator can be trained before or after it.
        vae.train_frames(work.folder / "vae-frames", network, vae.FRAMES, drawn, held_drawn, work.machine)
        publish(out, "vae", network)
    for part, make in _RECOGNISERS.items():
        publish(out, part, make(work.folder / part.replace("_", "-"), work.machine.on_cpu()))
    torch.manual_seed(diffusion.SEED)
    animator = diffusion.Animator(CONFIGS)
    animator.prepare()
    examples, held_out = work.examples()
    diffusion.train_animator(
        work.folder / "animator", animator, work.vae(), examples, held_out, diffusion.SCHEDULE, work.machine
    )
    _publish_animator(out, animator)
    deliver(work.folder)


def train_more(work: Work, part: Part, steps: int | None = None) -> None:
    """Train one part of the checkpoint in `work` further, for so many steps or until the machine's time is over.

    The checkpoint is the repository's, unless `work` has one. Its weights are replaced by `publish_more`.
    """
    if not work.checkpoint.exists():
        unfinished = work.checkpoint.with_suffix(".partial")
        shutil.copytree(CHECKPOINT, unfinished, dirs_exist_ok=True)
        unfinished.rename(work.checkpoint)
    folder = _more(work.folder, part)
    if part == "animator":
        examples, held_out = work.examples()
        animator = _animator(work.checkpoint)
        schedule = replace(diffusion.MORE, steps=steps)
        diffusion.train_animator(folder, animator, work.vae(), examples, held_out, schedule, work.machine)
        return
    with work.drawn() as (_, drawn, _, held_drawn):
        run, schedule = {
            "vae": (partial(vae.train_pictures, crop=SIZE), vae.MORE_PICTURES),
            "decoder": (vae.train_frames, vae.MORE_FRAMES),
        }[part]
        run(folder, work.vae(), replace(schedule, steps=steps), drawn, held_drawn, work.machine)


def publish_more(work: Work, part: Part, share: float = 1.0) -> None:
    """Put the best weights of a part's further training into the checkpoint in `work`, in the place of the old ones.

    With a `share` below 1 they stay between the old and the new ones (Wortsman et al. 2022, "Robust fine-tuning of
    zero-shot models"). The part's further training ends with it: its states are set aside, and would begin anew.
    """
    if not 0 < share <= 1:
        raise InputError(f"--share {share:g}: expected a number above 0 and at most 1; 1 takes the new weights alone.")
    folder = _more(work.folder, part)
    best = best_of(folder)
    if best is None:
        raise InputError(f"{folder} holds no weights yet: expected those of --more {part}; train it first.")
    if part == "animator":
        animator = _animator(work.checkpoint)
        animator.load_state_dict(_between(animator.state_dict(), best, share))
        _publish_animator(work.checkpoint, animator)
    else:
        network = work.vae()
        network.load_state_dict(_between(network.state_dict(), best, share))
        if part == "vae":
            with work.drawn() as (_, drawn, _, _):
                _publish_vae(work.checkpoint, network.to(work.machine.device), drawn)
        else:
            publish(work.checkpoint, "vae", network)
    number = 1 + sum(1 for _ in (work.checkpoint / LOGS).glob(f"{folder.name}.*.csv"))  # of earlier work folders, too
    folder.rename(folder.with_name(f"{folder.name}.{number}"))
    _keep_logs(work.folder)


def _between(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    return {name: torch.lerp(old[name], value, share) for name, value in new.items()}


def deliver(work: Path) -> None:
    """Replace the repository's checkpoint with the one in `work`, logs included."""
    _keep_logs(work)
    written_by_hand = shutil.ignore_patterns("README.md")
    shutil.copytree(work / "checkpoint", CHECKPOINT, ignore=written_by_hand, dirs_exist_ok=True)
    print(f"the checkpoint is in {CHECKPOINT}")


def _new_arcface() -> IResNet:
    return IResNet(faces.BLOCKS, faces.WIDTH, faces.FEATURES)


_RECOGNISERS: dict[str, Callable[[Path, Machine], nn.Module]] = {
    "arcface": faces.train_arcface,
    "second_embedder": judges.train_second_embedder,
    "joint_finder": judges.train_joint_finder,
}


def _animator(checkpoint: Path) -> diffusion.Animator:
    animator = diffusion.Animator(CONFIGS)
    for part in diffusion.PARTS:
        published(checkpoint, part, getattr(animator, part))
    return animator


def _publish_animator(checkpoint: Path, animator: diffusion.Animator) -> None:
    for part in diffusion.PARTS:
        publish(checkpoint, part, getattr(animator, part))


def _publish_vae(checkpoint: Path, network: Vae, drawn: Drawn) -> None:
    publish_configs(checkpoint, vae.latent_scale(network, drawn))
    publish(checkpoint, "vae", network)


def _more(work: Path, part: Part) -> Path:
    return work / f"{part}-more"


def _keep_logs(work: Path) -> None:
    unpublished = {_more(work, part) for part in PARTS}
    for log in sorted(work.glob(f"*/{LOG}")):
        if log.parent in unpublished:
            continue
        kept = work / "checkpoint" / LOGS / f"{log.parent.name}.csv"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(log, kept)
