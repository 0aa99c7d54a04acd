"""What test_ppdiffusers.py runs in the environment of ppdiffusers: python in_ppdiffusers.py FUNCTION ARGUMENTS."""

import sys
from pathlib import Path

import numpy as np
import paddle
from golden_checks import check_every_stored_call
from paddle import nn
from ppdiffusers import DiffusionPipeline
from ppdiffusers.models.attention_processor import AttnProcessor
from shared import golden_case

from sa.benchmarks.peers import open_peer
from sa.benchmarks.peers.networks.ppdiffusers_unet import TemporalAttention, UNet
from sa.benchmarks.peers.ppdiffusers_engine import loaded
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.runtime.backends.composed.plain_unet import PlainUNet
from sa.runtime.contract import Shapes
from sa.runtime.errors import UserError


def golden_calls(case: str, checkpoint: str) -> None:
    """As it is, and with Paddle's GroupNorm given values without a mean: its kernel takes E[x^2] - E[x]^2."""
    data = golden_case(case)
    p = data.parameters
    shapes = Shapes(height=p.height, width=p.width, tile_size=p.tile_size, decode_chunk=p.chunk)

    def check(tolerance: float) -> None:
        unet = PlainUNet(open_peer("ppdiffusers", Path(checkpoint), "unet", shapes))
        check_every_stored_call(data, unet, tolerance)

    check(1e-3)
    kernel = nn.GroupNorm.forward

    def centred(norm: nn.GroupNorm, x: paddle.Tensor) -> paddle.Tensor:
        groups = x.reshape([len(x), norm._num_groups, -1])
        return kernel(norm, (groups - groups.mean(axis=-1, keepdim=True)).reshape(x.shape))

    nn.GroupNorm.forward = centred
    check(1e-4)


def velocities(checkpoint: str, inputs: str, outputs: str) -> None:
    """The velocities of a call, the peer's and those of ppdiffusers' own temporal processors, at once and in turns."""
    with np.load(inputs) as archive:
        tensors = {name: paddle.to_tensor(archive[name]) for name in archive.files}
    network = loaded(Checkpoint(Path(checkpoint)))
    found = {"peer": _velocity(network, tensors)}
    for layer in network.sublayers():
        if isinstance(getattr(layer, "processor", None), TemporalAttention):
            layer.set_processor(AttnProcessor())
    found["theirs"] = _velocity(network, tensors)
    shared = ("timestep", "added_time_ids")
    branches = [
        {name: value if name in shared else value[i : i + 1] for name, value in tensors.items()} for i in range(2)
    ]
    found["theirs_apart"] = np.concatenate([_velocity(network, branch) for branch in branches])
    np.savez(outputs, **found)


def _velocity(network: UNet, inputs: dict[str, paddle.Tensor]) -> np.ndarray:
    with paddle.no_grad():
        return network(**inputs).numpy()


class Pipeline(DiffusionPipeline):
    def __init__(self, unet: UNet):
        super().__init__()
        self.register_modules(unet=unet)


def paddle_dtype(checkpoint: str) -> None:
    """What a pipeline says to `to(paddle_dtype=...)`."""
    try:
        Pipeline(loaded(Checkpoint(Path(checkpoint)))).to(paddle_dtype=paddle.float16)
    except ValueError as error:
        print(error)


def refusals(checkpoint: str) -> None:
    shapes = Shapes(height=64, width=64, tile_size=2, decode_chunk=1)
    for role, device in (("pose_net", "cpu"), ("unet", "cuda")):
        try:
            open_peer("ppdiffusers", Path(checkpoint), role, shapes, device=device)
        except UserError as error:
            print(error)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
