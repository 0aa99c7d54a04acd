"""The engines of a set: which network each is, where its weights lie, what goes in and what comes out."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import paddle
from paddle import nn

from sa.export.checkpoint.architecture import UNetConfig
from sa.export.checkpoint.checkpoint import Checkpoint, Part, Slot
from sa.export.engines.program import Half
from sa.export.engines.specialize import specialize
from sa.export.gradient import Gradient
from sa.export.networks.face_encoder import IDENTITY_DIM, FusionFaceId
from sa.export.networks.image_encoder import ImageEncoder
from sa.export.networks.pose_net import PoseNet
from sa.export.networks.transformer import FACE_TOKENS
from sa.export.networks.unet import UNet
from sa.export.networks.vae import VaeDecoder, VaeEncoder
from sa.runtime.contract import Role, Shapes, TensorSpec

BRANCHES = (1, 2)  # of classifier-free guidance in one call: the conditional one alone, or both


@dataclass(frozen=True)
class EngineDefinition:
    """One engine, before it is built."""

    role: Role
    parts: Mapping[str, Part]  # where parameters come from, by the prefix of their names in the network
    build: Callable[[Checkpoint], nn.Layer]
    inputs: Callable[[Checkpoint, Shapes], tuple[TensorSpec, ...]]
    outputs: Callable[[Checkpoint, Shapes], tuple[TensorSpec, ...]]
    method: Callable[[nn.Layer], Callable] = lambda network: network.forward  # what of the network the engine computes
    gradient: Callable[[Checkpoint, Shapes], Gradient] | None = None
    kinked: bool = False  # the gradient crosses kinks, where rounding decides which slope counts
    last: bool = True  # no later engine is made of the same network
    own_weights: bool = False  # in a file of its own, with nothing in it that it does not read
    affordable: float = 2e12  # FLOPs up to which it is certified at its own shapes, else on a twin of reduced ones
    stands_for: "EngineDefinition | None" = None  # certified as this one, together with `helpers`
    helpers: tuple["EngineDefinition", ...] = ()
    half: Half | None = None  # typed fp16, and how; None: float32

    @property
    def precision(self) -> str:
        return "fp32" if self.half is None else "fp16"

    @property
    def typing(self) -> dict:
        """What the engine's record says of its dtypes."""
        if self.half is None:
            return {}
        scale = self.half.loss_scale if self.gradient is not None else None
        return {"precision": "fp16", "float32_tensors": tuple(sorted(self.half.float32)), "loss_scale": scale}

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


_BEFORE_THE_UNET = (
    EngineDefinition(
        "image_encoder",
        {"": "image_encoder"},
        build=lambda c: ImageEncoder(c.image_encoder),
        inputs=lambda c, s: (spec("pixel_values", 1, 3, c.image_encoder.image_size, c.image_encoder.image_size),),
        outputs=lambda c, s: (spec("image_embeds", 1, c.unet.cross_attention_dim),),
    ),
    EngineDefinition(
        "face_encoder",
        {"": "face_encoder"},
        build=lambda c: FusionFaceId(c.unet.cross_attention_dim),
        inputs=lambda c, s: (spec("identity", 1, IDENTITY_DIM), spec("image_embeds", 1, c.unet.cross_attention_dim)),
        outputs=lambda c, s: (spec("face_tokens", 1, FACE_TOKENS, c.unet.cross_attention_dim),),
    ),
    EngineDefinition(
        "pose_net",
        {"": "pose_net"},
        build=lambda c: PoseNet(c.unet.block_out_channels[0]),
        inputs=lambda c, s: (spec("pose", 1, 3, s.height, s.width),),
        outputs=lambda c, s: (spec("pose_latents", 1, c.unet.block_out_channels[0], *_latent(s)),),
    ),
    EngineDefinition(
        "vae_encoder",
        {"": "vae"},
        build=lambda c: VaeEncoder(c.vae),
        inputs=lambda c, s: (spec("image", 1, 3, s.height, s.width),),
        outputs=lambda c, s: (spec("image_latents", 1, 4, *_latent(s)),),
    ),
)


def _build_unet(checkpoint: Checkpoint) -> UNet:
    return UNet(checkpoint.unet)


@functools.cache
def _packed_sizes(config: UNetConfig) -> tuple[int, int, int]:
    """Of time rows, constants and positions."""
    with paddle.LazyGuard():
        parts = specialize(UNet(config))
    return parts.rows, parts.constants, parts.positions


PLAIN_UNET = EngineDefinition(
    "unet",
    {"": "unet"},
    build=_build_unet,
    inputs=lambda c, s: (
        spec("sample", BRANCHES, s.tile_size, 8, *_latent(s)),
        spec("timestep", 1),
        spec("added_time_ids", 1, 3),
        spec("encoder_hidden_states", BRANCHES, 1 + FACE_TOKENS, c.unet.cross_attention_dim),
        spec("pose_latents", BRANCHES, s.tile_size, c.unet.block_out_channels[0], *_latent(s)),
    ),
    outputs=lambda c, s: (spec("velocity", BRANCHES, s.tile_size, 4, *_latent(s)),),
)

CONDITIONING = EngineDefinition(
    "conditioning",
    {"": "unet"},
    build=_build_unet,
    inputs=lambda c, s: (
        spec("image_latents", s.tile_size, 4, *_latent(s)),
        spec("encoder_hidden_states", 1, 1 + FACE_TOKENS, c.unet.cross_attention_dim),
    ),
    outputs=lambda c, s: (
        spec("image_features", s.tile_size, c.unet.block_out_channels[0], *_latent(s)),
        spec("constants", 1, _packed_sizes(c.unet)[1]),
        spec("positions", s.tile_size, _packed_sizes(c.unet)[2]),
    ),
    method=lambda network: specialize(network).conditioning.forward,
    last=False,
    own_weights=True,
)

TIME_EMBEDDING = EngineDefinition(
    "time_embedding",
    {"": "unet"},
    build=_build_unet,
    inputs=lambda c, s: (spec("timestep", 1), spec("added_time_ids", 1, 3)),
    outputs=lambda c, s: (spec("time_rows", 1, _packed_sizes(c.unet)[0]),),
    method=lambda network: specialize(network).time_embedding.forward,
    last=False,
    own_weights=True,
)

SPECIALIZED_UNET = EngineDefinition(
    "unet",
    {"": "unet"},
    build=_build_unet,
    inputs=lambda c, s: (
        spec("latents", BRANCHES, s.tile_size, 4, *_latent(s)),
        spec("frame_features", BRANCHES, s.tile_size, c.unet.block_out_channels[0], *_latent(s)),
        spec("time_rows", 1, _packed_sizes(c.unet)[0]),
        spec("constants", BRANCHES, _packed_sizes(c.unet)[1]),
        spec("positions", s.tile_size, _packed_sizes(c.unet)[2]),
    ),
    outputs=PLAIN_UNET.outputs,
    method=lambda network: specialize(network).unet.forward,
    own_weights=True,
    stands_for=PLAIN_UNET,
    helpers=(CONDITIONING, TIME_EMBEDDING),
)

_VAE_DECODER = EngineDefinition(
    "vae_decoder",
    {"": "vae"},
    build=lambda c: VaeDecoder(c.vae),
    inputs=lambda c, s: (spec("latents", (1, s.decode_chunk), 4, *_latent(s)),),
    outputs=lambda c, s: (spec("frames", (1, s.decode_chunk), 3, s.height, s.width),),
)

DEFINITIONS = (*_BEFORE_THE_UNET, CONDITIONING, TIME_EMBEDDING, SPECIALIZED_UNET, _VAE_DECODER)
PLAIN_DEFINITIONS = (*_BEFORE_THE_UNET, PLAIN_UNET, _VAE_DECODER)


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
