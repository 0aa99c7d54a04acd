"""Biases are added in fused operators, with the same numbers, where the provider has kernels for the width."""

import collections

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from sa.export.onnx.definitions import defined
from sa.export.onnx.rewrites.channels_last import channels_last
from sa.export.onnx.rewrites.fuse_biases import fuse_biases


def feed_forward(width: int, inner: int) -> tuple[onnx.ModelProto, dict[str, tuple[int, ...]]]:
    """GEGLU, projection and residual as paddle2onnx writes them, and the shapes of their weights."""
    text = f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[batch, 3, {width}] x) => (float[batch, 3, {width}] y) {{
            sizes = Constant <value = int64[2] {{{inner}, {inner}}}> ()
            root = Constant <value = float {{1.4142135}}> ()
            one = Constant <value = float {{1.0}}> ()
            half = Constant <value = float {{0.5}}> ()
            product = MatMul (x, w)
            biased = Add (product, b)
            value, gate = Split <axis = -1> (biased, sizes)
            scaled = Div (gate, root)
            erf = Erf (scaled)
            share = Add (erf, one)
            twice = Mul (gate, share)
            gelu = Mul (twice, half)
            gated = Mul (value, gelu)
            projected = MatMul (gated, out)
            shifted = Add (projected, c)
            y = Add (x, shifted)
        }}
    """
    return onnx.parser.parse_model(text), {
        "w": (width, 2 * inner),
        "b": (2 * inner,),
        "out": (inner, width),
        "c": (width,),
    }


def run(model: onnx.ModelProto, weights: dict[str, tuple[int, ...]], x: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(0)
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for name, shape in weights.items():
        value = 0.1 * generator.standard_normal(shape, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    defined(model.graph)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(["y"], {"x": x})[0]


@pytest.mark.parametrize(("width", "inner", "fused"), [(320, 1280, 1), (64, 256, 0)])
def test_a_feed_forward_network(width, inner, fused):
    model, weights = feed_forward(width, inner)
    x = np.random.default_rng(1).standard_normal((2, 3, width), np.float32)
    expected = run(model, weights, x)
    fuse_biases(model, weights)
    np.testing.assert_allclose(run(model, weights, x), expected, rtol=1e-4, atol=1e-4)
    counted = collections.Counter(node.op_type for node in model.graph.node)
    assert counted["BiasSplitGelu"] == counted["BiasAdd"] == fused
    assert counted["Split"] == 1 - fused and counted["Add"] == 4 * (1 - fused)
    assert len(model.opset_import) == 1 + fused


def test_tokens_of_an_image_that_lies_channels_last():
    """Behind a convolution of the provider, whose result shape inference does not know by itself."""
    model, weights = feed_forward(320, 1280)
    image = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[batch, 320, 1, 3] image) => (float[batch, 3, 320] x) {
            ones = Constant <value = float[32] {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}> ()
            sizes_of_groups = Constant <value = int64[3] {0, 32, -1}> ()
            over_pixels = Constant <value = int64[2] {1, 2}> ()
            tokens = Constant <value = int64[3] {-1, 3, 320}> ()
            groups = Reshape (image, sizes_of_groups)
            normed = InstanceNormalization (groups, ones, ones)
            size = Shape (image)
            back = Reshape (normed, size)
            gamma_3 = Unsqueeze (gamma, over_pixels)
            scaled_image = Mul (back, gamma_3)
            shifted_image = Add (scaled_image, gamma_3)
            convolved = Conv <kernel_shape = [1, 1]> (shifted_image, kernel)
            last = Transpose <perm = [0, 2, 3, 1]> (convolved)
            x = Reshape (last, tokens)
        }
        """
    )
    nodes = [*image.graph.node, *model.graph.node]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.extend(image.graph.input)
    weights |= {"kernel": (320, 320, 1, 1), "gamma": (320,)}
    channels_last(model, weights)
    fuse_biases(model, weights)
    counted = collections.Counter(node.op_type for node in model.graph.node)
    assert counted["NhwcConv"] == counted["BiasSplitGelu"] == counted["BiasAdd"] == 1


def test_a_sum_that_is_read_elsewhere_stays():
    model, weights = feed_forward(320, 1280)
    reader = onnx.helper.make_node("Relu", ["shifted"], ["z"])
    model.graph.node.append(reader)
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [None, 3, 320]))
    fuse_biases(model, weights)
    assert "BiasAdd" not in {node.op_type for node in model.graph.node}
