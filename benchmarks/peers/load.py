"""Builds a peer's network without memory, then loads the checkpoint's weights into it."""

import json
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

from sa.benchmarks.peers.contracts import PARTS
from sa.benchmarks.peers.networks import arcface, face_encoder, image_encoder, pose_net, unet, vae
from sa.export.checkpoint.checkpoint import IGNORED_SUFFIXES, Checkpoint, Part, Slot
from sa.runtime.contract import Role


def network(role: Role, checkpoint: Checkpoint) -> nn.Module:
    """The network of a role with its weights, float32, in evaluation mode and frozen; InputError if they do not fit."""
    if role == "vae_encoder":
        return loaded("vae", checkpoint, vae.VaeEncoder)
    if role == "vae_decoder":
        return loaded("vae", checkpoint, vae.VaeDecoder)
    return loaded(PARTS[role], checkpoint)


def loaded(
    part: Part,
    checkpoint: Checkpoint,
    of: Callable[[nn.Module], nn.Module] = lambda whole: whole,
    build: Callable[[Checkpoint], nn.Module] | None = None,
) -> nn.Module:
    """The network of a checkpoint's part, or the piece of it that `of` returns; weights of the rest are not read.

    `build` makes another network with the same parameters, to use in place of the peer's own. The weights take memory
    once: the network is built on PyTorch's meta device, and the tensors that are read become its parameters.
    """
    whole = _described(build or (lambda checkpoint: _build(part, checkpoint)), checkpoint)
    weights = checkpoint.weights(part, _slots(whole))
    chosen = of(whole)
    linear = _linear(chosen)
    tensors = {
        # Copied, because the file's pages are released. `each` yields a Linear's weight as [in, out].
        name: torch.from_numpy(np.array(value.T if name in linear else value, order="C"))
        for name, value in weights.each(_names(chosen))
    }
    chosen.load_state_dict(tensors, strict=True, assign=True)
    return chosen.eval().requires_grad_(False)


def expected(part: Part, checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that the part's network takes from a checkpoint; only its config is read."""
    whole = _described(lambda checkpoint: _build(part, checkpoint), checkpoint)
    return {name: slot.shape for name, slot in _slots(whole).items()}


def _described(build: Callable[[Checkpoint], nn.Module], checkpoint: Checkpoint) -> nn.Module:
    """A network without memory for its parameters."""
    with torch.device("meta"):
        return build(checkpoint)


def _build(part: Part, checkpoint: Checkpoint) -> nn.Module:
    if part == "face_encoder":
        return face_encoder.FusionFaceId(checkpoint.unet.cross_attention_dim)
    if part == "pose_net":
        return pose_net.PoseNet(checkpoint.unet.block_out_channels[0])
    if part == "arcface":
        return arcface.build({name: tensor.shape for name, tensor in checkpoint.tensors("arcface").items()})
    config = json.loads((checkpoint.svd / part / "config.json").read_text())
    return {"unet": unet, "vae": vae, "image_encoder": image_encoder}[part].build(config)


def _names(module: nn.Module) -> Iterable[str]:
    return (name for name in module.state_dict() if not name.endswith(IGNORED_SUFFIXES))


def _linear(module: nn.Module) -> set[str]:
    return {f"{name}.weight" for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}


def _slots(module: nn.Module) -> dict[str, Slot]:
    """The tensors that the network expects in a checkpoint."""
    state, linear = module.state_dict(), _linear(module)
    return {name: Slot(tuple(state[name].shape), name in linear) for name in _names(module)}
