"""The float32 Paddle networks behind the engine protocol. Accuracy is measured against them."""

from collections.abc import Collection, Mapping
from pathlib import Path

import paddle
from paddle import nn
from paddle.nn import functional as F

from sa.benchmarks.peers.contracts import contract, loss_gradient_contract
from sa.benchmarks.peers.paddle_engine import PaddleEngine, use_cpu
from sa.export.certify import load_weights
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.refinement_roles import arcface_config
from sa.export.engines.roles import PLAIN_DEFINITIONS, slots, slots_by_part
from sa.export.networks.arcface import ArcFace
from sa.runtime.backends.base import Engine, Tensor
from sa.runtime.contract import Role, Shapes


class ReferenceEngine(PaddleEngine):
    def __init__(self, checkpoint: Path, role: Role, shapes: Shapes, threads: int | None):
        use_cpu(threads)
        opened = Checkpoint(checkpoint)
        super().__init__(contract(role, opened, shapes), _network(opened, role))


class ReferenceLossGradient(Engine):
    """The face loss of one decoder chunk and its gradient, by Paddle's own autograd through decoder and ArcFace."""

    def __init__(self, checkpoint: Path, shapes: Shapes, threads: int | None):
        super().__init__(loss_gradient_contract(shapes))
        use_cpu(threads)
        opened = Checkpoint(checkpoint)
        self._decoder, self._recogniser = _network(opened, "vae_decoder"), recogniser(opened)

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        values = {name: paddle.to_tensor(value) for name, value in inputs.items()}
        latents = values["latents"]
        latents.stop_gradient = False
        frames = self._decoder(latents).clip(-1, 1)
        faces = paddle.matmul(
            paddle.matmul(values["rows"].unsqueeze(1), frames), values["columns"].unsqueeze(1), transpose_y=True
        )
        cosine = F.cosine_similarity(self._recogniser(faces), values["reference"], axis=1, eps=1e-8)
        loss = (values["weights"] * (1 - cosine).abs()).sum()
        (gradient,) = paddle.grad(loss, latents)
        return {"loss": loss.numpy().reshape(1), "gradient": gradient.numpy()}

    def close(self) -> None:
        del self._decoder, self._recogniser


def _network(checkpoint: Checkpoint, role: Role) -> nn.Layer:
    definition = next(d for d in PLAIN_DEFINITIONS if d.role == role)
    network = definition.network(checkpoint)
    (part,) = definition.parts.values()
    load_weights(network, checkpoint.weights(part, slots_by_part(checkpoint, PLAIN_DEFINITIONS)[part]))
    return network


def recogniser(checkpoint: Checkpoint) -> nn.Layer:
    """The checkpoint's ArcFace: faces [n, 3, 112, 112], RGB in -1..1 -> embeddings [n, 512], not normalised."""
    with paddle.LazyGuard():
        network = ArcFace(arcface_config(checkpoint))
    for parameter in network.parameters():
        parameter.stop_gradient = True
    network.eval()
    load_weights(network, checkpoint.weights("arcface", slots(network)))
    return network
