"""The engines of the HJB refinement: the decoder in segments and the face's end, or all in one (DESIGN: HJB)."""

from dataclasses import dataclass, replace
from typing import Literal

from paddle import nn

from sa.export.checkpoint.architecture import ArcFaceConfig
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.roles import EngineDefinition, spec
from sa.export.gradient import Gradient
from sa.export.networks.arcface import FACE_SIZE, ArcFace, config_from_tensors
from sa.export.networks.face_loss import DecodedFaceLoss, FaceLoss
from sa.export.networks.vae import Segment as Stretch
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
    embed = EngineDefinition(
        "arcface",
        {"": "arcface"},
        build=lambda c: ArcFace(arcface),
        inputs=lambda c, s: (spec("face", 1, 3, FACE_SIZE, FACE_SIZE),),
        outputs=lambda c, s: (spec("embedding", 1, arcface.features),),
    )
    if plan == "whole":
        loss = _loss("loss_gradient", "latents", arcface)
        parts = {"vae.": "vae", "face_loss.recogniser.": "arcface"}
        whole = replace(loss, parts=parts, build=lambda c: DecodedFaceLoss(c.vae, arcface))
        return RefineDefinitions((embed, whole), ())
    loss = replace(
        _loss("face_loss", "frames", arcface), parts={"recogniser.": "arcface"}, build=lambda c: FaceLoss(arcface)
    )
    stretches = _DECODER.network(checkpoint).segments()
    engines: list[EngineDefinition] = []
    segments: list[Segment] = []
    for i, stretch in enumerate(stretches):
        forward = _forward(i, stretch)
        vjp = replace(forward, role=f"{forward.role}_vjp", gradient=_vjp(forward))
        engines += [forward, vjp]
        # What goes into the last but one is needed again at once.
        keep = stretch.flops_per_byte > RECOMPUTED or i + 3 >= len(stretches)
        segments.append(Segment(forward=forward.role, vjp=vjp.role, by_frame=stretch.by_frame, keep=keep))
    return RefineDefinitions((embed, loss, *engines), tuple(segments))


def arcface_config(checkpoint: Checkpoint) -> ArcFaceConfig:
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors("arcface").items()}
    return config_from_tensors(shapes, str(checkpoint.path("arcface")))


def _build_decoder(checkpoint: Checkpoint) -> nn.Layer:
    return VaeDecoder(checkpoint.vae)


# What the segments' engines have in common; each has its own inputs and output.
_DECODER = EngineDefinition(
    "vae_decoder",
    {"": "vae"},
    build=_build_decoder,
    inputs=lambda c, s: (),
    outputs=lambda c, s: (),
    last=False,
    affordable=5e10,  # there are many
)


def _forward(index: int, stretch: Stretch) -> EngineDefinition:
    def tensor(name: str, shapes: Shapes, end: int) -> TensorSpec:
        scale = stretch.scale[end]
        frames = 1 if stretch.by_frame else (1, shapes.decode_chunk)
        return spec(name, frames, stretch.channels[end], scale * shapes.latent_height, scale * shapes.latent_width)

    return replace(
        _DECODER,
        role=f"decoder_{stretch.name}",
        inputs=lambda c, s: (tensor("x", s, 0),),
        outputs=lambda c, s: (tensor("y", s, 1),),
        method=lambda network: network.segments()[index].forward,
    )


def _vjp(forward: EngineDefinition):
    def gradient(checkpoint: Checkpoint, shapes: Shapes) -> Gradient:
        (x,), (y,) = forward.inputs(checkpoint, shapes), forward.outputs(checkpoint, shapes)
        return Gradient("x", y.model_copy(update={"name": "dy"}), x.model_copy(update={"name": "dx"}))

    return gradient


def _loss(role: str, of: str, arcface: ArcFaceConfig) -> EngineDefinition:
    """The loss and its gradient with respect to `of`, frames or latents."""

    def inputs(c: Checkpoint, s: Shapes) -> tuple[TensorSpec, ...]:
        frames = (1, s.decode_chunk)
        first = (3, s.height, s.width) if of == "frames" else (4, s.latent_height, s.latent_width)
        return (
            spec(of, frames, *first),
            spec("rows", frames, FACE_SIZE, s.height),
            spec("columns", frames, FACE_SIZE, s.width),
            spec("reference", 1, arcface.features),
            spec("weights", frames),
        )

    return EngineDefinition(
        role,
        {},
        build=lambda c: FaceLoss(arcface),
        inputs=inputs,
        outputs=lambda c, s: (spec("loss", 1),),
        kinked=True,
        gradient=lambda c, s: Gradient(of, None, inputs(c, s)[0].model_copy(update={"name": "gradient"})),
    )
