"""The UNet of ppdiffusers behind the engine protocol, with a checkpoint's weights."""

import json

import numpy as np
import paddle
from paddle import nn

from sa.benchmarks.peers.contracts import contract
from sa.benchmarks.peers.networks.ppdiffusers_unet import build
from sa.benchmarks.peers.paddle_engine import PaddleEngine, use_cpu
from sa.export.checkpoint.checkpoint import Checkpoint, Slot
from sa.runtime.contract import Role, Shapes
from sa.runtime.errors import UserError


def open_ppdiffusers(
    checkpoint: Checkpoint, role: Role, shapes: Shapes, threads: int | None, device: str
) -> PaddleEngine:
    """UserError for a role other than the UNet or a device other than the CPU."""
    if role != "unet":
        raise UserError(f"the ppdiffusers peer offers unet, not {role}.")
    if device != "cpu":
        raise UserError("the ppdiffusers peer runs on CPUs alone: leave it out, or measure with --device cpu.")
    use_cpu(threads)
    return PaddleEngine(contract(role, checkpoint, shapes), loaded(checkpoint))


def loaded(checkpoint: Checkpoint) -> nn.Layer:
    """The UNet with its weights, float32, in evaluation mode; InputError if they do not fit.

    The weights take memory once: the network is built without, and each parameter gets it with its value.
    """
    config = json.loads((checkpoint.svd / "unet" / "config.json").read_text())
    with paddle.LazyGuard():
        network = build(config)
    parameters = dict(network.named_parameters())
    for name, value in checkpoint.weights("unet", _slots(network)).each(parameters):
        parameters[name].set_value(np.ascontiguousarray(value))
    network.eval()
    return network


def _slots(network: nn.Layer) -> dict[str, Slot]:
    """The tensors that the network expects in a checkpoint; Paddle's Linear weights are [in, out]."""
    linear = {f"{name}.weight" for name, layer in network.named_sublayers() if isinstance(layer, nn.Linear)}
    return {
        name: Slot(tuple(parameter.shape[::-1] if name in linear else parameter.shape), name in linear)
        for name, parameter in network.named_parameters()
    }
