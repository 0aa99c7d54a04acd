"""Temporal blocks lose their transposes, compute the same, and keep them where other operators need them."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from sa.export.onnx.rewrites.insert_plugins import insert_plugins

CLIPS, FRAMES, PIXELS, HEADS, WIDTH = 2, 3, 5, 2, 8

# The block as paddle2onnx writes it, without the second feed-forward; {middle} is before the attention.
BLOCK = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[clips, 3, 5, 16] x, float[clips, 16] image) => (float[clips, 3, 5, 16] y)
    <float[16] one, float[16, 16] w_q, float[16, 16] w_k, float[16, 16] w_v>
    {{
        rows = Constant <value = int64[3] {{-1, 3, 16}}> ()
        heads = Constant <value = int64[4] {{-1, 3, 2, 8}}> ()
        clip = Constant <value = int64[3] {{-1, 15, 16}}> ()
        whole = Constant <value = int64[4] {{-1, 5, 3, 16}}> ()
        axis = Constant <value = int64[1] {{1}}> ()
        scale = Constant <value = float[1] {{{scale}}}> ()
        moved = Transpose <perm = [0, 2, 1, 3]> (x)
        first = Reshape (moved, rows)
        normed = LayerNormalization <axis = -1> (first, one)
        {middle}
        q = MatMul (mixed, w_q)
        k = MatMul (mixed, w_k)
        v = MatMul (mixed, w_v)
        q4 = Reshape (q, heads)
        k4 = Reshape (k, heads)
        v4 = Reshape (v, heads)
        qt = Transpose <perm = [0, 2, 1, 3]> (q4)
        kt = Transpose <perm = [0, 2, 1, 3]> (k4)
        vt = Transpose <perm = [0, 2, 1, 3]> (v4)
        qs = Mul (qt, scale)
        kl = Transpose <perm = [0, 1, 3, 2]> (kt)
        logits = MatMul (qs, kl)
        weights = Softmax <axis = -1> (logits)
        attended = MatMul (weights, vt)
        merged = Transpose <perm = [0, 2, 1, 3]> (attended)
        packed = Reshape (merged, rows)
        summed = Add (first, packed)
        clips = Reshape (summed, clip)
        vector = Unsqueeze (image, axis)
        shown = Add (clips, {vector})
        back = Reshape (shown, whole)
        y = Transpose <perm = [0, 2, 1, 3]> (back)
    }}
"""


def block(middle="mixed = Erf (normed)", vector="vector", scale=8**-0.5):
    model = onnx.parser.parse_model(BLOCK.format(middle=middle, vector=vector, scale=scale))
    random = np.random.default_rng(0)
    weights = {"one": (16,), "w_q": (16, 16), "w_k": (16, 16), "w_v": (16, 16)}
    del model.graph.initializer[:]
    for name, shape in weights.items():
        value = random.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return model


def attentions(model):
    return [node for node in model.graph.node if node.op_type == "TemporalAttention"]


def with_body(model):
    """The model with the plugin replaced by standard operators on [clips, frames, pixels, channels]."""
    (node,) = attentions(model)
    frames, pixels, heads = next(one.ints for one in node.attribute if one.name == "sizes")
    body = onnx.parser.parse_function(
        f"""
        <opset_import: ["" : 17], domain: "sa">
        TemporalAttention (q, k, v) => (result)
        {{
            split = Constant <value_ints = [-1, {frames}, {pixels}, {heads}, {WIDTH}]> ()
            scale = Constant <value_floats = [{WIDTH**-0.5}]> ()
            qs = Reshape (q, split)
            ks = Reshape (k, split)
            vs = Reshape (v, split)
            scores = Einsum <equation = "bsnhd,btnhd->bnhst"> (qs, ks)
            scaled = Mul (scores, scale)
            weights = Softmax <axis = -1> (scaled)
            attended = Einsum <equation = "bnhst,btnhd->bsnhd"> (weights, vs)
            shape = Shape (q)
            result = Reshape (attended, shape)
        }}
        """
    )
    del node.attribute[:]
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("sa", 1))
    return model


def run(model):
    random = np.random.default_rng(1)
    x = random.standard_normal((CLIPS, FRAMES, PIXELS, HEADS * WIDTH)).astype(np.float32)
    image = random.standard_normal((CLIPS, HEADS * WIDTH)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": x, "image": image})[0]


def test_a_block_without_transposes_computes_the_same():
    expected = run(block())
    model = block()
    insert_plugins(model)
    assert not [node for node in model.graph.node if node.op_type == "Transpose"]
    (node,) = attentions(model)
    assert list(next(one.ints for one in node.attribute if one.name == "sizes")) == [FRAMES, PIXELS, HEADS]
    np.testing.assert_allclose(run(with_body(model)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"middle": "mixed = Softmax <axis = 1> (normed)"},  # an operator over rows
        {"middle": "mixed = LayerNormalization <axis = 1> (normed, one)"},
        {"middle": "other = Transpose <perm = [1, 0, 2]> (normed) mixed = Reshape (other, rows)"},
        {
            "vector": "x_rows",
            "middle": "mixed = Erf (normed) x_rows = Reshape (x, clip)",
        },  # a different value in each row
        {"scale": 0.5},  # the kernel has another
    ],
    ids=["softmax", "norm", "transpose", "rows", "scale"],
)
def test_a_block_that_needs_its_transposes_keeps_them(changes):
    model = block(**changes)
    onnx.checker.check_model(model)
    insert_plugins(model)
    assert not attentions(model)
    assert sum(node.op_type == "Transpose" for node in model.graph.node) >= 7
