"""The engines of the HJB refinement: the decoder in segments and the face loss, or all in one engine."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import paddle
from paddle import nn

from sa.export.checkpoint.architecture import ArcFaceConfig
from sa.export.checkpoint.checkpoint import Checkpoint, Part
from sa.export.engines.roles import EngineDefinition, spec
from sa.export.gradient import Gradient
from sa.export.networks.arcface import FACE_SIZE, ArcFace, config_from_tensors
from sa.export.networks.face_loss import DecodedFaceLoss, FaceLoss
from sa.export.networks.vae import DecoderSegment as DecoderPiece
from sa.export.networks.vae import VaeDecoder
from sa.runtime.contract import Segment, Shapes, TensorSpec

RefinePlanName = Literal["segmented", "whole"]
RECOMPUTED = 1000  # FLOP per byte up to which a tensor is computed again on the way back rather than kept


@dataclass(frozen=True)
class RefineDefinitions:
    """The engines of a plan, and how the segments among them follow each other."""

    engines: tuple[EngineDefinition, ...]
    segments: tuple[Segment, ...]


def refine_definitions(plan: RefinePlanName, checkpoint: Checkpoint) -> RefineDefinitions:
    """InputError for a checkpoint without glintr100_torch or with one that is no ArcFace."""
    arcface = arcface_config(checkpoint)
    embed = ArcFaceEngine("arcface", {"": "arcface"}, arcface=arcface)
    if plan == "whole":
        parts: dict[str, Part] = {"vae.": "vae", "face_loss.recogniser.": "arcface"}
        return RefineDefinitions((embed, LossGradientEngine("loss_gradient", parts, kinked=True, arcface=arcface)), ())
    engines: list[EngineDefinition] = []
    segments: list[Segment] = []
    with paddle.LazyGuard():
        pieces = VaeDecoder(checkpoint.vae).segments()
    for i, piece in enumerate(pieces):
        # There are many of them: only small ones are certified at their own shapes.
        common = dict(parts=_DECODER_PARTS, last=False, affordable=5e10, index=i, piece=piece)
        forward = DecoderSegmentEngine(f"decoder_{piece.name}", **common)
        vjp = DecoderVjpEngine(f"decoder_{piece.name}_vjp", **common)
        engines += [forward, vjp]
        # What goes into the last but one is needed again at once.
        keep = piece.flops_per_byte > RECOMPUTED or i + 3 >= len(pieces)
        segments.append(Segment(forward=forward.role, vjp=vjp.role, by_frame=piece.by_frame, keep=keep))
    loss = FaceLossEngine("face_loss", {"recogniser.": "arcface"}, kinked=True, arcface=arcface)
    return RefineDefinitions((embed, loss, *engines), tuple(segments))


def arcface_config(checkpoint: Checkpoint) -> ArcFaceConfig:
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors("arcface").items()}
    return config_from_tensors(shapes, str(checkpoint.path("arcface")))


_DECODER_PARTS: dict[str, Part] = {"": "vae"}


@dataclass(frozen=True)
class ArcFaceEngine(EngineDefinition):
    arcface: ArcFaceConfig = field(kw_only=True)

    def build(self, checkpoint: Checkpoint) -> nn.Layer:
        return ArcFace(self.arcface)

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("face", 1, 3, FACE_SIZE, FACE_SIZE),)

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("embedding", 1, self.arcface.features),)


@dataclass(frozen=True)
class FaceLossEngine(EngineDefinition):
    """The face loss of decoded frames, and its gradient with respect to them."""

    arcface: ArcFaceConfig = field(kw_only=True)
    differentiates: ClassVar[bool] = True

    def build(self, checkpoint: Checkpoint) -> nn.Layer:
        return FaceLoss(self.arcface)

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        frames = (1, shapes.decode_chunk)
        return (
            self._differentiated(shapes),
            spec("rows", frames, FACE_SIZE, shapes.height),
            spec("columns", frames, FACE_SIZE, shapes.width),
            spec("reference", 1, self.arcface.features),
            spec("weights", frames),
        )

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("loss", 1),)

    def gradient(self, checkpoint: Checkpoint, shapes: Shapes) -> Gradient:
        by = self._differentiated(shapes)
        return Gradient(by.name, None, by.model_copy(update={"name": "gradient"}))

    def _differentiated(self, shapes: Shapes) -> TensorSpec:
        """What the loss is differentiated by."""
        return spec("frames", (1, shapes.decode_chunk), 3, shapes.height, shapes.width)


@dataclass(frozen=True)
class LossGradientEngine(FaceLossEngine):
    """The face loss of latents, decoder and all, and its gradient with respect to them."""

    def build(self, checkpoint: Checkpoint) -> nn.Layer:
        return DecodedFaceLoss(checkpoint.vae, self.arcface)

    def _differentiated(self, shapes: Shapes) -> TensorSpec:
        return spec("latents", (1, shapes.decode_chunk), 4, shapes.latent_height, shapes.latent_width)


@dataclass(frozen=True)
class DecoderSegmentEngine(EngineDefinition):
    """A segment x -> y of the VAE's decoder. The segments are made of one network."""

    index: int = field(kw_only=True)
    piece: DecoderPiece = field(kw_only=True)

    def build(self, checkpoint: Checkpoint) -> nn.Layer:
        return VaeDecoder(checkpoint.vae)

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (self._tensor("x", shapes, 0),)

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (self._tensor("y", shapes, 1),)

    def method(self, network: nn.Layer) -> Callable:
        return network.segments()[self.index].forward

    def _tensor(self, name: str, shapes: Shapes, end: int) -> TensorSpec:
        """What goes in (end 0) or comes out (end 1)."""
        piece = self.piece
        frames = 1 if piece.by_frame else (1, shapes.decode_chunk)
        scale = piece.scale[end]
        return spec(name, frames, piece.channels[end], scale * shapes.latent_height, scale * shapes.latent_width)


class DecoderVjpEngine(DecoderSegmentEngine):
    """Its VJP (x, dy) -> dx."""

    differentiates: ClassVar[bool] = True

    def gradient(self, checkpoint: Checkpoint, shapes: Shapes) -> Gradient:
        return Gradient("x", self._tensor("dy", shapes, 1), self._tensor("dx", shapes, 0))
