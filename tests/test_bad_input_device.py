"""What a machine cannot do, by its device or its memory: one exact sentence, and nothing left behind or changed."""

import json
import sys
from importlib import metadata

import pytest
from command_lines import CASE, copied, export_arguments, fails, run_arguments

from sa.export import exporter
from sa.runtime import memory_plan
from sa.runtime.backends import cuda

PLANS = {"backend": "tensorrt-rtx", "backend_version": "1.7.1.116", "device": "cuda", "compute_capabilities": ["8.9"]}


@pytest.fixture
def installed(monkeypatch):
    """installed(**versions): what pip would say of distributions, None for one that is not there."""
    real = metadata.version

    def install(**versions):
        named = {name.replace("_", "-"): version for name, version in versions.items()}

        def version(name):
            if name in named and named[name] is None:
                raise metadata.PackageNotFoundError(name)
            return named.get(name) or real(name)

        monkeypatch.setattr(metadata, "version", version)

    return install


@pytest.fixture
def place(tmp_path, engines, case_folder):
    copied(tmp_path, engines=engines(CASE, "onnxruntime"))
    (tmp_path / "case").symlink_to(case_folder(CASE))
    return tmp_path


def change(place, **fields):
    path = place / "engines" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(place, flags, message, capsys):
    fails("sa-run", [*run_arguments(place), *flags], place, 3, f"{place}/engines {message}", capsys)


def test_the_library_with_cuda_is_not_installed(place, installed, capsys):
    installed(onnxruntime_gpu=None)
    message = (
        "runs on onnxruntime-gpu, which is not installed: "
        "`pip uninstall onnxruntime && pip install 'stableanimator-deploy[cuda]'`."
    )
    refused(place, ["--device", "cuda"], message, capsys)


def test_what_speaks_to_the_gpu_is_not_installed(place, installed, monkeypatch, capsys):
    installed(onnxruntime_gpu=metadata.version("onnxruntime"))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    message = "runs through cuda-bindings, which is not installed: `pip install 'stableanimator-deploy[cuda]'`."
    refused(place, ["--device", "cuda"], message, capsys)


def test_there_is_no_gpu(place, installed, monkeypatch, capsys):
    installed(onnxruntime_gpu=metadata.version("onnxruntime"))
    monkeypatch.setattr(cuda, "compute_capability", lambda: None)
    message = "was to run on a GPU, but found none here, or no driver: leave out --device cuda."
    refused(place, ["--device", "cuda"], message, capsys)


def test_the_library_with_cuda_serves_the_cpu_too(place, installed, capsys):
    """It brings the same provider; what is asked of its version is the same."""
    installed(onnxruntime=None, onnxruntime_gpu="1.30.0")
    command = json.loads((place / "engines" / "manifest.json").read_text())["command"]
    built = json.loads((place / "engines" / "manifest.json").read_text())["backend_version"]
    message = (
        f"was built for onnxruntime {built}, but 1.30.0 is installed; install that version or rebuild the engine set "
        f"with `{command}`."
    )
    refused(place, [], message, capsys)


PADDLE = {"backend": "paddle", "backend_version": "3.2.2"}


def test_paddle_for_the_cpu_alone(place, installed, capsys):
    installed(paddlepaddle_gpu=None)
    change(place, **PADDLE)
    message = (
        "was to run on a GPU with paddlepaddle-gpu, which is not installed: install paddlepaddle-gpu 3.2.2 in the "
        "place of paddlepaddle, as Paddle's installation guide says."
    )
    refused(place, ["--device", "cuda"], message, capsys)


def test_another_paddle_for_gpus(place, installed, capsys):
    installed(paddlepaddle_gpu="3.3.1")
    change(place, **PADDLE)
    command = json.loads((place / "engines" / "manifest.json").read_text())["command"]
    message = (
        "was built for paddlepaddle-gpu 3.2.2, but 3.3.1 is installed; install that version or rebuild the engine set "
        f"with `{command}`."
    )
    refused(place, ["--device", "cuda"], message, capsys)


def test_paddles_fp16_is_for_gpus(place, capsys):
    change(place, **PADDLE, device="cuda", precision="fp16")
    message = "was made with paddle for GPUs alone: leave out --device cpu, or export with --backend onnxruntime."
    refused(place, ["--device", "cpu"], message, capsys)


def test_plans_are_for_gpus(place, capsys):
    change(place, **PLANS)
    message = "was made with tensorrt-rtx for GPUs alone: leave out --device cpu, or export with --backend onnxruntime."
    refused(place, ["--device", "cpu"], message, capsys)


def test_a_device_that_does_not_exist(place, capsys):
    from sa.runtime.cli import main

    with pytest.raises(SystemExit) as ended:
        main([*run_arguments(place), "--device", "tpu"])
    assert ended.value.code == 2
    assert "argument --device: invalid choice: 'tpu'" in capsys.readouterr().err


SMALLER = "export a smaller --height, --width or --tile-size"


@pytest.mark.parametrize(
    ("free", "flags", "need", "remedy"),
    [(6, [], "8.00", "give --low-memory"), (3, ["--low-memory"], "4.00", SMALLER)],
)
def test_a_run_that_cannot_fit(place, monkeypatch, capsys, free, flags, need, remedy):
    """Two engines of 4 GiB that may take turns, the others small."""
    engines = json.loads((place / "engines" / "manifest.json").read_text())["engines"]
    for engine in engines:
        large = engine["role"] in ("unet", "conditioning")
        engine |= {"parameters": 1 << 30 if large else 1 << 20, "working_bytes": 1 << 20}
    change(place, engines=engines)
    monkeypatch.setattr(memory_plan, "available_memory", lambda: free << 30)
    message = f"needs at least {need} GiB for denoising, but {free}.00 GiB of memory are free: {remedy}."
    refused(place, flags, message, capsys)


def test_an_export_that_cannot_fit(checkpoint, tmp_path, monkeypatch, capsys):
    (tmp_path / "checkpoint").symlink_to(checkpoint(CASE))
    monkeypatch.setattr(exporter, "available_memory", lambda: 1 << 20)
    message = (
        "exporting needs at least 0.01 GiB for the float32 network of the unet, but 0.00 GiB of memory are free: end "
        "other programs, or export on a machine with more."
    )
    fails("sa-export", export_arguments(tmp_path), tmp_path, 1, message, capsys)
