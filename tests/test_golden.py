"""Both golden cases on both backends: single engines, then the whole way from the command line."""

import json

import numpy as np
import pytest
from golden_checks import check_every_stored_call
from PIL import Image
from shared import relative

from sa.runtime.case.identity import read_identity
from sa.runtime.case.images import pose_pixels, read_image, reference_pixels
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.sampling.conditioning import make_conditioning
from sa.runtime.sampling.denoiser import TiledDenoiser, guidance_scales
from sa.runtime.sampling.sampler import initial_latents, sample_euler
from sa.runtime.sampling.schedule import karras_sigmas

NETWORK = 1e-4  # tolerances of the golden data: max |value - reference| / max |reference|
LATENTS = 1e-3
LEVELS = 2  # of 255, in the written PNG files


@pytest.fixture
def opened(engines, case, backend):
    """opened(role): an engine of the case's set."""
    engine_set = EngineSet.open(engines(case, backend))

    def open_(role):
        return engine_set.open_single(role)

    open_.manifest, open_.unet = engine_set.manifest, engine_set.open_unet
    return open_


def test_unet_matches_every_stored_call(golden, case, opened):
    assert opened.manifest.specialized
    check_every_stored_call(golden(case), opened.unet(), NETWORK)


@pytest.mark.parametrize("backend", ["onnxruntime", "paddle"])  # OpenVINO runs ONNX Runtime's program
def test_the_plain_unet_matches_every_stored_call(golden, engines, backend):
    engine_set = EngineSet.open(engines("recipe_basic", backend, "--plain"))
    assert not engine_set.manifest.specialized
    check_every_stored_call(golden("recipe_basic"), engine_set.open_unet(), NETWORK)


def test_single_engines_match_on_stored_inputs(golden, case, opened):
    data = golden(case)
    expected, parameters = data.expected, data.parameters
    size = parameters.height, parameters.width
    with opened("image_encoder") as engine:
        embeds = engine.infer({"pixel_values": expected["clip_pixel_values"]})["image_embeds"]
        assert relative(embeds, expected["image_embeds"]) < NETWORK
    with opened("face_encoder") as engine:
        identity = read_identity(data.inputs / "id_embedding.npy", 512)
        tokens = engine.infer({"identity": identity, "image_embeds": expected["image_embeds"]})["face_tokens"]
        assert relative(tokens, expected["faceid_latents"].reshape(tokens.shape)) < NETWORK
    with opened("vae_encoder") as engine, np.load(data.inputs / "noise.npz") as noise:
        image = reference_pixels(read_image(data.inputs / "reference.png"), *size)
        image = image + np.float32(parameters.noise_aug) * noise["noise_image"]
        assert relative(engine.infer({"image": image})["image_latents"], expected["image_latents"]) < NETWORK
    with opened("pose_net") as engine:
        for i in range(parameters.frames):
            pose = pose_pixels(read_image(data.inputs / "poses" / f"frame_{i}.png"), *size)
            latents = engine.infer({"pose": pose})["pose_latents"]
            assert relative(latents[0], expected["pose_latents"][i]) < NETWORK


def test_decoder_matches_in_chunks_with_a_short_last_one(golden, case, opened):
    data = golden(case)
    latents = data.expected[f"latents_s{data.parameters.steps - 1}"][0]
    chunk = data.parameters.chunk
    assert len(latents) % chunk
    with opened("vae_decoder") as engine:
        frames = [engine.infer({"latents": latents[i : i + chunk]})["frames"] for i in range(0, len(latents), chunk)]
    assert relative(np.concatenate(frames), data.expected["frames_float"]) < NETWORK


def test_conditioning_and_sampling(golden, case, opened):
    """The whole basic case; of the refined case the steps before its first refinement."""
    data = golden(case)
    expected, parameters = data.expected, data.parameters
    with np.load(data.inputs / "noise.npz") as archive:
        noise = dict(archive)
    poses = [data.inputs / "poses" / f"frame_{i}.png" for i in range(parameters.frames)]
    conditioning = make_conditioning(
        opened,
        opened.manifest,
        read_image(data.inputs / "reference.png"),
        poses,
        read_identity(data.inputs / "id_embedding.npy", 512),
        noise["noise_image"],
        parameters.noise_aug,
    )
    assert relative(conditioning.image_latents, expected["image_latents"]) < NETWORK
    assert relative(conditioning.pose_latents.of(np.arange(len(poses)))[0], expected["pose_latents"]) < NETWORK
    assert relative(conditioning.encoder_hidden_states, expected["encoder_hidden_states_cond"]) < NETWORK
    np.testing.assert_allclose(conditioning.added_time_ids[0], expected["added_time_ids"].reshape(-1)[-3:], rtol=1e-6)

    schedule = opened.manifest.schedule
    sigmas = karras_sigmas(parameters.steps, schedule.sigma_min, schedule.sigma_max)
    steps = min(getattr(parameters, "refine", [parameters.steps]))
    x = initial_latents(noise["noise_latents"], parameters.frames, schedule.sigma_max)
    assert relative(x, expected["latents_init"]) < 1e-6
    with opened.unet() as unet:
        denoise = TiledDenoiser(
            unet,
            conditioning,
            parameters.tile_size,
            parameters.tile_overlap,
            guidance_scales(*parameters.guidance, parameters.frames),
        )
        assert [list(tile) for tile in denoise.tiles] == parameters.tiles
        assert relative(denoise(x, float(sigmas[0])), expected["pred_x0_s0"]) < LATENTS
        seen = []

        def check(step, latents, denoised):
            assert relative(latents, expected[f"latents_s{step}"]) < LATENTS, step
            seen.append(step)

        sample_euler(denoise, x, sigmas[: steps + 1], check)
    assert seen == list(range(steps))


def test_sa_run_writes_the_golden_frames(golden, engines, case_folder, backend, tmp_path):
    from sa.runtime.cli import main

    data = golden("recipe_basic")
    arguments = [
        *("--engines", engines("recipe_basic", backend), "--case", case_folder("recipe_basic")),
        *("--out", tmp_path / "out", "--steps", data.parameters.steps),
        *("--guidance", 3.0, "--guidance-start", 3.0, "--tile-overlap", data.parameters.tile_overlap),
        *("--noise", data.inputs / "noise.npz", "--identity", data.inputs / "id_embedding.npy", "--quiet"),
    ]
    assert main([str(word) for word in arguments]) == 0
    frames = data.expected["frames_float"]
    truth = np.rint(np.clip(frames / 2 + 0.5, 0, 1) * 255).transpose(0, 2, 3, 1)
    for i, expected in enumerate(truth):
        with Image.open(tmp_path / "out" / "frames" / f"frame_{i}.png") as image:
            assert np.abs(np.asarray(image).astype(int) - expected).max() <= LEVELS
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "animation.gif",
        "animation.mp4",
        "frames",
        "run.json",
    ]
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["frames"] == len(truth) and run["backend"] == backend and run["refine"] == []
    assert {"conditioning", "denoising", "decoding"} <= run["seconds"].keys()


def test_the_default_seed_is_the_golden_noise(golden, case):
    from sa.runtime.pipeline.settings import Settings
    from sa.runtime.sampling.noise import make_noise

    data = golden(case)
    p = data.parameters
    noise = make_noise(None, Settings().seed, p.height, p.width, p.tile_size)
    with np.load(data.inputs / "noise.npz") as archive:
        assert np.abs(noise.image - archive["noise_image"]).max() < 2e-6
        assert np.abs(noise.latents - archive["noise_latents"]).max() < 2e-6
