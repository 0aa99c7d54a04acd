"""The ceilings of a device: what is timed is what is counted, on ONNX Runtime's CPU provider in place of a GPU."""

import numpy as np
import pytest
from onnx import TensorProto

from sa.benchmarks.measure.hardware import ceilings
from sa.benchmarks.measure.hardware.ceilings import Ceilings, Work
from sa.runtime.backends.onnxruntime import OnnxRuntimeEngine
from sa.runtime.errors import UserError

SMALL = Work(side=32, products=3, copied=(16, 8))


@pytest.fixture
def results(monkeypatch):
    """The arrays that were written, and one second for whatever is timed."""
    made = []

    def empty(self, shape):
        made.append(np.full(shape, np.nan, np.float32))
        return made[-1]

    monkeypatch.setattr(OnnxRuntimeEngine, "empty", empty)
    monkeypatch.setattr(ceilings, "_best", lambda work: (work(), 1.0)[1])
    return made


@pytest.mark.parametrize(("precision", "off"), [("fp32", 1e-5), ("fp16", 1e-2)])
def test_a_chain_of_products_is_computed_whole(results, precision, off):
    assert ceilings.product_flops("onnxruntime", SMALL, precision, 1) == 3 * 2 * 32**3
    generator = np.random.default_rng(0)
    x, w = (generator.standard_normal((32, 32), np.float32).astype(np.float64) for _ in "xw")
    expected = x @ np.linalg.matrix_power(w / 32**0.5, 3)
    (y,) = results
    assert np.abs(y - expected).max() < off * np.abs(expected).max()


def test_half_precision_products_are_typed_so(results, monkeypatch):
    """ONNX Runtime's CPU provider computes them in float32 all the same."""
    models, save = [], ceilings.onnx.save_model
    monkeypatch.setattr(ceilings.onnx, "save_model", lambda model, path: (models.append(model), save(model, path)))
    ceilings.product_flops("onnxruntime", SMALL, "fp16", 1)
    nodes = [(node.op_type, *(a.i for a in node.attribute)) for node in models[0].graph.node]
    assert nodes == [("Cast", TensorProto.FLOAT16)] * 2 + [("MatMul",)] * 3 + [("Cast", TensorProto.FLOAT)]


def test_a_copy_is_made(results):
    assert ceilings.engine_copy_bytes("onnxruntime", SMALL, 1) == 2 * 4 * 16 * 8
    assert (results[0] == 1).all()


def test_a_cpu_is_measured_in_a_process_of_its_own():
    found = ceilings.ceilings("cpu", 1)
    assert found.gemm_flops > 1e8 and found.copy_bytes > 1e8 and found.half_gemm_flops is None


def test_without_a_library_for_the_gpu_nothing_is_known(monkeypatch):
    monkeypatch.setattr(ceilings, "backend_version", lambda backend: None)
    assert ceilings.measured("cuda", 1) == Ceilings(None, None, None)


def test_a_gpu_is_measured_by_the_library_that_is_installed(monkeypatch):
    asked = []
    monkeypatch.setattr(ceilings, "backend_version", lambda backend: "11.4" if backend == "tensorrt" else None)
    monkeypatch.setattr(ceilings, "product_flops", lambda *given: asked.append(given) or 2.0)
    monkeypatch.setattr(ceilings, "engine_copy_bytes", lambda *given: asked.append(given) or 3.0)
    assert ceilings.measured("cuda", 4) == Ceilings(2.0, 2.0, 3.0)
    gpu = ceilings.GPU
    assert asked == [("tensorrt", gpu, "fp32", 4), ("tensorrt", gpu, "fp16", 4), ("tensorrt", gpu, 4)]


def test_a_measurement_that_fails_is_no_ceiling(monkeypatch):
    monkeypatch.setattr(ceilings.sys, "executable", "/bin/false")
    assert ceilings.ceilings("cuda", 1) == Ceilings(None, None, None)
    with pytest.raises(UserError, match="ceilings could not be measured: it said nothing"):
        ceilings.ceilings("cpu", 1)
