"""The puppet's checkpoint folder: StableAnimator's published layout, float16."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sa.benchmarks.checkpoints import PLACES, configs, write_configs
from sa.export.checkpoint import IGNORED_SUFFIXES

CHECKPOINT = Path(__file__).parents[1] / "checkpoint"
CONFIGS = configs(
    unet_widths=(64, 64, 64, 64),
    unet_heads=(2, 2, 2, 2),
    cross_attention=64,
    vae_widths=(64, 32, 64, 64),
    clip_width=64,
    clip_layers=2,
    clip_heads=2,
    layers=1,
)
VAE_CONFIG = "vae/config.json"


def publish_configs(scaling_factor: float) -> None:
    files = {**CONFIGS, VAE_CONFIG: {**CONFIGS[VAE_CONFIG], "scaling_factor": scaling_factor}}
    write_configs(CHECKPOINT, files)


def scaling_factor() -> float:
    return json.loads((CHECKPOINT / "SVD" / VAE_CONFIG).read_text())["scaling_factor"]


def publish(part: str, network: nn.Module) -> None:
    """Write a network's weights to its place in the checkpoint; what is no part of the published layout by its name."""
    path = _place(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.to(torch.float16).contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith(IGNORED_SUFFIXES)
    }
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    os.replace(partial, path)


def published(part: str, network: nn.Module) -> nn.Module:
    """`network` with the checkpoint's weights, frozen."""
    state = {name: value.float() for name, value in load_file(_place(part)).items()}
    kept = {name: value for name, value in network.state_dict().items() if name.endswith(IGNORED_SUFFIXES)}
    network.load_state_dict(state | kept)
    return network.eval().requires_grad_(False)


def is_published(part: str) -> bool:
    return _place(part).exists()


def _place(part: str) -> Path:
    return CHECKPOINT / PLACES.get(part, f"{part}.safetensors")
