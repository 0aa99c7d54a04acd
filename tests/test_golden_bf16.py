"""bf16 engine sets, as OpenVINO runs them on this CPU, against the published code's float64 runs."""

import numpy as np
import pytest
from golden_checks import check_every_stored_call, every_iteration, psnr_of_frames

from sa.export.onnx.rewrites.lower_precision import policy
from sa.runtime.cli import main
from sa.runtime.engine_set.open import EngineSet

pytest.importorskip("openvino", reason="OpenVINO is not installed")
backend = pytest.importorskip("sa.runtime.backends.openvino")
pytestmark = pytest.mark.skipif(not backend.computes_bf16(), reason="this CPU does not compute in bfloat16")
BF16 = ("--precision", "bf16")


@pytest.fixture
def refining_set(engines):
    return EngineSet.open(engines("recipe_hjb", "openvino", *BF16, "--refine"), refine=True)


def test_frames_of_the_basic_case(golden, engines, case_folder, tmp_path):
    data = golden("recipe_basic")
    arguments = [
        *("--engines", engines("recipe_basic", "openvino", *BF16), "--case", case_folder("recipe_basic")),
        *("--out", tmp_path / "out", "--steps", data.parameters.steps),
        *("--guidance", 3.0, "--guidance-start", 3.0, "--tile-overlap", data.parameters.tile_overlap),
        *("--noise", data.inputs / "noise.npz", "--identity", data.inputs / "id_embedding.npy", "--quiet"),
    ]
    assert main([str(word) for word in arguments]) == 0
    psnr = psnr_of_frames(data, tmp_path / "out")
    print(f"{psnr:.1f} dB")
    assert 30 < psnr < 60


def test_every_call_of_the_unet(golden, engines):
    check_every_stored_call(
        golden("recipe_basic"), EngineSet.open(engines("recipe_basic", "openvino", *BF16)).open_unet(), 6e-2
    )


def test_the_gradient_of_every_iteration(golden, refining_set):
    """Teacher-forced: each iteration from the stored latents."""
    with refining_set.open_loss_gradient() as engine:
        for loss_error, cosine in every_iteration(golden("recipe_hjb"), engine):
            print(f"loss {loss_error:.1e}, 1 - cosine {1 - cosine:.1e}")
            assert cosine > 0.999
            assert loss_error < 1e-4


def test_who_is_bf16_and_how_it_was_certified(refining_set):
    manifest = refining_set.manifest
    assert manifest.precision == "bf16" and {one.precision for one in manifest.engines} == {"bf16", "fp32"}
    for engine in manifest.engines:
        kept = policy("bf16").keeps(engine.role)
        assert engine.precision == ("fp32" if kept else "bf16")
        assert engine.certificate.executed == "engine"
        assert engine.certificate.tolerance >= (1e-4 if kept else 4e-2)
        assert (engine.certificate.relative > 2e-4) == (not kept), (
            "an engine computes in another precision than it says"
        )
        assert engine.loss_scale is None and engine.float32_tensors == ()


def test_weights_lie_once_in_two_bytes(refining_set):
    """float32 engines have files of their own; what bf16 engines share is stored once."""
    manifest = refining_set.manifest
    sizes = {file.name: file.bytes for engine in manifest.engines for file in engine.files}
    unet = manifest.engine("unet")
    assert unet.weight_bytes == 2 * unet.parameters
    assert unet.weight_bytes <= sizes["unet.weights"] < 4 * unet.parameters  # tensors begin on pages
    assert "vae.weights" in {file.name for file in manifest.engine("vae_decoder").files}
    assert "vae.weights" not in {file.name for file in manifest.engine("vae_encoder").files}


def test_repeatable(refining_set):
    (spec,) = refining_set.manifest.engine("vae_decoder").inputs
    latents = np.random.default_rng(0).standard_normal((2, *spec.shape[1:]), np.float32)
    with refining_set.open_single("vae_decoder") as engine:
        first = engine.infer({"latents": latents})["frames"]
        engine.infer({"latents": latents[:1]})
        np.testing.assert_array_equal(engine.infer({"latents": latents})["frames"], first)
