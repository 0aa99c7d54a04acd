"""Engines on the GPU itself: built, certified, captured, loaded and dropped. No GPU has run this yet."""

import json

import numpy as np
import pytest
from gpu_engines import capability, gpu, packed

from sa.export.certificates import certificate
from sa.export.engines.fixed_inputs import fixed_inputs
from sa.export.engines.plain_calls import PlainCalls
from sa.runtime.backends import open_engine
from sa.runtime.backends.cuda import memory_of_device
from sa.runtime.cli import main
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import EngineSetError

pytestmark = pytest.mark.gpu
CASE = "recipe_hjb"
KINKED = ("face_loss", "loss_gradient")  # gradients through functions whose slope jumps


def test_a_set_is_built_and_opened(gpu):
    manifest = gpu.opened(CASE).manifest
    assert manifest.precision == gpu.precision
    assert bool(manifest.compute_capabilities) == gpu.plans


def opened(engines, role):
    """The engine, or for the specialized UNet what is compared with the plain one."""
    contracts = {engine.role: engine for engine in engines.manifest.engines}
    return PlainCalls(engines.open_unet(), contracts) if role == "unet" else engines.open_single(role)


def test_every_engine_meets_its_tolerance_on_the_gpu(gpu):
    """What the export compared on a CPU, emulated or as programs, compared again as it runs here.

    The truth is the float32 engine on ONNX Runtime's CPU provider: a few millionths from the network, and no Paddle.
    """
    engines, float32, beyond = gpu.opened(CASE), gpu.float32(CASE), {}
    for record in engines.manifest.engines:
        with opened(float32, record.role) as engine:
            reference = tuple(engine.infer(fixed_inputs(engine.contract.inputs)).values())
        with opened(engines, record.role) as engine:
            found = certificate(engine, reference, False, record.precision, kinked=record.role in KINKED)
        if not found.relative <= found.tolerance:
            beyond[record.role] = found.relative, found.tolerance
    assert not beyond


def test_a_graph_is_captured_for_each_shape_and_replayed_with_new_inputs(gpu):
    gpu.require_gpu("CUDA graphs")
    if gpu.backend == "paddle":
        pytest.skip("Paddle's predictor captures no graphs")
    engines = gpu.opened(CASE)

    def inputs(seed, branches):
        generator = np.random.default_rng(seed)
        contract = engines.manifest.engine("unet")
        sizes = {spec.name: [d if isinstance(d, int) else branches for d in spec.shape] for spec in contract.inputs}
        return {name: generator.standard_normal(size, np.float32) for name, size in sizes.items()}

    def opened():
        return open_engine(engines.backend, engines.folder, engines.manifest.engine("unet"))

    calls = [(0, 1), (1, 1), (2, 2), (0, 1), (3, 2)]
    with opened() as engine:
        assert engine.warnings() == ()
        captured = [engine.infer(inputs(*call))["velocity"] for call in calls]
        assert len(engine._graphs) == 2
    for call, result in zip(calls, captured, strict=True):
        with opened() as engine:
            np.testing.assert_allclose(result, engine.infer(inputs(*call))["velocity"], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(captured[0], captured[3])
    assert not np.array_equal(captured[0], captured[1])


def test_what_stays_on_the_device_is_what_comes_back(gpu):
    gpu.require_gpu("tensors on a device")
    if gpu.backend == "paddle":
        pytest.skip("Paddle's tensors come back to the host")
    engines = gpu.opened(CASE)
    segment = engines.manifest.refine.segments[0]
    with engines.open_single(segment.forward) as first, engines.open_single(segment.vjp) as back:
        inputs = fixed_inputs(first.contract.inputs)
        y = first.infer(inputs, keep=("y",))["y"]
        assert not isinstance(y, np.ndarray)
        host = first.infer(inputs)["y"]
        through = [back.infer({**inputs, "dy": dy})["dx"] for dy in (y, host)]
    np.testing.assert_array_equal(*through)


def test_device_memory_is_given_back(gpu):
    gpu.require_gpu("device memory")
    engines = gpu.opened(CASE)
    with engines.open_single("pose_net"):
        pass  # the context and libraries stay
    before = memory_of_device()[0]
    for role in ("image_encoder", "vae_encoder", "unet", "vae_decoder"):
        with engines.open_single(role) as engine:
            engine.infer(fixed_inputs(engine.contract.inputs))
    assert before - memory_of_device()[0] < 64 << 20


def test_low_memory_makes_the_same_frames(gpu, case_folder, tmp_path):
    arguments = [
        "--engines",
        gpu.folder(CASE),
        "--case",
        case_folder(CASE),
        "--steps",
        2,
        "--device",
        gpu.device,
        "--quiet",
    ]
    arguments += ["--refine", "--refine-end", 0, "--refine-iters", 1]
    for name, flags in (("plain", []), ("low", ["--low-memory"])):
        assert main([str(word) for word in [*arguments, "--out", tmp_path / name, *flags]]) == 0
    for path in sorted((tmp_path / "plain" / "frames").iterdir()):
        assert path.read_bytes() == (tmp_path / "low" / "frames" / path.name).read_bytes()
    run = json.loads((tmp_path / "low" / "run.json").read_text())
    assert run["device"] == run["memory"]["device"] == gpu.device and run["arguments"]["low_memory"]


def test_a_foreign_plan_is_refused(gpu, capability, tmp_path):
    if not gpu.plans:
        pytest.skip("programs are for every GPU")
    foreign = "7.5" if capability != "7.5" else "8.6"
    folder = gpu.manifest_changed(CASE, tmp_path, compute_capabilities=[foreign])
    with pytest.raises(EngineSetError, match=rf"capability {foreign}, this one has {capability}; rebuild "):
        EngineSet.open(folder)


def test_a_plan_of_another_release_is_refused(gpu, tmp_path):
    if not gpu.plans:
        pytest.skip("programs run on other releases")
    folder = gpu.manifest_changed(CASE, tmp_path, backend_version="99.0.0")
    with pytest.raises(EngineSetError, match=r"was built for .* 99\.0\.0, but .* is installed; install that version"):
        EngineSet.open(folder, device="cuda")
