"""The published StableAnimator code, unchanged, from a checkout that the user names. It needs CUDA.

This has not run yet. Tests use a checkout of stand-ins on a CPU: they check the inputs, their order and the outputs.

The networks are built as in inference_op.py, in float32. The decoder is diffusers' own, as in inference_basic.py. The
weights come from the checkpoint and are read without executing a pickle. The published code needs xformers and
diffusers 0.27 to 0.32, so it takes an environment with those and this project.
"""

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from sa.benchmarks.peers.contracts import contract
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.runtime.backends.base import Engine
from sa.runtime.contract import Role, Shapes
from sa.runtime.errors import InputError, UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

DEVICE = "cuda"
ROLES: tuple[Role, ...] = ("unet", "vae_decoder", "pose_net")
MODULES = ("unet", "pose_net", "attention_processor", "attention_processor_normalized")


def require_upstream(folder: Path) -> None:
    """InputError if this machine has no CUDA for PyTorch, or the folder is not a checkout."""
    if not cuda_is_there():
        raise InputError(
            f"--peer upstream:{folder} needs an NVIDIA GPU and a PyTorch built for CUDA, which this machine does not "
            "have: leave it out, or measure it where they are."
        )
    for name in MODULES:
        path = folder / "animation" / "modules" / f"{name}.py"
        if not path.is_file():
            raise InputError(
                f"--peer upstream:{folder} is no checkout of StableAnimator, {path} is missing: give the folder that "
                "`git clone https://github.com/Francis-Rings/StableAnimator` makes."
            )


def cuda_is_there() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def open_upstream(folder: Path, checkpoint: Checkpoint, role: Role, shapes: Shapes) -> Engine:
    """One network of the published code on the GPU; UserError for a role not offered or code that cannot be loaded."""
    if role not in ROLES:
        raise UserError(f"the upstream peer offers {', '.join(ROLES)}, not {role}.")
    from sa.benchmarks.peers.torch_engine import TorchEngine

    if role == "vae_decoder":
        from sa.benchmarks.peers.load import network

        module = network("vae_decoder", checkpoint).to(DEVICE)
    else:
        module = {"unet": _unet, "pose_net": _pose_net}[role](folder, checkpoint)
    return TorchEngine(contract(role, checkpoint, shapes), module, DEVICE)


def _unet(folder: Path, checkpoint: Checkpoint) -> Callable[..., "torch.Tensor"]:
    from sa.benchmarks.peers.load import loaded

    unet = loaded("unet", checkpoint, build=lambda checkpoint: _build_unet(folder, checkpoint)).to(DEVICE)

    def velocity(
        sample: "torch.Tensor",
        timestep: "torch.Tensor",
        added_time_ids: "torch.Tensor",
        encoder_hidden_states: "torch.Tensor",
        pose_latents: "torch.Tensor",
    ) -> "torch.Tensor":
        return unet(
            sample,
            timestep,
            encoder_hidden_states=encoder_hidden_states,
            added_time_ids=added_time_ids.expand(sample.shape[0], -1),
            pose_latents=pose_latents.flatten(0, 1),
            image_only_indicator=False,
            return_dict=False,
        )[0]

    return velocity


def _build_unet(folder: Path, checkpoint: Checkpoint) -> "nn.Module":
    """The published UNet, with the attention processors that the published scripts set."""
    from diffusers.models.attention_processor import XFormersAttnProcessor

    config = json.loads((checkpoint.svd / "unet" / "config.json").read_text())
    unet = _published(folder, "unet").UNetSpatioTemporalConditionModel.from_config(config)
    plain = _published(folder, "attention_processor").AnimationAttnProcessor
    identity = _published(folder, "attention_processor_normalized").AnimationIDAttnNormalizedProcessor

    def processor(name: str) -> object:
        attention = unet.get_submodule(name.removesuffix(".processor"))
        width = attention.to_q.out_features
        if "temporal_transformer_blocks" in name:
            return XFormersAttnProcessor()
        if name.endswith("attn1.processor"):
            return plain(hidden_size=width, cross_attention_dim=None)
        return identity(hidden_size=width, cross_attention_dim=attention.to_k.in_features)

    unet.set_attn_processor({name: processor(name) for name in unet.attn_processors})
    return unet


def _pose_net(folder: Path, checkpoint: Checkpoint) -> "nn.Module":
    from sa.benchmarks.peers.load import loaded

    def build(checkpoint: Checkpoint) -> "nn.Module":
        width = checkpoint.unet.block_out_channels[0]
        return _published(folder, "pose_net").PoseNet(noise_latent_channels=width)

    return loaded("pose_net", checkpoint, build=build).to(DEVICE)


def _published(folder: Path, name: str) -> ModuleType:
    """Import animation/modules/NAME.py of the checkout as its own scripts do."""
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.insert(0, place)
    try:
        return importlib.import_module(f"animation.modules.{name}")
    except Exception as error:  # whatever it is: without xformers, the published code divides by zero
        said = " ".join(str(error).split())
        raise UserError(
            f"animation/modules/{name}.py of {folder} cannot be imported ({type(error).__name__}: {said}): install "
            "what the published code needs into this environment, xformers and diffusers 0.27 to 0.32 among it."
        ) from error
