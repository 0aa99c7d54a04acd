"""The TensorRT backend on a stub of the GPU: order, lifetimes, graphs, sizes. No GPU has run it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from stub_gpu import (
    Stub,
    check_a_read_only_input_goes_to_the_device_once,
    check_results_go_into_a_part_of_a_tensor_on_the_device,
    check_tensors_of_the_unets_stay_on_the_device,
    rows,
)

from sa.runtime.backends import open_engine
from sa.runtime.backends.cuda import compute_capability
from sa.runtime.backends.libraries import backend_version
from sa.runtime.contract import EngineContract, FileRecord, TensorSpec
from sa.runtime.engine_set import verify
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.engine_set.verify import _check_device, _check_library
from sa.runtime.errors import EngineSetError, UserError


@pytest.fixture
def gpu(monkeypatch):
    stub = Stub()
    bindings = SimpleNamespace(runtime=stub.cuda)
    for name, module in {
        "tensorrt_rtx": stub.tensorrt,
        "tensorrt": stub.tensorrt,
        "cuda": SimpleNamespace(bindings=bindings),
        "cuda.bindings": bindings,
        "cuda.bindings.runtime": stub.cuda,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    from sa.runtime.backends import tensorrt

    monkeypatch.setattr(tensorrt.Device, "_current", {})
    return stub


@pytest.fixture
def opened(gpu, tmp_path):
    """opened(expression, role): an engine y = expression(x), of 1 to 4 rows of 3 numbers."""

    def open_(expression, role="vae_decoder", rows=4, backend="tensorrt-rtx", refit=None):
        name = f"engine{len(list(tmp_path.iterdir()))}.plan"
        (tmp_path / name).write_text(expression)
        files = [name]
        if refit is not None:
            files.append(f"{name}.onnx")
            (tmp_path / files[1]).write_text(refit)
        contract = EngineContract(
            role=role,
            program=name,
            files=tuple(FileRecord(name=name, bytes=1, sha256="0" * 64) for name in files),
            refit=None if refit is None else files[1],
            inputs=(TensorSpec(name="x", shape=((1, rows), 3)),),
            outputs=(TensorSpec(name="y", shape=((1, rows), 3)),),
        )
        return open_engine(backend, tmp_path, contract)

    return open_


def test_results_are_of_their_own_call(opened, gpu):
    with opened("2 * x") as engine:
        first = engine.infer({"x": rows(1, 2)})["y"]
        second = engine.infer({"x": rows(5, 6)})["y"]
    np.testing.assert_array_equal(first, rows(2, 4))
    np.testing.assert_array_equal(second, rows(10, 12))


def test_a_shape_is_captured_once_and_launched_from_then_on(opened, gpu):
    with opened("2 * x") as engine:
        for value in (1, 2, 3):
            np.testing.assert_array_equal(engine.infer({"x": rows(value)})["y"], rows(2 * value))
        assert gpu.launches == 2
        np.testing.assert_array_equal(engine.infer({"x": rows(1, 2, 3)})["y"], rows(2, 4, 6))
        assert gpu.launches == 2
        np.testing.assert_array_equal(engine.infer({"x": rows(9)})["y"], rows(18))
        assert gpu.launches == 3


def test_tensors_stay_on_the_device_between_engines(opened, gpu):
    with opened("2 * x") as double, opened("x + 1") as next_:
        kept = [double.infer({"x": rows(value)}, keep=["y"])["y"] for value in (1, 2)]
        assert not any(isinstance(value, np.ndarray) for value in kept)
        found = [next_.infer({"x": value})["y"] for value in kept]
    np.testing.assert_array_equal(found, [rows(3), rows(5)])
    assert gpu.launches == 0


def test_deep_features_are_copied_on_the_device_so_that_both_unets_are_captured(opened, gpu):
    check_tensors_of_the_unets_stay_on_the_device(opened, gpu)
    assert gpu.launches == 2 + 5


def test_a_read_only_input_goes_to_the_device_once(opened, gpu):
    check_a_read_only_input_goes_to_the_device_once(opened, gpu)


def test_results_go_into_a_part_of_a_tensor_on_the_device(opened):
    check_results_go_into_a_part_of_a_tensor_on_the_device(opened)


def test_memory_inside_calls_is_shared_and_grows(opened, gpu):
    with opened("2 * x") as small, opened("x + 1 + 0 * x") as large:
        small.infer({"x": rows(1)})
        small.infer({"x": rows(1)})
        large.infer({"x": rows(1, 2, 3, 4)})  # the graph captured before knows the old, smaller memory
        np.testing.assert_array_equal(small.infer({"x": rows(7)})["y"], rows(14))
        assert gpu.launches == 1
    from sa.runtime.backends.tensorrt import Device

    assert Device.current("tensorrt-rtx")._size == len("x + 1 + 0 * x")


def test_nothing_is_left_behind(opened, gpu):
    with opened("2 * x") as engine:
        kept = engine.infer({"x": rows(1)}, keep=["y"])
        engine.infer({"x": rows(1)})
    del kept
    assert len(gpu.memory) == 1  # the shared memory


@pytest.mark.parametrize(("backend", "title"), [("tensorrt", "TensorRT"), ("tensorrt-rtx", "TensorRT for RTX")])
def test_a_plan_that_cannot_be_loaded(opened, backend, title):
    with pytest.raises(EngineSetError, match=rf"cannot be loaded by {title} 1.7.1; rebuild the engine set"):
        opened("broken", backend=backend)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"x": ("input", "half", (-1, 3))}, r"input x should be float32 \[1-4, 3\], but found half \[\?, 3\]"),
        ({"y": ("output", "float", (-1, 4))}, r"output y should be float32 \[1-4, 3\], but found float32 \[\?, 4\]"),
        ({"y": ("input", "float", (-1, 3))}, r"input y should be absent, but found float32 \[\?, 3\]"),
        ({"z": ("output", "float", (1,))}, r"output z should be absent, but found float32 \[1\]"),
    ],
)
def test_a_plan_that_is_not_what_the_manifest_says(opened, gpu, changed, said):
    gpu.tensors |= changed
    with pytest.raises(
        EngineSetError, match=rf"engine0.plan is not the vae_decoder engine of its manifest: {said}; rebuild"
    ):
        opened("2 * x")


def test_a_stripped_plan_is_given_its_weights(opened):
    with opened("weight * x", backend="tensorrt", refit="3") as engine:
        np.testing.assert_array_equal(engine.infer({"x": rows(1, 2)})["y"], rows(3, 6))
    with pytest.raises(
        EngineSetError, match=r"plan of the vae_decoder engine takes no weights from .*engine\d.plan.onnx; "
    ):
        opened("weight * x", backend="tensorrt", refit="none")


def test_both_libraries_run_plans_alike(opened):
    with opened("2 * x", backend="tensorrt") as engine:
        np.testing.assert_array_equal(engine.infer({"x": rows(1, 2)})["y"], rows(2, 4))


def test_too_little_memory(opened, gpu):
    gpu.limit = 8
    with opened("2 * x") as engine, pytest.raises(UserError, match="cudaMallocHost failed: out of memory"):
        engine.infer({"x": rows(1)})


def test_the_gpu_at_hand_is_asked_for_its_capability(gpu):
    assert compute_capability() == "8.9"


def test_a_machine_without_a_gpu(gpu):
    gpu.cuda.cudaGetDeviceCount = lambda: (100, 0)
    assert compute_capability() is None


@pytest.mark.parametrize("module", ["tensorrt_rtx", "cuda.bindings.runtime"])
def test_the_backend_uses_nothing_that_the_libraries_lack(module):
    """The stub's names, which are all the backend uses, in the real library where it is installed."""
    real, stub = pytest.importorskip(module), Stub()
    for name, value in vars({"tensorrt_rtx": stub.tensorrt, "cuda.bindings.runtime": stub.cuda}[module]).items():
        assert hasattr(real, name), name
        if isinstance(value, SimpleNamespace):
            assert set(vars(value)) <= set(dir(getattr(real, name))), name
    if module == "tensorrt_rtx":
        context = {"set_input_shape", "get_tensor_shape", "set_tensor_address", "set_device_memory", "execute_async_v3"}
        assert context <= set(dir(real.IExecutionContext))
        engine = {"create_execution_context", "device_memory_size_v2", "num_io_tensors", "get_tensor_name"}
        engine |= {"get_tensor_mode", "get_tensor_dtype", "get_tensor_shape"}
        assert engine <= set(dir(real.ICudaEngine))


@pytest.fixture
def built(engines):
    """built(capabilities): a manifest of plans for these GPUs."""
    manifest = EngineSet.open(engines("recipe_hjb", "onnxruntime")).manifest

    def make(*capabilities, backend="tensorrt-rtx", **changes):
        changes |= {"backend": backend, "device": "cuda", "compute_capabilities": capabilities}
        return manifest.model_copy(update={**changes, "command": "sa-export again"})

    return make


def test_plans_are_refused_on_another_gpu(gpu, built, tmp_path):
    _check_device(tmp_path, built("8.6", "8.9"))
    with pytest.raises(
        EngineSetError, match=r"capability 8.6, this one has 8.9; .*`sa-export again`, but --device sm89"
    ):
        _check_device(tmp_path, built("8.6"))


def test_a_gpu_that_tensorrt_for_rtx_does_not_know_is_sent_to_tensorrt(monkeypatch, built, tmp_path):
    monkeypatch.setattr("sa.runtime.backends.cuda.compute_capability", lambda: "9.0")
    with pytest.raises(
        EngineSetError, match=r"this one has 9.0; .* but --backend tensorrt on this machine, as .* alone"
    ):
        _check_device(tmp_path, built("8.6", "8.9"))


def test_tensorrts_plans_are_rebuilt_where_they_are_to_run(gpu, built, tmp_path):
    with pytest.raises(
        EngineSetError, match=r"capability 8.6, this one has 8.9; .*`sa-export again`, on this machine.$"
    ):
        _check_device(tmp_path, built("8.6", backend="tensorrt"))


@pytest.mark.parametrize(("built_on", "fits"), [("8.0", True), ("8.9", True), ("12.0", False)])
def test_compatible_plans_run_on_later_gpus(gpu, built, tmp_path, built_on, fits):
    manifest = built(built_on, backend="tensorrt", hardware_compatible=True)
    if fits:
        _check_device(tmp_path, manifest)
    else:
        with pytest.raises(EngineSetError, match=r"capability 12.0 and later, this one has 8.9; "):
            _check_device(tmp_path, manifest)


@pytest.mark.parametrize("installed", ["11.4.1.2", "10.9.0.34", "11.3.0.106"])
def test_tensorrts_plans_are_for_one_version(built, tmp_path, monkeypatch, installed):
    manifest = built("8.9", backend="tensorrt", backend_version="11.4.0.106")
    monkeypatch.setattr(verify, "backend_version", lambda backend: installed)
    with pytest.raises(
        EngineSetError, match=rf"built for tensorrt 11.4.0.106, but {installed} is installed; install that"
    ):
        _check_library(tmp_path, manifest, "cuda")


def test_tensorrt_may_be_installed_for_one_version_of_cuda(monkeypatch, tmp_path):
    """Whatever the distribution is called, the module says what it is."""
    (tmp_path / "tensorrt.py").write_text('__version__ = "10.9.0.34"')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert backend_version("tensorrt") == "10.9.0.34"
    sys.modules.pop("tensorrt")


def test_plans_are_refused_without_a_gpu_or_what_speaks_to_it(gpu, built, tmp_path, monkeypatch):
    gpu.cuda.cudaGetDeviceCount = lambda: (100, 0)
    with pytest.raises(EngineSetError, match=r"of compute capability 8.6, 8.9, but found none here, or no driver"):
        _check_device(tmp_path, built("8.6", "8.9"))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(EngineSetError, match=r"cuda-bindings, which is not installed: `pip install .*tensorrt-rtx"):
        _check_device(tmp_path, built("8.6"))
