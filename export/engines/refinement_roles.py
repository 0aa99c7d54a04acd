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
DECODER_PARTS: dict[str, Part] = {"": "vae"}
SMALL = 5e10  # FLOPs up to which one of many engines is certified at its own shapes
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
        common = dict(parts=DECODER_PARTS, last=False, affordable=SMALL, index=i, piece=piece)
        forward = DecoderSegmentEngine(f"decoder_{piece.name}", **common)
        vjp = DecoderVjpEngine(f"decoder_{piece.name}_vjp", **common)
        engines += [forward, vjp]
        keep = segment_keeps(piece, len(pieces) - 1 - i)
        segments.append(Segment(forward=forward.role, vjp=vjp.role, by_frame=piece.by_frame, keep=keep))
    loss = FaceLossEngine("face_loss", {"recogniser.": "arcface"}, kinked=True, arcface=arcface)
    return RefineDefinitions((embed, loss, *engines), tuple(segments))


def segment_keeps(piece: DecoderPiece, left: int) -> bool:
    """Whether a segment's result is kept; `left`: how many segments follow it."""
    return piece.flops_per_byte > RECOMPUTED or left <= 2  # what goes into the last but one is needed again at once


def arcface_config(checkpoint: Checkpoint) -> ArcFaceConfig:
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors("arcface").items()}
    return config_from_tensors(shapes, str(checkpoint.path("arcface")))


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
        frames, (height, width) = (1, shapes.decode_chunk), self.pixels(shapes)
        return (
            self._differentiated(shapes),
            spec("rows", frames, FACE_SIZE, height),
            spec("columns", frames, FACE_SIZE, width),
            spec("reference", 1, self.arcface.features),
            spec("weights", frames),
        )

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (spec("loss", 1),)

    def gradient(self, checkpoint: Checkpoint, shapes: Shapes) -> Gradient:
        by = self._differentiated(shapes)
        return Gradient(by.name, None, by.model_copy(update={"name": "gradient"}))

    def pixels(self, shapes: Shapes) -> tuple[int, int]:
        """Height and width of what is decoded."""
        return shapes.height, shapes.width

    def _differentiated(self, shapes: Shapes) -> TensorSpec:
        """What the loss is differentiated by."""
        return spec("frames", (1, shapes.decode_chunk), 3, *self.pixels(shapes))


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
        return (self.tensor("x", shapes, 0),)

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (self.tensor("y", shapes, 1),)

    def method(self, network: nn.Layer) -> Callable:
        return network.segments()[self.index].forward

    def latents(self, shapes: Shapes) -> tuple[int, int]:
        """Height and width of the latents that are decoded."""
        return shapes.latent_height, shapes.latent_width

    def tensor(self, name: str, shapes: Shapes, end: int) -> TensorSpec:
        """What goes in (end 0) or comes out (end 1)."""
        piece = self.piece
        frames = 1 if piece.by_frame else (1, shapes.decode_chunk)
        return spec(name, frames, piece.channels[end], *(piece.scale[end] * side for side in self.latents(shapes)))


class DecoderVjpEngine(DecoderSegmentEngine):
    """Its VJP (x, dy) -> dx."""

    differentiates: ClassVar[bool] = True

    def gradient(self, checkpoint: Checkpoint, shapes: Shapes) -> Gradient:
        return Gradient("x", self.tensor("dy", shapes, 1), self.tensor("dx", shapes, 0))
