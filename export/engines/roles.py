"""The engines of a set: which network each is, where its weights lie, what goes in and what comes out."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

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
from sa.runtime.contract import Precision, Role, Shapes, TensorSpec

BRANCHES = (1, 2)  # of classifier-free guidance in one call: the conditional one alone, or both


@dataclass(frozen=True)
class EngineDefinition(ABC):
    """One engine before it is built: its network, where the weights come from, what goes in and what comes out."""

    role: Role
    parts: Mapping[str, Part]  # where parameters come from, by the prefix of their names in the network
    kinked: bool = False  # the gradient crosses kinks, where rounding decides which slope counts
    last: bool = True  # its network is given up before it is opened: it is large, or no later one is made of it
    own_weights: bool = False  # in a file of its own, with nothing in it that it does not read
    shares: Role | None = None  # an earlier engine of the same part, which reads all that this one does
    affordable: float = 2e12  # FLOPs up to which it is certified at its own shapes, else on a twin of reduced ones
    stands_for: "EngineDefinition | None" = None  # certified as this one, together with `helpers`
    helpers: tuple["EngineDefinition", ...] = ()
    half: Half | None = None  # typed fp16 or bf16, and how; None: float32

    differentiates: ClassVar[bool] = False  # the engine is a gradient

    @abstractmethod
    def build(self, checkpoint: Checkpoint) -> nn.Layer:
        """The network, as the checkpoint's configs describe it. Engines that inherit this share one network."""

    @abstractmethod
    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]: ...

    @abstractmethod
    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]: ...

    def method(self, network: nn.Layer) -> Callable:
        """What of the network the engine computes."""
        return network.forward

    def gradient(self, checkpoint: Checkpoint, shapes: Shapes) -> Gradient | None:
        """What is differentiated by what, if the engine is a gradient."""
        return None

    @property
    def network_key(self) -> object:
        """Equal for engines that are made of the same network."""
        return type(self).build

    @property
    def precision(self) -> Precision:
        return "fp32" if self.half is None else self.half.policy.precision

    @property
    def typing(self) -> dict:
        """What the engine's record says of its dtypes."""
        if self.half is None:
            return {}
        scale = self.half.loss_scale if self.differentiates else None
        return {"precision": self.precision, "float32_tensors": tuple(sorted(self.half.float32)), "loss_scale": scale}

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


class ImageEncoderEngine(EngineDefinition):
    def build(self, checkpoint: Checkpoint) -> nn.Layer:
        return ImageEncoder(checkpoint.image_encoder)

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        side = checkpoint.image_encoder.image_size
        return (spec("pixel_values", 1, 3, side, side),)

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("image_embeds", 1, checkpoint.unet.cross_attention_dim),)


class FaceEncoderEngine(EngineDefinition):
    def build(self, checkpoint: Checkpoint) -> nn.Layer:
        return FusionFaceId(checkpoint.unet.cross_attention_dim)

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return spec("identity", 1, IDENTITY_DIM), spec("image_embeds", 1, checkpoint.unet.cross_attention_dim)

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("face_tokens", 1, FACE_TOKENS, checkpoint.unet.cross_attention_dim),)


class PoseNetEngine(EngineDefinition):
    def build(self, checkpoint: Checkpoint) -> nn.Layer:
        return PoseNet(_width(checkpoint))

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("pose", 1, 3, shapes.height, shapes.width),)

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("pose_latents", 1, _width(checkpoint), *_latent(shapes)),)


class VaeEncoderEngine(EngineDefinition):
    def build(self, checkpoint: Checkpoint) -> nn.Layer:
        return VaeEncoder(checkpoint.vae)

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("image", 1, 3, shapes.height, shapes.width),)

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("image_latents", 1, 4, *_latent(shapes)),)


class VaeDecoderEngine(EngineDefinition):
    def build(self, checkpoint: Checkpoint) -> nn.Layer:
        return VaeDecoder(checkpoint.vae)

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("latents", (1, shapes.decode_chunk), 4, *_latent(shapes)),)

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("frames", (1, shapes.decode_chunk), 3, shapes.height, shapes.width),)


class UNetEngine(EngineDefinition):
    """The UNet as published: both branches of guidance in one call."""

    def build(self, checkpoint: Checkpoint) -> nn.Layer:
        return UNet(checkpoint.unet)

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (
            spec("sample", BRANCHES, shapes.tile_size, 8, *_latent(shapes)),
            spec("timestep", 1),
            spec("added_time_ids", 1, 3),
            spec("encoder_hidden_states", BRANCHES, 1 + FACE_TOKENS, checkpoint.unet.cross_attention_dim),
            spec("pose_latents", BRANCHES, shapes.tile_size, _width(checkpoint), *_latent(shapes)),
        )

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("velocity", BRANCHES, shapes.tile_size, 4, *_latent(shapes)),)


class ConditioningEngine(UNetEngine):
    """What the UNet computes once per video and branch."""

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (
            spec("image_latents", shapes.tile_size, 4, *_latent(shapes)),
            spec("encoder_hidden_states", 1, 1 + FACE_TOKENS, checkpoint.unet.cross_attention_dim),
        )

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        _, constants, positions = _packed_sizes(checkpoint.unet)
        return (
            spec("image_features", shapes.tile_size, _width(checkpoint), *_latent(shapes)),
            spec("constants", 1, constants),
            spec("positions", shapes.tile_size, positions),
        )

    def method(self, network: nn.Layer) -> Callable:
        return specialize(network).conditioning.forward


class TimeEmbeddingEngine(UNetEngine):
    """What the UNet computes once per step."""

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return spec("timestep", 1), spec("added_time_ids", 1, 3)

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("time_rows", 1, _packed_sizes(checkpoint.unet)[0]),)

    def method(self, network: nn.Layer) -> Callable:
        return specialize(network).time_embedding.forward


class SpecializedUNetEngine(UNetEngine):
    """What the UNet computes in every call."""

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        rows, constants, positions = _packed_sizes(checkpoint.unet)
        return (
            spec("latents", 1, shapes.tile_size, 4, *_latent(shapes)),
            spec("pose_latents", 1, shapes.tile_size, _width(checkpoint), *_latent(shapes)),
            spec("time_rows", 1, rows),
            spec("image_features", BRANCHES, 1, _width(checkpoint), *_latent(shapes)),
            spec("posed", BRANCHES, 1, 1, 1, 1),
            spec("constants", BRANCHES, constants),
            spec("positions", shapes.tile_size, positions),
        )

    def method(self, network: nn.Layer) -> Callable:
        return specialize(network).unet.forward


@functools.cache
def _packed_sizes(config: UNetConfig) -> tuple[int, int, int]:
    """The sizes of the packed time rows, constants and positions."""
    with paddle.LazyGuard():
        parts = specialize(UNet(config))
    return parts.rows, parts.constants, parts.positions


def _latent(shapes: Shapes) -> tuple[int, int]:
    return shapes.latent_height, shapes.latent_width


def _width(checkpoint: Checkpoint) -> int:
    """Channels of the UNet's outermost level."""
    return checkpoint.unet.block_out_channels[0]


_BEFORE_THE_UNET = (
    ImageEncoderEngine("image_encoder", {"": "image_encoder"}),
    FaceEncoderEngine("face_encoder", {"": "face_encoder"}),
    PoseNetEngine("pose_net", {"": "pose_net"}),
    VaeEncoderEngine("vae_encoder", {"": "vae"}),
)
PLAIN_UNET = UNetEngine("unet", {"": "unet"})
CONDITIONING = ConditioningEngine("conditioning", {"": "unet"}, last=False, own_weights=True)
TIME_EMBEDDING = TimeEmbeddingEngine("time_embedding", {"": "unet"}, last=False, own_weights=True)
SPECIALIZED_UNET = SpecializedUNetEngine(
    "unet", {"": "unet"}, own_weights=True, stands_for=PLAIN_UNET, helpers=(CONDITIONING, TIME_EMBEDDING)
)
_VAE_DECODER = VaeDecoderEngine("vae_decoder", {"": "vae"})

DEFINITIONS = (*_BEFORE_THE_UNET, CONDITIONING, TIME_EMBEDDING, SPECIALIZED_UNET, _VAE_DECODER)
PLAIN_DEFINITIONS = (*_BEFORE_THE_UNET, PLAIN_UNET, _VAE_DECODER)


def slots_by_part(
    checkpoint: Checkpoint, definitions: Iterable[EngineDefinition] = DEFINITIONS
) -> dict[Part, dict[str, Slot]]:
    """What these engines together expect of each weight file; the VAE's serves several."""
    expected: dict[Part, dict[str, Slot]] = {}
    seen: list[object] = []
    for definition in definitions:
        if definition.network_key in seen:
            continue
        seen.append(definition.network_key)
        for part, found in definition.slots(definition.network(checkpoint)).items():
            expected.setdefault(part, {}).update(found)
    return expected
