"""Teach the puppet checkpoint:  python -m sa.benchmarks.puppet.training [--work DIR] [--threads N]

Runs the stages in order, each from where it was interrupted, and puts the weights of each finished one into the
checkpoint. States, logs and sample sheets are kept in the work folder. To teach a stage anew, remove its folder there,
and those of the stages after it.
"""

import argparse
from pathlib import Path

import torch

from sa.benchmarks.peers import vae as vae_peer
from sa.benchmarks.puppet.training import diffusion, faces, judges, vae
from sa.benchmarks.puppet.training.examples import Examples, make_examples
from sa.benchmarks.puppet.training.publish import CONFIGS, VAE_CONFIG, publish, publish_configs

STILLS, STILL_FRAMES = 1600, 4
CLIPS, CLIP_FRAMES = 200, 9
HELD_OUT = 24
DIFFUSION_PARTS = ("unet", "pose_net", "face_encoder", "image_encoder")


def main() -> None:
    parser = argparse.ArgumentParser("puppet", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(".cache/puppet"), help="states, logs, sheets, examples")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    work = arguments.work

    network = vae.train_pictures(work / "vae-pictures", CONFIGS[VAE_CONFIG])
    network = vae.train_frames(work / "vae-frames", network)
    scale = vae.latent_scale(network)
    publish_configs(scale)
    publish("vae", network)
    scaled = vae_peer.build({**CONFIGS[VAE_CONFIG], "scaling_factor": scale})
    scaled.load_state_dict(network.state_dict())

    arcface = faces.train_arcface(work / "arcface")
    publish("arcface", arcface)

    def examples(name: str, *which: object) -> Examples:
        with vae.without_finest(scaled):
            return make_examples(work / name, *which, scaled.eval(), arcface)

    held_stills = examples("held-out-stills", "held-out", 0, HELD_OUT, True, 2)
    held_clips = examples("held-out-clips", "held-out", 0, HELD_OUT, False, CLIP_FRAMES)
    stills = examples("stills", "train", 0, STILLS, True, STILL_FRAMES)
    torch.manual_seed(diffusion.SEED)
    animator = diffusion.Animator(CONFIGS)
    animator.prepare()
    diffusion.train_pictures(work / "diffusion-pictures", animator, scaled, stills, held_stills)
    _publish(animator)
    clips = examples("clips", "train", STILLS, CLIPS, False, CLIP_FRAMES)
    diffusion.train_clips(work / "diffusion-clips", animator, scaled, clips, held_clips)
    _publish(animator)
    publish("second_embedder", judges.train_second_embedder(work / "second-embedder"))
    publish("joint_finder", judges.train_joint_finder(work / "joint-finder"))


def _publish(animator: diffusion.Animator) -> None:
    for part in DIFFUSION_PARTS:
        publish(part, getattr(animator, part))


if __name__ == "__main__":
    main()
