"""The CUDA provider's backend on stubs of ONNX Runtime and the GPU: options, graphs, lifetimes. No GPU has run it."""

import inspect
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime as real
import pytest
from sample_manifest import engine
from stub_gpu import (
    Stub,
    check_a_read_only_input_goes_to_the_device_once,
    check_results_go_into_a_part_of_a_tensor_on_the_device,
    check_tensors_of_the_unets_stay_on_the_device,
    rows,
)
from stub_onnxruntime import StubOnnxRuntime, argument

from sa.runtime.backends import open_engine
from sa.runtime.backends.cuda import DeviceTensor
from sa.runtime.contract import EngineContract, EngineRecord, FileRecord, TensorSpec
from sa.runtime.errors import EngineSetError


@pytest.fixture
def library(monkeypatch):
    gpu = Stub()
    bindings = SimpleNamespace(runtime=gpu.cuda)
    for name, module in {
        "cuda": SimpleNamespace(bindings=bindings),
        "cuda.bindings": bindings,
        "cuda.bindings.runtime": gpu.cuda,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    from sa.runtime.backends import onnxruntime, onnxruntime_cuda

    stub = StubOnnxRuntime(gpu)
    monkeypatch.setattr(onnxruntime, "onnxruntime", stub)
    monkeypatch.setattr(onnxruntime_cuda, "onnxruntime", stub)
    monkeypatch.setattr(onnxruntime_cuda.OnnxRuntimeCudaEngine, "_cuda", None)
    return stub


@pytest.fixture
def opened(library, tmp_path):
    """opened(expression, role): an engine y = expression(x), of 1 to 4 rows of 3 numbers.

    `working`: bytes of the tensors inside a call, as a set's manifest knows them.
    """

    def open_(expression, role="vae_decoder", working=None):
        name = f"engine{len(list(tmp_path.iterdir()))}.onnx"
        (tmp_path / name).write_text(expression)
        contract = EngineContract(
            role=role,
            program=name,
            files=(FileRecord(name=name, bytes=1, sha256="0" * 64),),
            inputs=(TensorSpec(name="x", shape=((1, 4), 3)),),
            outputs=(TensorSpec(name="y", shape=((1, 4), 3)),),
        )
        if working is not None:
            facts = engine(role, working_bytes=working).model_dump() | contract.model_dump()
            contract = EngineRecord.model_validate(facts)
        return open_engine("onnxruntime-cuda", tmp_path, contract, 1)

    return open_


@pytest.mark.parametrize("role", ["unet", "vae_decoder"])
def test_results_are_of_their_own_call(opened, role):
    with opened("2 * x", role) as engine:
        results = [engine.infer({"x": rows(*values)})["y"] for values in ((1, 2), (5, 6), (7,), (8,), (3, 4))]
    for result, values in zip(results, ((1, 2), (5, 6), (7,), (8,), (3, 4)), strict=True):
        np.testing.assert_array_equal(result, 2 * rows(*values))


def test_options_are_those_of_exact_results(opened, library):
    with opened("x"), opened("x", "unet"):
        plain, graphed = (session.provider_options for session in library.sessions)
    assert plain == {
        "device_id": "0",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "enable_skip_layer_norm_strict_mode": "1",
        "arena_extend_strategy": "kSameAsRequested",
        "do_copy_in_default_stream": "1",
        "user_compute_stream": "77",
    }
    assert graphed == {**plain, "enable_cuda_graph": "1"}


def test_a_unet_is_captured_once_for_each_shape(opened, library):
    with opened("2 * x", "unet") as engine:
        for values in ((1,), (2,), (1, 2), (3,), (4, 5)):
            np.testing.assert_array_equal(engine.infer({"x": rows(*values)})["y"], 2 * rows(*values))
        (session,) = library.sessions
        assert (len(session.graphs), session.replays) == (2, 3)
        assert engine.warnings() == ()


def test_tensors_stay_on_the_device_between_engines(opened, library):
    with opened("2 * x") as engine, opened("x + 1") as next_:
        kept = [engine.infer({"x": rows(value)}, keep=["y"])["y"] for value in (1, 2)]
        assert all(isinstance(value, DeviceTensor) for value in kept)
        np.testing.assert_array_equal([next_.infer({"x": value})["y"] for value in kept], [rows(3), rows(5)])


def test_deep_features_are_copied_on_the_device_so_that_both_unets_are_captured(opened, library):
    """A graph reads and writes the addresses it was captured with, and every tile's feature has one of its own."""
    check_tensors_of_the_unets_stay_on_the_device(opened, library.gpu)
    assert [(len(session.graphs), session.replays) for session in library.sessions] == [(1, 2), (1, 5)]


def test_a_read_only_input_goes_to_the_device_once(opened, library):
    check_a_read_only_input_goes_to_the_device_once(opened, library.gpu)


def test_results_go_into_a_part_of_a_tensor_on_the_device(opened):
    check_results_go_into_a_part_of_a_tensor_on_the_device(opened)


def test_memory_is_given_back(opened, library):
    with opened("2 * x") as engine:
        view = engine.infer({"x": rows(1, 2)}, keep=["y"])["y"][:1]
        engine.infer({"x": rows(1)})
        assert library.sessions[0].entries == {"memory.enable_memory_arena_shrinkage": "gpu:0"}
    assert len(library.gpu.memory) == 1  # what the view is of
    del view
    assert not library.gpu.memory


@pytest.mark.parametrize(("working", "freed"), [((32 << 20) - 1, False), (32 << 20, True)])
def test_little_memory_is_kept_from_call_to_call(opened, library, working, freed):
    with opened("2 * x", working=working) as engine:
        engine.infer({"x": rows(1)})
    assert library.sessions[0].entries == ({"memory.enable_memory_arena_shrinkage": "gpu:0"} if freed else {})


def test_a_unet_that_cannot_be_captured_runs_without_and_says_so(opened, library):
    library.graphs = False
    with opened("2 * x", "unet") as engine:
        np.testing.assert_array_equal(engine.infer({"x": rows(1)})["y"], rows(2))
        (warning,) = engine.warnings()
        assert warning.startswith("the unet runs on the GPU without a CUDA graph, correct but slower: ")
        assert "control flow" in warning
        assert library.sessions[-1].entries == {"memory.enable_memory_arena_shrinkage": "gpu:0"}


def test_a_session_that_fell_back_to_the_cpu_is_refused(opened, library):
    library.loads = False
    with pytest.raises(
        EngineSetError,
        match=r"cannot run on the GPU: ONNX Runtime 1.31.1 could not load its CUDA provider "
        r"\(Failed to load libcudnn.so.9\); install CUDA 13 and cuDNN 9, which come with `pip uninstall onnxruntime && "
        r"pip install 'stableanimator-deploy\[cuda\]'`\.$",
    ):
        opened("x")


def test_a_library_without_cuda_is_refused(opened, library):
    library.available = ["CPUExecutionProvider"]
    with pytest.raises(EngineSetError, match=r"--device cuda needs onnxruntime-gpu, but onnxruntime 1.31.1 without"):
        opened("x")


def test_products_left_to_the_cpu_are_refused(opened, library):
    library.on_host = ["Gather", "Conv", "Conv"]
    with pytest.raises(EngineSetError, match=r"has no CUDA kernel for 2 Conv nodes and would compute them on the CPU"):
        opened("x")


@pytest.mark.parametrize("role", ["unet", "vae_decoder"])
def test_a_program_that_is_not_what_the_manifest_says(opened, library, role):
    library.outputs = [argument("y", "tensor(float)", [4, 3])]
    message = r"output y should be float32 \[1-4, 3\], but found float32 \[4, 3\]"
    with pytest.raises(EngineSetError, match=rf"is not the {role} engine of its manifest: {message}; rebuild"):
        opened("x", role)


def test_a_program_that_cannot_be_loaded(opened):
    with pytest.raises(
        EngineSetError, match=r"engine0.onnx cannot be loaded by ONNX Runtime 1.31.1: no graph was found"
    ):
        opened("broken")


def test_the_real_library_has_what_the_backend_asks_of_it():
    """Names and arguments, in ONNX Runtime as it is installed here, without CUDA."""
    for name in (
        "get_inputs",
        "get_outputs",
        "get_providers",
        "get_provider_graph_assignment_info",
        "io_binding",
        "run_with_iobinding",
    ):
        assert hasattr(real.InferenceSession, name)
    arguments = ["name", "device_type", "device_id", "element_type", "shape", "buffer_ptr"]
    for method in (real.IOBinding.bind_input, real.IOBinding.bind_output):
        assert list(inspect.signature(method).parameters)[1:] == arguments
    options = real.RunOptions()
    options.add_run_config_entry("gpu_graph_id", "-1")
    assert callable(real.preload_dlls) and real.get_available_providers()
