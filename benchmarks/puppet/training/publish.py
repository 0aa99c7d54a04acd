"""Writes and reads the puppet's checkpoint folder: StableAnimator's published layout, float16."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sa.benchmarks.fixtures.layout import PLACES, configs, write_configs

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


def publish_configs(checkpoint: Path, scaling_factor: float) -> None:
    write_configs(checkpoint, {**CONFIGS, VAE_CONFIG: {**CONFIGS[VAE_CONFIG], "scaling_factor": scaling_factor}})


def published_vae_config(checkpoint: Path) -> dict:
    return json.loads((checkpoint / "SVD" / VAE_CONFIG).read_text())


def publish(checkpoint: Path, part: str, network: nn.Module) -> None:
    """Write a network's weights to its place in a checkpoint folder."""
    path = _place(checkpoint, part)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().cpu().contiguous() for name, value in _weights(network).items()}
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    os.replace(partial, path)


def published(checkpoint: Path, part: str, network: nn.Module) -> nn.Module:
    """`network` with the weights of a checkpoint folder, frozen."""
    state = {name: value.float() for name, value in load_file(_place(checkpoint, part)).items()}
    counters = {name: value for name, value in network.state_dict().items() if name not in _weights(network)}
    network.load_state_dict(state | counters)
    return network.eval().requires_grad_(False)


def _weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """All but BatchNorm's counters, which no checkpoint needs."""
    return {name: value for name, value in network.state_dict().items() if value.dtype.is_floating_point}


def _place(checkpoint: Path, part: str) -> Path:
    """Where a part's weights are. The judges are not part of the published layout, so they are beside it."""
    return checkpoint / PLACES.get(part, f"{part}.safetensors")
