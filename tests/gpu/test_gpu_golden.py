"""The golden cases on the GPU, against the published code's float64 runs. No GPU has run this yet."""

import json

import numpy as np
import pytest
from conftest import relative
from gpu_engines import capability, gpu
from PIL import Image

from sa.runtime.cli import main
from sa.runtime.faces import read_targets
from sa.runtime.images import read_image
from sa.runtime.refine import VideoLoss

pytestmark = pytest.mark.gpu
NETWORK = {"fp32": 1e-4, "fp16": 2e-2}  # of a UNet's call, relative to the largest value
PSNR = {"fp32": 50, "fp16": 40}  # of frames of a whole run, in dB
COSINE = {"fp32": 0.9999, "fp16": 0.998}  # of the face loss's gradient
LOSS = {"fp32": 1e-5, "fp16": 1e-2}


@pytest.mark.parametrize("case_name", ["recipe_basic", "recipe_hjb"])
def test_every_stored_call_of_the_unet(golden, gpu, case_name):
    data = golden(case_name)
    ids = np.array([[6.0, 127.0, data.parameters.noise_aug]], np.float32)
    samples = [name for name in data.expected if name.startswith("unet_") and name.endswith("_sample")]
    assert samples
    with gpu.opened(case_name).open_engine("unet") as unet:
        for name in samples:
            _, step, tile, branch, _ = name.split("_")
            pose = data.expected["pose_latents"][None, data.parameters.tiles[int(tile.removeprefix("tile"))]]
            velocity = unet.infer(
                {
                    "sample": data.expected[name],
                    "timestep": data.expected["timesteps"][int(step[1:])].reshape(1).astype(np.float32),
                    "added_time_ids": ids,
                    "encoder_hidden_states": data.expected[f"encoder_hidden_states_{branch}"],
                    "pose_latents": pose if branch == "cond" else np.zeros_like(pose),
                }
            )["velocity"]
            assert np.isfinite(velocity).all(), name
            assert relative(velocity, data.expected[name.replace("_sample", "_out")]) < NETWORK[gpu.precision], name


def test_frames_of_the_basic_case(golden, gpu, case_folder, tmp_path):
    data = golden("recipe_basic")
    arguments = [
        *("--engines", gpu.folder("recipe_basic"), "--case", case_folder("recipe_basic"), "--out", tmp_path / "out"),
        *("--steps", data.parameters.steps, "--guidance", 3.0, "--guidance-start", 3.0, "--device", "cuda", "--quiet"),
        *("--tile-overlap", data.parameters.tile_overlap, "--noise", data.inputs / "noise.npz"),
    ]
    assert main([str(word) for word in arguments]) == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["device"] == "cuda"
    truth = np.clip(data.expected["frames_float"] / 2 + 0.5, 0, 1).transpose(0, 2, 3, 1)
    written = []
    for i in range(len(truth)):
        with Image.open(tmp_path / "out" / "frames" / f"frame_{i}.png") as image:
            written.append(np.asarray(image) / 255)
    assert -10 * np.log10(np.square(np.stack(written) - truth).mean()) > PSNR[gpu.precision]


def test_the_gradient_of_every_iteration(golden, gpu):
    """Teacher-forced: each iteration from the stored latents."""
    data = golden("recipe_hjb")
    expected, size = data.expected, (data.parameters.height, data.parameters.width)
    masks = [data.inputs / "faces" / f"frame_{i}.png" for i in range(data.parameters.frames)]
    reference = read_image(data.inputs / "reference.png")
    mask = data.inputs / "reference_mask.png"
    targets = read_targets(reference, mask, masks, *size, upstream=True, warnings=[])
    with gpu.opened("recipe_hjb").open_loss_gradient() as engine:
        loss_of = VideoLoss(engine, targets, expected["hjb_reference_embedding"], *size)
        for k, latents in enumerate(expected["hjb_z_in"]):
            loss, gradient = loss_of(latents)
            truth = expected["hjb_grad"][k].astype(np.float64)
            cosine = np.vdot(gradient, truth) / np.linalg.norm(gradient) / np.linalg.norm(truth)
            assert cosine > COSINE[gpu.precision], k
            assert loss == pytest.approx(float(expected["hjb_loss"][k]), rel=LOSS[gpu.precision])
