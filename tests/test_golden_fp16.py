"""fp16 engine sets, emulated, against the published code's float64 runs. ONNX graphs are the same for every library."""

import numpy as np
import pytest
from golden_checks import every_iteration, psnr_of_frames

from sa.export.engines.plain_calls import plain_call
from sa.export.onnx import emulation
from sa.runtime.cli import main
from sa.runtime.engine_set import open as opening
from sa.runtime.engine_set.open import EngineSet

pytestmark = pytest.mark.fp16


@pytest.fixture
def emulated_engines(monkeypatch):
    """fp16 engines are opened as what an fp16 machine would compute."""
    plain = opening.open_engine
    opened = []

    def open_engine(backend, folder, contract, threads=None):
        if contract.precision == "fp32":
            return plain(backend, folder, contract, threads)
        opened.append(contract.role)
        return emulation.open_emulated(folder, contract, threads)

    monkeypatch.setattr(opening, "open_engine", open_engine)
    return opened


def test_frames_of_the_basic_case(golden, engines, case_folder, emulated_engines, tmp_path):
    data = golden("recipe_basic")
    arguments = [
        *("--engines", engines("recipe_basic", "onnxruntime", "--precision", "fp16", "--refine")),
        *("--case", case_folder("recipe_basic"), "--out", tmp_path / "out", "--steps", data.parameters.steps),
        *("--guidance", 3.0, "--guidance-start", 3.0, "--tile-overlap", data.parameters.tile_overlap),
        *("--noise", data.inputs / "noise.npz", "--identity", data.inputs / "id_embedding.npy", "--quiet"),
    ]
    assert main([str(word) for word in arguments]) == 0
    assert {"image_encoder", "face_encoder", "pose_net", "unet", "vae_decoder"} == set(emulated_engines)
    assert psnr_of_frames(data, tmp_path / "out") > 40


def test_the_first_noise_level_does_not_overflow(golden, engines, emulated_engines):
    data = golden("recipe_hjb")
    manifest = EngineSet.open(engines("recipe_hjb", "onnxruntime", "--precision", "fp16", "--refine")).manifest
    assert manifest.schedule.sigma_max == 700
    engine_set = EngineSet.open(engines("recipe_hjb", "onnxruntime", "--precision", "fp16", "--refine"))
    sample = np.concatenate([data.expected["unet_s0_tile0_cond_sample"]])
    with engine_set.open_unet() as unet:
        velocity = plain_call(
            unet,
            {
                "sample": sample,
                "timestep": data.expected["timesteps"][:1].astype(np.float32),
                "added_time_ids": np.array([[6.0, 127.0, data.parameters.noise_aug]], np.float32),
                "encoder_hidden_states": data.expected["encoder_hidden_states_cond"],
                "pose_latents": data.expected["pose_latents"][None, data.parameters.tiles[0]],
            },
        )
    truth = data.expected["unet_s0_tile0_cond_out"]
    assert np.abs(velocity - truth).max() < 2e-2 * np.abs(truth).max()


def test_the_gradient_of_every_iteration(golden, engines, emulated_engines):
    """Teacher-forced: each iteration from the stored latents."""
    data = golden("recipe_hjb")
    folder = engines("recipe_hjb", "onnxruntime", "--precision", "fp16", "--refine")
    manifest = EngineSet.open(folder).manifest
    for segment in manifest.refine.segments:
        assert manifest.engine(segment.vjp).loss_scale >= 1
    with EngineSet.open(folder, refine=True).open_loss_gradient() as engine:
        for loss_error, cosine in every_iteration(data, engine):
            assert cosine > 0.99999
            assert loss_error < 1e-4
    assert any(role.endswith("_vjp") for role in emulated_engines)
