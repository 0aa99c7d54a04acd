"""Emulated fp16 agrees with NumPy's fp16, operator by operator."""

import numpy as np
import onnx
import onnxruntime

from sa.export.onnx.emulation import emulated

TYPED = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[8, 64] x) => (float[8, 64] y) {
        half = Cast <to = 10> (x)
        product = MatMul (half, w)
        positive = Relu (product)
        moved = Transpose <perm = [0, 1]> (positive)
        sum = Add (moved, b)
        y = Cast <to = 1> (sum)
    }
"""


def rounded(value):
    return value.astype(np.float16).astype(np.float32)


def test_every_operator_rounds_once():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((8, 64)).astype(np.float32)
    w, b = generator.standard_normal((64, 64)).astype(np.float16), generator.standard_normal(64).astype(np.float16)
    model = onnx.parser.parse_model(TYPED)
    model.graph.initializer.extend([onnx.numpy_helper.from_array(w, "w"), onnx.numpy_helper.from_array(b, "b")])

    def run(made):
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(made.SerializeToString(), providers=providers).run(None, {"x": x})[0]

    product = rounded(rounded(x) @ w.astype(np.float32))
    truth = rounded(np.maximum(product, 0) + b.astype(np.float32))
    np.testing.assert_array_equal(run(emulated(model)), truth)
    # ONNX Runtime rounds differently when it runs the fp16 graph on a CPU, hence the emulation.
    assert (run(model) != truth).any()
    exact = np.maximum(x @ w.astype(np.float32), 0) + b.astype(np.float32)
    np.testing.assert_allclose(run(emulated(model, rounded=False)), exact, rtol=1e-5, atol=1e-5)


def test_numbers_beyond_fp16_become_infinite_and_the_smallest_vanish():
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[3] x) => (float[3] y) {
            half = Cast <to = 10> (x)
            double = Add (half, half)
            y = Cast <to = 1> (double)
        }
        """
    )
    session = onnxruntime.InferenceSession(emulated(model).SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.array([4e4, 1e-8, 1.0], np.float32)})
    np.testing.assert_array_equal(y, np.array([np.inf, 0.0, 2.0], np.float32))
