"""The engines of a set: which network each is, where its weights lie, what goes in and what comes out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import paddle
from paddle import nn

from sa.export.checkpoint import Checkpoint, Part, Slot
from sa.export.gradient import Gradient
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
    parts: Mapping[str, Part]  # where parameters come from, by the prefix of their names in the network
    build: Callable[[Checkpoint], nn.Layer]
    inputs: Callable[[Checkpoint, Shapes], tuple[TensorSpec, ...]]
    output: Callable[[Checkpoint, Shapes], TensorSpec]
    method: Callable[[nn.Layer], Callable] = lambda network: network.forward  # what of the network the engine computes
    gradient: Callable[[Checkpoint, Shapes], Gradient] | None = None
    kinked: bool = False  # the gradient crosses kinks, where rounding decides which slope counts
    alone: bool = True  # the network makes this one engine; the decoder's segments share theirs

    def network(self, checkpoint: Checkpoint) -> nn.Layer:
        """The network without memory for its weights, its parameters named as in the checkpoint."""
        with paddle.LazyGuard():
            network = self.build(checkpoint)
        for prefix in self.parts:
            for name, parameter in network.named_parameters():
                if name.startswith(prefix):
                    parameter.name = name.removeprefix(prefix)
                    parameter.stop_gradient = True
        network.eval()
        return network

    def slots(self, network: nn.Layer) -> dict[Part, dict[str, Slot]]:
        """What the network expects of each part of a checkpoint."""
        every = slots(network)
        return {
            part: {name.removeprefix(prefix): slot for name, slot in every.items() if name.startswith(prefix)}
            for prefix, part in self.parts.items()
        }


def slots(network: nn.Layer) -> dict[str, Slot]:
    """Every parameter of the network, by its name there."""
    linear = {f"{name}.weight" for name, layer in network.named_sublayers() if isinstance(layer, nn.Linear)}
    return {
        name: Slot(tuple(parameter.shape[::-1] if name in linear else parameter.shape), name in linear)
        for name, parameter in network.named_parameters()
    }


def spec(name: str, *shape: int | tuple[int, int]) -> TensorSpec:
    return TensorSpec(name=name, shape=shape)


def _latent(shapes: Shapes) -> tuple[int, int]:
    return shapes.latent_height, shapes.latent_width


DEFINITIONS: tuple[EngineDefinition, ...] = (
    EngineDefinition(
        "image_encoder",
        {"": "image_encoder"},
        build=lambda c: ImageEncoder(c.image_encoder),
        inputs=lambda c, s: (spec("pixel_values", 1, 3, c.image_encoder.image_size, c.image_encoder.image_size),),
        output=lambda c, s: spec("image_embeds", 1, c.unet.cross_attention_dim),
    ),
    EngineDefinition(
        "face_encoder",
        {"": "face_encoder"},
        build=lambda c: FusionFaceId(c.unet.cross_attention_dim),
        inputs=lambda c, s: (spec("identity", 1, IDENTITY_DIM), spec("image_embeds", 1, c.unet.cross_attention_dim)),
        output=lambda c, s: spec("face_tokens", 1, FACE_TOKENS, c.unet.cross_attention_dim),
    ),
    EngineDefinition(
        "pose_net",
        {"": "pose_net"},
        build=lambda c: PoseNet(c.unet.block_out_channels[0]),
        inputs=lambda c, s: (spec("pose", 1, 3, s.height, s.width),),
        output=lambda c, s: spec("pose_latents", 1, c.unet.block_out_channels[0], *_latent(s)),
    ),
    EngineDefinition(
        "vae_encoder",
        {"": "vae"},
        build=lambda c: VaeEncoder(c.vae),
        inputs=lambda c, s: (spec("image", 1, 3, s.height, s.width),),
        output=lambda c, s: spec("image_latents", 1, 4, *_latent(s)),
    ),
    EngineDefinition(
        "unet",
        {"": "unet"},
        build=lambda c: UNet(c.unet),
        inputs=lambda c, s: (
            spec("sample", 1, s.tile_size, 8, *_latent(s)),
            spec("timestep", 1),
            spec("added_time_ids", 1, 3),
            spec("encoder_hidden_states", 1, 1 + FACE_TOKENS, c.unet.cross_attention_dim),
            spec("pose_latents", s.tile_size, c.unet.block_out_channels[0], *_latent(s)),
        ),
        output=lambda c, s: spec("velocity", 1, s.tile_size, 4, *_latent(s)),
    ),
    EngineDefinition(
        "vae_decoder",
        {"": "vae"},
        build=lambda c: VaeDecoder(c.vae),
        inputs=lambda c, s: (spec("latents", (1, s.decode_chunk), 4, *_latent(s)),),
        output=lambda c, s: spec("frames", (1, s.decode_chunk), 3, s.height, s.width),
    ),
)


def slots_by_part(
    checkpoint: Checkpoint, definitions: Iterable[EngineDefinition] = DEFINITIONS
) -> dict[Part, dict[str, Slot]]:
    """What these engines together expect of each weight file; the VAE's serves several."""
    expected: dict[Part, dict[str, Slot]] = {}
    seen = []
    for definition in definitions:
        if definition.build in seen:  # the decoder's segments are one network
            continue
        seen.append(definition.build)
        for part, found in definition.slots(definition.network(checkpoint)).items():
            expected.setdefault(part, {}).update(found)
    return expected
