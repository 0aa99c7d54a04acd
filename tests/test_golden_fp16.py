"""fp16 engine sets, emulated, against the published code's float64 runs. ONNX graphs are the same for every library."""

import numpy as np
import pytest
from PIL import Image

import sa.export.exporter  # noqa: F401 - before the fixture below: what it opens for certificates is not emulated
from sa.export import emulation
from sa.runtime import backends
from sa.runtime.cli import main
from sa.runtime.engine_set import EngineSet
from sa.runtime.faces import read_targets
from sa.runtime.images import read_image
from sa.runtime.refine import VideoLoss

pytestmark = pytest.mark.fp16


@pytest.fixture
def emulated_engines(monkeypatch):
    """fp16 engines are opened as what an fp16 machine would compute."""
    plain = backends.open_engine
    opened = []

    def open_engine(backend, folder, contract, threads=None):
        if contract.precision == "fp32":
            return plain(backend, folder, contract, threads)
        opened.append(contract.role)
        return emulation.open_emulated(folder, contract, threads)

    monkeypatch.setattr(backends, "open_engine", open_engine)
    return opened


def test_frames_of_the_basic_case(golden, engines, case_folder, emulated_engines, tmp_path):
    data = golden("recipe_basic")
    arguments = [
        *("--engines", engines("recipe_basic", "onnxruntime", "--precision", "fp16")),
        *("--case", case_folder("recipe_basic"), "--out", tmp_path / "out", "--steps", data.parameters.steps),
        *("--guidance", 3.0, "--guidance-start", 3.0, "--tile-overlap", data.parameters.tile_overlap),
        *("--noise", data.inputs / "noise.npz", "--identity", data.inputs / "id_embedding.npy", "--quiet"),
    ]
    assert main([str(word) for word in arguments]) == 0
    assert {"image_encoder", "face_encoder", "pose_net", "unet", "vae_decoder"} == set(emulated_engines)
    truth = np.clip(data.expected["frames_float"] / 2 + 0.5, 0, 1).transpose(0, 2, 3, 1)
    written = []
    for i in range(len(truth)):
        with Image.open(tmp_path / "out" / "frames" / f"frame_{i}.png") as image:
            written.append(np.asarray(image) / 255)
    assert psnr(np.stack(written), truth) > 40


def psnr(value: np.ndarray, truth: np.ndarray) -> float:
    """Of values in 0..1, in dB."""
    return float(-10 * np.log10(np.square(value - truth).mean()))


def test_the_first_noise_level_does_not_overflow(golden, engines, emulated_engines):
    data = golden("recipe_hjb")
    manifest = EngineSet.open(engines("recipe_hjb", "onnxruntime", "--precision", "fp16", "--refine")).manifest
    assert manifest.schedule.sigma_max == 700
    engine_set = EngineSet.open(engines("recipe_hjb", "onnxruntime", "--precision", "fp16", "--refine"))
    sample = np.concatenate([data.expected["unet_s0_tile0_cond_sample"]])
    with engine_set.open_engine("unet") as unet:
        velocity = unet.infer(
            {
                "sample": sample,
                "timestep": data.expected["timesteps"][:1].astype(np.float32),
                "added_time_ids": np.array([[6.0, 127.0, data.parameters.noise_aug]], np.float32),
                "encoder_hidden_states": data.expected["encoder_hidden_states_cond"],
                "pose_latents": data.expected["pose_latents"][None, data.parameters.tiles[0]],
            }
        )["velocity"]
    truth = data.expected["unet_s0_tile0_cond_out"]
    assert np.abs(velocity - truth).max() < 2e-2 * np.abs(truth).max()


def test_the_gradient_of_every_iteration(golden, engines, emulated_engines):
    """Teacher-forced: each iteration from the stored latents."""
    data = golden("recipe_hjb")
    expected, size = data.expected, (data.parameters.height, data.parameters.width)
    masks = [data.inputs / "faces" / f"frame_{i}.png" for i in range(data.parameters.frames)]
    reference = read_image(data.inputs / "reference.png")
    mask = data.inputs / "reference_mask.png"
    targets = read_targets(reference, mask, masks, *size, upstream=True, warnings=[])
    folder = engines("recipe_hjb", "onnxruntime", "--precision", "fp16", "--refine")
    manifest = EngineSet.open(folder).manifest
    for segment in manifest.refine.segments:
        assert manifest.engine(segment.vjp).loss_scale >= 1
    with EngineSet.open(folder, refine=True).open_loss_gradient() as engine:
        loss_of = VideoLoss(engine, targets, expected["hjb_reference_embedding"], *size)
        for k, latents in enumerate(expected["hjb_z_in"]):
            loss, gradient = loss_of(latents)
            truth = expected["hjb_grad"][k].astype(np.float64)
            cosine = np.vdot(gradient, truth) / np.linalg.norm(gradient) / np.linalg.norm(truth)
            assert cosine > 0.99999, k
            assert loss == pytest.approx(float(expected["hjb_loss"][k]), rel=1e-4)
    assert any(role.endswith("_vjp") for role in emulated_engines)
