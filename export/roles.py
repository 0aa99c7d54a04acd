"""The engines of a set: which network each is, where its weights lie, what goes in and what comes out."""

from collections.abc import Callable
from dataclasses import dataclass

import paddle
from paddle import nn

from sa.export.checkpoint import Checkpoint, Part, Slot
from sa.export.networks.face_encoder import IDENTITY_DIM, FusionFaceId
from sa.export.networks.image_encoder import ImageEncoder
from sa.export.networks.pose_net import PoseNet
from sa.export.networks.transformer import FACE_TOKENS
from sa.export.networks.unet import UNet
from sa.export.networks.vae import VaeDecoder, VaeEncoder
from sa.runtime.engine_set import Role, Shapes, TensorSpec


@dataclass(frozen=True)
class EngineDefinition:
    """One engine, before it is built."""

    role: Role
    part: Part
    build: Callable[[Checkpoint], nn.Layer]
    inputs: Callable[[Checkpoint, Shapes], tuple[TensorSpec, ...]]
    output: Callable[[Checkpoint, Shapes], TensorSpec]

    def network(self, checkpoint: Checkpoint) -> nn.Layer:
        """The network without memory for its weights, its parameters named as in the checkpoint."""
        with paddle.LazyGuard():
            network = self.build(checkpoint)
        for name, parameter in network.named_parameters():
            parameter.name = name
            parameter.stop_gradient = True
        network.eval()
        return network


def slots(network: nn.Layer) -> dict[str, Slot]:
    """What the network expects of a checkpoint."""
    linear = {f"{name}.weight" for name, layer in network.named_sublayers() if isinstance(layer, nn.Linear)}
    return {
        name: Slot(tuple(parameter.shape[::-1] if name in linear else parameter.shape), name in linear)
        for name, parameter in network.named_parameters()
    }


def _spec(name: str, *shape: int | tuple[int, int]) -> TensorSpec:
    return TensorSpec(name=name, shape=shape)


def _latent(shapes: Shapes) -> tuple[int, int]:
    return shapes.latent_height, shapes.latent_width


DEFINITIONS: tuple[EngineDefinition, ...] = (
    EngineDefinition(
        "image_encoder",
        "image_encoder",
        build=lambda c: ImageEncoder(c.image_encoder),
        inputs=lambda c, s: (_spec("pixel_values", 1, 3, c.image_encoder.image_size, c.image_encoder.image_size),),
        output=lambda c, s: _spec("image_embeds", 1, c.unet.cross_attention_dim),
    ),
    EngineDefinition(
        "face_encoder",
        "face_encoder",
        build=lambda c: FusionFaceId(c.unet.cross_attention_dim),
        inputs=lambda c, s: (_spec("identity", 1, IDENTITY_DIM), _spec("image_embeds", 1, c.unet.cross_attention_dim)),
        output=lambda c, s: _spec("face_tokens", 1, FACE_TOKENS, c.unet.cross_attention_dim),
    ),
    EngineDefinition(
        "pose_net",
        "pose_net",
        build=lambda c: PoseNet(c.unet.block_out_channels[0]),
        inputs=lambda c, s: (_spec("pose", 1, 3, s.height, s.width),),
        output=lambda c, s: _spec("pose_latents", 1, c.unet.block_out_channels[0], *_latent(s)),
    ),
    EngineDefinition(
        "vae_encoder",
        "vae",
        build=lambda c: VaeEncoder(c.vae),
        inputs=lambda c, s: (_spec("image", 1, 3, s.height, s.width),),
        output=lambda c, s: _spec("image_latents", 1, 4, *_latent(s)),
    ),
    EngineDefinition(
        "unet",
        "unet",
        build=lambda c: UNet(c.unet),
        inputs=lambda c, s: (
            _spec("sample", 1, s.tile_size, 8, *_latent(s)),
            _spec("timestep", 1),
            _spec("added_time_ids", 1, 3),
            _spec("encoder_hidden_states", 1, 1 + FACE_TOKENS, c.unet.cross_attention_dim),
            _spec("pose_latents", s.tile_size, c.unet.block_out_channels[0], *_latent(s)),
        ),
        output=lambda c, s: _spec("velocity", 1, s.tile_size, 4, *_latent(s)),
    ),
    EngineDefinition(
        "vae_decoder",
        "vae",
        build=lambda c: VaeDecoder(c.vae),
        inputs=lambda c, s: (_spec("latents", (1, s.decode_chunk), 4, *_latent(s)),),
        output=lambda c, s: _spec("frames", (1, s.decode_chunk), 3, s.height, s.width),
    ),
)


def slots_by_part(checkpoint: Checkpoint) -> dict[Part, dict[str, Slot]]:
    """What all engines together expect of each weight file; the VAE's serves two of them."""
    expected: dict[Part, dict[str, Slot]] = {}
    for definition in DEFINITIONS:
        expected.setdefault(definition.part, {}).update(slots(definition.network(checkpoint)))
    return expected
