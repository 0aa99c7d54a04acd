"""The fp16 policy on graphs: the dtypes it gives, and that typed graphs are valid."""

import collections

import numpy as np
import onnx
import onnxruntime
import pytest

from sa.export.onnx.emulation import emulated
from sa.export.onnx.formats import FORMATS
from sa.export.onnx.rewrites.lower_precision import (
    HALF,
    SINGLE,
    element_types,
    lower_precision,
    normalise_cotangent,
    policy,
)

ATTENTION = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[2, 3, 8] x) => (float[2, 3, 8] y) {
        scale = Constant <value = float {0.25}> ()
        scaled = Mul (x, scale)
        keys = Transpose <perm = [0, 2, 1]> (x)
        scores = MatMul (scaled, keys)
        probabilities = Softmax <axis = -1> (scores)
        mixed = MatMul (probabilities, x)
        y = MatMul (mixed, w)
    }
"""


def parsed(text: str, **parameters: np.ndarray) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in parameters.items())
    return model


def lowered(text: str, float32=(), **parameters: np.ndarray) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    lower_precision(model, policy("fp16"), parameters, float32)
    halves = (onnx.numpy_helper.from_array(value.astype(np.float16), name) for name, value in parameters.items())
    model.graph.initializer.extend(halves)
    onnx.checker.check_model(model, full_check=True)  # checks types too: operands of two types are an error
    return model


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    known = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    return element_types(
        model.graph.node, known | {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    )


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)


@pytest.fixture
def w():
    return np.random.default_rng(1).standard_normal((8, 8)).astype(np.float32)


def test_products_are_fp16_and_softmax_is_not(w):
    types = types_of(lowered(ATTENTION, w=w))
    assert {name: types[name] for name in ("x", "scaled", "keys", "scores", "probabilities", "mixed", "y")} == {
        **{"x": SINGLE, "scaled": HALF, "keys": HALF, "scores": HALF},
        **{"probabilities": SINGLE, "mixed": HALF, "y": SINGLE},
    }


def test_bf16_has_the_same_policy(w):
    model = onnx.parser.parse_model(ATTENTION)
    lower_precision(model, policy("bf16"), ["w"])
    bf16 = FORMATS["bf16"]
    weight = bf16.tensor(w)
    weight.name = "w"
    model.graph.initializer.append(weight)
    onnx.checker.check_model(model, full_check=True)
    swapped = {HALF: bf16.element, SINGLE: SINGLE, onnx.TensorProto.INT64: onnx.TensorProto.INT64}
    halves = types_of(lowered(ATTENTION, w=w))
    assert types_of(model) == {name.replace(".fp16", ".bf16"): swapped[kind] for name, kind in halves.items()}
    constant = next(node for node in model.graph.node if node.output[0] == "scale.bf16")
    assert constant.attribute[0].t.raw_data == b"\x80\x3e"  # 0.25


def test_a_small_constant_is_no_reason_to_stay_in_float32():
    """1e-7 is below what fp16 can hold, and within what bf16 can."""
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] y) { small = Constant <value = float {1e-7}> () y = Mul (x, small) }
    """
    model = onnx.parser.parse_model(text)
    lower_precision(model, policy("bf16"), [])
    assert types_of(model)["y.half"] == FORMATS["bf16"].element


def test_a_tensor_is_cast_once_for_all_its_readers(w):
    casts = [node.input[0] for node in lowered(ATTENTION, w=w).graph.node if node.op_type == "Cast"]
    assert collections.Counter(casts) == {"x": 1, "scores": 1, "probabilities": 1, "y.half": 1}


def test_a_typed_graph_computes_what_its_original_does(x, w):
    truth = run(parsed(ATTENTION, w=w), x=x)
    error = np.abs(run(emulated(lowered(ATTENTION, w=w)), x=x) - truth).max() / np.abs(truth).max()
    assert 1e-5 < error < 3e-3


def test_a_constant_that_fp16_cannot_hold_keeps_its_reader_in_float32():
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[4] x) => (float[4] y) {
            tiny = Constant <value = float {1e-7}> ()
            half = Constant <value = float {0.5}> ()
            kept = Add (x, tiny)
            y = Mul (kept, half)
        }
    """
    model = lowered(text)
    types = types_of(model)
    assert types["kept"] == types["y"] == SINGLE
    np.testing.assert_array_equal(run(emulated(model), x=np.zeros(4, np.float32)), np.float32(1e-7) / 2)


OVERFLOWING = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 4] x) => (float[1, 4] y) {
        large = MatMul (x, w)
        turned = Transpose <perm = [1, 0]> (large)
        back = Transpose <perm = [1, 0]> (turned)
        small = MatMul (back, v)
        y = Add (small, small)
    }
"""


def test_what_is_found_unfit_stays_float32_until_it_is_computed_with():
    w, v = np.eye(4, dtype=np.float32) * 6e4, np.eye(4, dtype=np.float32) / 6e4
    x = np.full((1, 4), 3, np.float32)
    assert not np.isfinite(run(emulated(lowered(OVERFLOWING, w=w, v=v)), x=x)).all()
    model = lowered(OVERFLOWING, float32={"large"}, w=w, v=v)
    types = types_of(model)
    assert [types[name] for name in ("large", "turned", "back", "small", "y")] == [SINGLE] * 5
    np.testing.assert_allclose(run(emulated(model), x=x), 6, rtol=2e-2)  # 1 / 6e4 is subnormal in fp16


NORMED = """
    <ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    g (float[1, 4, 4, 64] x) => (float[1, 4, 4, 64] y) {
        twice = Add (x, x)
        normed = com.microsoft.GroupNorm <groups = 32, activation = 1, channels_last = 1> (twice, w, b)
        y = Mul (normed, normed)
    }
"""


@pytest.mark.parametrize(("float32", "kind"), [((), HALF), (("twice",), SINGLE)])
def test_a_norm_of_the_cuda_provider_takes_either_kind_and_float32_parameters(float32, kind):
    parameters = {"w": np.ones(64, np.float32), "b": np.zeros(64, np.float32)}
    model = onnx.parser.parse_model(NORMED)
    lower_precision(model, policy("fp16"), parameters, float32)
    halves = (onnx.numpy_helper.from_array(value.astype(np.float16), name) for name, value in parameters.items())
    model.graph.initializer.extend(halves)
    types = types_of(model)
    (norm,) = [node for node in model.graph.node if node.op_type == "GroupNorm"]
    assert [types[name] for name in (*norm.input, *norm.output)] == [kind, SINGLE, SINGLE, kind]


def test_a_name_that_the_graph_does_not_have_is_a_mistake(w):
    with pytest.raises(ValueError, match="no tensor other"):
        lowered(ATTENTION, float32={"other"}, w=w)


def test_a_cotangent_of_any_size_gives_the_same_digits(w):
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[3, 8] x, float[3, 8] dy) => (float[3, 8] dx) {
            both = Mul (x, dy)
            dx = MatMul (both, w)
        }
    """
    model = onnx.parser.parse_model(text)
    kept = normalise_cotangent(model.graph, "dy", "dx", scale=64.0)
    lower_precision(model, policy("fp16"), ["w"], kept)
    model.graph.initializer.append(onnx.numpy_helper.from_array(w.astype(np.float16), "w"))
    onnx.checker.check_model(model, full_check=True)
    generator = np.random.default_rng(2)
    x, dy = generator.standard_normal((2, 3, 8)).astype(np.float32)
    dy /= np.abs(dy).max()
    result = run(emulated(model), x=x, dy=dy)
    np.testing.assert_allclose(result, (x * dy) @ w, rtol=5e-3, atol=5e-3)
    tiny = np.float32(2.0**-60)  # far below all of fp16
    np.testing.assert_array_equal(run(emulated(model), x=x, dy=dy * tiny), result * tiny)
    assert not run(emulated(model), x=x, dy=np.zeros_like(dy)).any()
