"""What a machine cannot do, by its devices or its memory: one exact sentence, and nothing is added or changed."""

import json
import sys

import onnxruntime
import paddle
import pytest
from command_lines import CASE, copied, export_arguments, fails, run_arguments
from spoiling import edit_json

from sa.export import exporter
from sa.export.targets.openvino import settings
from sa.runtime.backends import cuda, libraries
from sa.runtime.engine_set import memory_plan, verify


@pytest.fixture
def gpu_build(monkeypatch):
    """The ONNX Runtime and the Paddle that are imported say that they know GPUs."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)


@pytest.fixture
def place(tmp_path, engines, case_folder):
    """A folder with an engine set and a case (a link, as nothing is written there)."""
    copied(tmp_path, engines=engines(CASE, "onnxruntime"))
    (tmp_path / "case").symlink_to(case_folder(CASE))
    return tmp_path


def change_manifest(place, **fields):
    edit_json("engines/manifest.json", **fields)(place)


def refused(place, flags, message, capsys):
    fails("sa-run", [*run_arguments(place), *flags], place, 3, message, capsys)


def test_the_library_with_cuda_is_not_installed(place, capsys):
    message = (
        f"{place}/engines runs on onnxruntime-gpu, which is not installed: "
        "`pip uninstall onnxruntime && pip install 'stableanimator-deploy[cuda]'`."
    )
    refused(place, ["--device", "cuda"], message, capsys)


def test_no_library_is_installed(place, monkeypatch, capsys):
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    message = (
        f"{place}/engines runs on onnxruntime, which is not installed: `pip install 'stableanimator-deploy[cpu]'`."
    )
    refused(place, [], message, capsys)


def test_a_library_that_cannot_be_imported(place, monkeypatch, capsys):
    def fail(name):
        raise ImportError("libcudart.so.13: cannot open shared object file\nmore")

    monkeypatch.setattr(libraries, "import_module", fail)
    message = (
        "onnxruntime is installed but cannot be imported (libcudart.so.13: cannot open shared object file): "
        "install it again, or what it lacks."
    )
    refused(place, [], message, capsys)


def test_what_speaks_to_the_gpu_is_not_installed(place, gpu_build, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    message = (
        f"{place}/engines runs through cuda-bindings, which is not installed: "
        "`pip install 'stableanimator-deploy[cuda]'`."
    )
    refused(place, ["--device", "cuda"], message, capsys)


def test_there_is_no_gpu(place, gpu_build, monkeypatch, capsys):
    monkeypatch.setattr(cuda, "compute_capability", lambda: None)
    message = f"{place}/engines was to run on a GPU, but found none here, or no driver: leave out --device cuda."
    refused(place, ["--device", "cuda"], message, capsys)


def test_paddle_for_the_cpu_alone(place, capsys):
    change_manifest(place, backend="paddle", backend_version="3.2.2")
    message = (
        f"{place}/engines was to run on a GPU with paddlepaddle-gpu, which is not installed: "
        "install paddlepaddle-gpu 3.2.2 in the place of paddlepaddle, as Paddle's installation guide says."
    )
    refused(place, ["--device", "cuda"], message, capsys)


def test_a_paddle_that_ends_on_gradients(place, gpu_build, monkeypatch, capsys):
    monkeypatch.setattr(paddle, "__version__", "3.3.1")
    change_manifest(place, backend="paddle", backend_version="3.2.2")
    message = (
        f"{place}/engines was built for paddlepaddle-gpu 3.2.2, but 3.3.1 is installed; install that version or "
        "rebuild the engine set with `sa-export --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime "
        "--precision fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4`."
    )
    refused(place, ["--device", "cuda"], message, capsys)


def test_paddles_fp16_is_for_gpus(place, capsys):
    change_manifest(place, backend="paddle", backend_version="3.2.2", device="cuda", precision="fp16")
    message = (
        f"{place}/engines was made with paddle for GPUs alone: "
        "leave out --device cpu, or export with --backend onnxruntime."
    )
    refused(place, ["--device", "cpu"], message, capsys)


def exporting_for_openvino(place, precision, message, capsys):
    flags = [*export_arguments(place, "openvino"), "--precision", precision]
    fails("sa-export", flags, place, 2, message, capsys)


@pytest.mark.parametrize(
    ("version", "found"),
    [(None, "OpenVINO, which is not installed"), ("2025.4.1", "OpenVINO 2026.4 or later, but 2025.4.1 is installed")],
)
def test_an_export_without_a_usable_openvino(tmp_path, monkeypatch, version, found, capsys):
    monkeypatch.setattr(settings, "backend_version", lambda backend: version)
    message = f"--backend openvino needs {found}: `pip install 'stableanimator-deploy[openvino]'`."
    exporting_for_openvino(tmp_path, "fp32", message, capsys)


def test_bf16_is_certified_on_cpus_that_compute_in_it(tmp_path, monkeypatch, capsys):
    openvino = pytest.importorskip("sa.runtime.backends.openvino", reason="OpenVINO is not installed")
    monkeypatch.setattr(openvino, "computes_bf16", lambda: False)
    message = (
        "--precision bf16 is certified by running it, and this CPU has no instructions for bfloat16 "
        "(avx512_bf16 or AMX): export on a CPU that has them, or give --precision fp32."
    )
    exporting_for_openvino(tmp_path, "bf16", message, capsys)


def test_bf16_runs_on_cpus_that_compute_in_it(place, monkeypatch, capsys):
    openvino = pytest.importorskip("sa.runtime.backends.openvino", reason="OpenVINO is not installed")
    change_manifest(place, backend="openvino", backend_version="2026.4.1", precision="bf16")
    monkeypatch.setattr(openvino, "computes_bf16", lambda: False)
    message = (
        f"{place}/engines computes in bfloat16, for which this CPU has no instructions (avx512_bf16 or AMX): "
        "run it on a CPU that has them, or export with --precision fp32."
    )
    refused(place, [], message, capsys)


def test_openvino_is_too_old(place, monkeypatch, capsys):
    change_manifest(place, backend="openvino", backend_version="2026.4.1", command="sa-export --backend openvino")
    monkeypatch.setattr(verify, "backend_version", lambda backend: "2026.3.0")
    message = (
        f"{place}/engines was built for openvino 2026.4.1, but 2026.3.0 is installed; install that version or rebuild "
        "the engine set with `sa-export --backend openvino`."
    )
    refused(place, [], message, capsys)


def test_openvino_is_for_cpus(place, capsys):
    change_manifest(place, backend="openvino", backend_version="2026.4.1")
    message = (
        f"{place}/engines was made with openvino for CPUs alone: leave out --device cuda, or export with "
        "--backend onnxruntime."
    )
    refused(place, ["--device", "cuda"], message, capsys)


def test_plans_are_for_gpus(place, capsys):
    built = {"backend": "tensorrt-rtx", "backend_version": "1.7.1.116", "compute_capabilities": ["8.9"]}
    change_manifest(place, **built, device="cuda")
    message = (
        f"{place}/engines was made with tensorrt-rtx for GPUs alone: "
        "leave out --device cpu, or export with --backend onnxruntime."
    )
    refused(place, ["--device", "cpu"], message, capsys)


def test_a_device_that_does_not_exist(place, capsys):
    from sa.runtime.cli import main

    with pytest.raises(SystemExit) as ended:
        main([*run_arguments(place), "--device", "tpu"])
    assert ended.value.code == 2
    assert "argument --device: invalid choice: 'tpu'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("free", "flags", "message"),
    [
        (
            6,
            [],
            "{place}/engines needs at least 8.00 GiB for denoising, but 6.00 GiB of memory are free: "
            "give --low-memory.",
        ),
        (
            3,
            ["--low-memory"],
            "{place}/engines needs at least 4.00 GiB for denoising, but 3.00 GiB of memory are free: "
            "export a smaller --height, --width or --tile-size.",
        ),
    ],
    ids=["all at once", "--low-memory"],
)
def test_a_run_that_cannot_fit(place, monkeypatch, capsys, free, flags, message):
    """Two engines of 4 GiB that may take turns, the others small."""
    engines = json.loads((place / "engines" / "manifest.json").read_text())["engines"]
    for engine in engines:
        large = engine["role"] in ("unet", "conditioning")
        engine |= {"parameters": 1 << 30 if large else 1 << 20, "working_bytes": 1 << 20}
    change_manifest(place, engines=engines)
    monkeypatch.setattr(memory_plan, "available_memory", lambda: free << 30)
    refused(place, flags, message.format(place=place), capsys)


def test_an_export_that_cannot_fit(checkpoint, tmp_path, monkeypatch, capsys):
    (tmp_path / "checkpoint").symlink_to(checkpoint(CASE))
    monkeypatch.setattr(exporter, "available_memory", lambda: 1 << 20)
    message = (
        "exporting needs at least 0.01 GiB for the float32 network of the unet, but 0.00 GiB of memory are free: "
        "end other programs, or export on a machine with more."
    )
    fails("sa-export", export_arguments(tmp_path), tmp_path, 1, message, capsys)
