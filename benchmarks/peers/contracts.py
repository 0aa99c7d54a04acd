"""The roles that peers have networks for, and their inputs and outputs, which equal those of `sa.export.engines.roles`.

They are repeated here because roles.py imports Paddle, whose 240 MB would count as the peer's memory. A test compares
the two.
"""

from collections.abc import Mapping

from sa.benchmarks.fixtures.face_inputs import LOSS_GRADIENT
from sa.benchmarks.fixtures.layout import FACE_SIZE, FACE_TOKENS, IDENTITY_DIM
from sa.export.checkpoint.checkpoint import Checkpoint, Part
from sa.runtime.contract import Role, Shapes, Signature, TensorSpec

PARTS: dict[Role, Part] = {
    "image_encoder": "image_encoder",
    "face_encoder": "face_encoder",
    "pose_net": "pose_net",
    "vae_encoder": "vae",
    "unet": "unet",
    "vae_decoder": "vae",
}
BRANCHES = (1, 2)  # of classifier-free guidance in one call


def contract(role: Role, checkpoint: Checkpoint, shapes: Shapes) -> Signature:
    """The interface of one network at these shapes; inputs are in the order its `forward` takes them."""
    if role not in PARTS:
        raise ValueError(f"the peer has no network for the role {role!r}, only {', '.join(PARTS)}")
    context, first = checkpoint.unet.cross_attention_dim, checkpoint.unet.block_out_channels[0]
    pixels = shapes.height, shapes.width
    latent = shapes.latent_height, shapes.latent_width
    tile, chunk = shapes.tile_size, (1, shapes.decode_chunk)
    side = checkpoint.image_encoder.image_size
    names = {
        "image_encoder": ({"pixel_values": (1, 3, side, side)}, {"image_embeds": (1, context)}),
        "face_encoder": (
            {"identity": (1, IDENTITY_DIM), "image_embeds": (1, context)},
            {"face_tokens": (1, FACE_TOKENS, context)},
        ),
        "pose_net": ({"pose": (1, 3, *pixels)}, {"pose_latents": (1, first, *latent)}),
        "vae_encoder": ({"image": (1, 3, *pixels)}, {"image_latents": (1, 4, *latent)}),
        "unet": (
            {
                "sample": (BRANCHES, tile, 8, *latent),
                "timestep": (1,),
                "added_time_ids": (1, 3),
                "encoder_hidden_states": (BRANCHES, 1 + FACE_TOKENS, context),
                "pose_latents": (BRANCHES, tile, first, *latent),
            },
            {"velocity": (BRANCHES, tile, 4, *latent)},
        ),
        "vae_decoder": ({"latents": (chunk, 4, *latent)}, {"frames": (chunk, 3, *pixels)}),
    }
    return Signature(role, *map(_specs, names[role]))


def exported_contract(role: Role, checkpoint: Checkpoint, shapes: Shapes) -> Signature:
    """The same for an ONNX export. Its UNet only takes guidance pairs, because exporting a range takes minutes more."""
    interface = contract(role, checkpoint, shapes)
    if role != "unet":
        return interface
    inputs, outputs = (
        tuple(TensorSpec(name=spec.name, shape=spec.largest) for spec in specs)
        for specs in (interface.inputs, interface.outputs)
    )
    return Signature(role, inputs, outputs)


def loss_gradient_contract(shapes: Shapes) -> Signature:
    """The interface of the face loss and its gradient with respect to one decoder chunk.

    A face is rows @ frame @ columns^T, channel by channel; the loss is the sum over the frames of
    weight * |1 - cosine(embedding, reference)|.
    """
    chunk, latent = (1, shapes.decode_chunk), (shapes.latent_height, shapes.latent_width)
    inputs = {
        "latents": (chunk, 4, *latent),
        "rows": (chunk, FACE_SIZE, shapes.height),
        "columns": (chunk, FACE_SIZE, shapes.width),
        "reference": (1, IDENTITY_DIM),
        "weights": (chunk,),
    }
    return Signature(LOSS_GRADIENT, _specs(inputs), _specs({"loss": (1,), "gradient": (chunk, 4, *latent)}))


def _specs(shapes: Mapping[str, tuple]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, shape=shape) for name, shape in shapes.items())
