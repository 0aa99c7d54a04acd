"""The golden cases on the GPU, against the published code's float64 runs. No GPU has run this yet."""

import json

import pytest
from golden_checks import check_every_stored_call, every_iteration, psnr_of_frames
from gpu_engines import capability, gpu, packed

from sa.runtime.cli import main

pytestmark = pytest.mark.gpu
# Of a UNet's call, relative to the largest value. In recipe_hjb, a GroupNorm over pairs of numbers leaves the sign of
# their difference, and in one call two nearly agree: emulated, that call is off by 3.6e-2 (docs/precision.md).
NETWORK = {"recipe_basic": {"fp32": 1e-4, "fp16": 2e-2}, "recipe_hjb": {"fp32": 1e-4, "fp16": 1e-1}}
PSNR = {"fp32": 50, "fp16": 40}  # of frames of a whole run, in dB
COSINE = 0.9999  # of the face loss's gradient
LOSS = {"fp32": 1e-5, "fp16": 1e-4}


@pytest.mark.parametrize("case_name", ["recipe_basic", "recipe_hjb"])
def test_every_stored_call_of_the_unet(golden, gpu, case_name):
    unet = gpu.opened(case_name).open_unet()
    check_every_stored_call(golden(case_name), unet, NETWORK[case_name][gpu.precision])


def test_frames_of_the_basic_case(golden, gpu, case_folder, tmp_path):
    data = golden("recipe_basic")
    arguments = [
        *("--engines", gpu.folder("recipe_basic"), "--case", case_folder("recipe_basic"), "--out", tmp_path / "out"),
        *(
            "--steps",
            data.parameters.steps,
            "--guidance",
            3.0,
            "--guidance-start",
            3.0,
            "--device",
            gpu.device,
            "--quiet",
        ),
        *("--tile-overlap", data.parameters.tile_overlap, "--noise", data.inputs / "noise.npz"),
    ]
    assert main([str(word) for word in arguments]) == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["device"] == gpu.device
    assert psnr_of_frames(data, tmp_path / "out") > PSNR[gpu.precision]


def test_the_gradient_of_every_iteration(golden, gpu):
    """Teacher-forced: each iteration from the stored latents."""
    with gpu.opened("recipe_hjb").open_loss_gradient() as engine:
        for loss_error, cosine in every_iteration(golden("recipe_hjb"), engine):
            assert cosine > COSINE
            assert loss_error < LOSS[gpu.precision]
