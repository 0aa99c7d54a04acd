"""The peer's networks against the golden cases, and against the Paddle networks that engines are certified with."""

import json
import shutil

import numpy as np
import pytest
from golden_checks import check_every_stored_call
from shared import relative

pytest.importorskip("diffusers", reason="needs the extra `peers`: make test-peers")

from sa.benchmarks.peers import open_peer
from sa.benchmarks.peers.contracts import contract
from sa.export.certify import load_weights, reference_outputs
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.fixed_inputs import fixed_inputs
from sa.export.engines.roles import PLAIN_DEFINITIONS, slots_by_part
from sa.runtime.backends.composed.plain_unet import PlainUNet
from sa.runtime.case.identity import read_identity
from sa.runtime.case.images import pose_pixels, read_image, reference_pixels
from sa.runtime.contract import Shapes
from sa.runtime.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:\\s*Non compatible API")  # Paddle's, where PyTorch is loaded too
NETWORK = 1e-4  # tolerance of the golden data: max |value - reference| / max |reference|
ROLES = [definition.role for definition in PLAIN_DEFINITIONS]


@pytest.fixture
def opened(golden, checkpoint, case):
    """opened(role): an eager peer at the case's shapes."""
    p = golden(case).parameters
    shapes = Shapes(height=p.height, width=p.width, tile_size=p.tile_size, decode_chunk=p.chunk)
    return lambda role: open_peer("eager", checkpoint(case), role, shapes)


def test_unet_matches_every_stored_call(golden, case, opened):
    check_every_stored_call(golden(case), PlainUNet(opened("unet")), NETWORK)


def test_single_networks_match_on_stored_inputs(golden, case, opened):
    data = golden(case)
    expected, p = data.expected, data.parameters
    with opened("image_encoder") as engine:
        embeds = engine.infer({"pixel_values": expected["clip_pixel_values"]})["image_embeds"]
        assert relative(embeds, expected["image_embeds"]) < NETWORK
    with opened("face_encoder") as engine:
        identity = read_identity(data.inputs / "id_embedding.npy", 512)
        tokens = engine.infer({"identity": identity, "image_embeds": expected["image_embeds"]})["face_tokens"]
        assert relative(tokens, expected["faceid_latents"].reshape(tokens.shape)) < NETWORK
    with opened("vae_encoder") as engine, np.load(data.inputs / "noise.npz") as noise:
        image = reference_pixels(read_image(data.inputs / "reference.png"), p.height, p.width)
        image = image + np.float32(p.noise_aug) * noise["noise_image"]
        assert relative(engine.infer({"image": image})["image_latents"], expected["image_latents"]) < NETWORK
    with opened("pose_net") as engine:
        for i in range(p.frames):
            pose = pose_pixels(read_image(data.inputs / "poses" / f"frame_{i}.png"), p.height, p.width)
            assert relative(engine.infer({"pose": pose})["pose_latents"][0], expected["pose_latents"][i]) < NETWORK


def test_decoder_matches_in_chunks_with_a_short_last_one(golden, case, opened):
    data = golden(case)
    latents = data.expected[f"latents_s{data.parameters.steps - 1}"][0]
    chunk = data.parameters.chunk
    assert len(latents) % chunk
    with opened("vae_decoder") as engine:
        frames = [engine.infer({"latents": latents[i : i + chunk]})["frames"] for i in range(0, len(latents), chunk)]
    assert relative(np.concatenate(frames), data.expected["frames_float"]) < NETWORK


@pytest.mark.parametrize("role", ROLES)
def test_every_network_agrees_with_paddles_on_random_inputs(checkpoint, role):
    """At sizes no golden case has, from the same weight files but by other code."""
    folder = checkpoint("recipe_hjb")
    opened = Checkpoint(folder)
    shapes = Shapes(height=128, width=64, tile_size=3, decode_chunk=2)
    definition = next(definition for definition in PLAIN_DEFINITIONS if definition.role == role)
    inputs, outputs = definition.inputs(opened, shapes), definition.outputs(opened, shapes)
    interface = contract(role, opened, shapes)
    assert (interface.inputs, interface.outputs) == (inputs, outputs)

    network = definition.network(opened)
    (part,) = definition.parts.values()
    load_weights(network, opened.weights(part, slots_by_part(opened, PLAIN_DEFINITIONS)[part]))
    (expected,) = reference_outputs(network.forward, None, inputs)
    with open_peer("eager", folder, role, shapes) as peer:
        assert relative(peer.infer(fixed_inputs(inputs))[outputs[0].name], expected) < NETWORK


def test_a_checkpoint_that_does_not_fit_is_refused(checkpoint, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint("recipe_hjb"), folder)
    config = folder / "SVD" / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"layers_per_block": 2}))
    shapes = Shapes(height=64, width=64, tile_size=2, decode_chunk=1)
    with pytest.raises(InputError, match="lacks the tensor"):
        open_peer("eager", folder, "unet", shapes)
    with pytest.raises(ValueError, match="no network for the role"):
        open_peer("eager", folder, "face_loss", shapes)
    with pytest.raises(ValueError, match="unknown peer"):
        open_peer("fastest", folder, "unet", shapes)
