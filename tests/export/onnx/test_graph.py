"""The graphs for ONNX Runtime after the rewrites. The golden tests check that they compute the same."""

import collections
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, inliner, numpy_helper

from sa.export.onnx.graph import Graph, fuse_attention, remove_identities
from sa.runtime.contract import ROLES, SPECIALIZED, TensorSpec


@pytest.fixture(scope="module")
def load(engines):
    folder = engines("recipe_hjb", "onnxruntime")
    return lambda role: onnx.load(folder / f"{role}.onnx", load_external_data=False)


def count(model):
    return collections.Counter(node.op_type for node in model.graph.node)


def test_unet_graph_has_no_litter_and_fused_self_attention(load):
    model = inliner.inline_local_functions(load("unet"))
    operators = count(model)
    assert operators["Identity"] == 0
    # 10 transformers with one layer per block: 3 down, 1 middle, 6 up; each with spatial and temporal self-attention
    assert operators["MultiHeadAttention"] == 2 * 10
    assert operators["Softmax"] == 10  # probabilities of the face tokens
    assert operators["BiasGelu"] == 3 * 10 and operators["Erf"] == 0
    edges = Graph(model.graph)
    for node in model.graph.node:
        if node.op_type == "InstanceNormalization":
            groups = edges.made_by(node.input[0], "Reshape")
            assert groups is not None and edges.made_by(groups.input[0], "Sub") is None
        if node.op_type == "Split":
            assert edges.made_by(node.input[0], "Add") is None  # no GEGLU
        if node.op_type == "Add":
            assert not any((c := edges.constant(name)) is not None and not c.any() for name in node.input)


@pytest.mark.parametrize("role", [*ROLES, *SPECIALIZED])
def test_names_and_shapes_are_the_manifests(engines, load, role):
    manifest = json.loads((engines("recipe_hjb", "onnxruntime") / "manifest.json").read_text())
    record = next(engine for engine in manifest["engines"] if engine["role"] == role)
    graph = load(role).graph
    for values, specs in ((graph.input, record["inputs"]), (graph.output, record["outputs"])):
        assert [value.name for value in values] == [spec["name"] for spec in specs]
        for value, spec in zip(values, specs, strict=True):
            sizes = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            assert sizes == [dim if isinstance(dim, int) else "batch" for dim in spec["shape"]]


def test_every_weight_is_external_and_named_as_in_the_checkpoint(load):
    graph = load("unet").graph
    names = {tensor.name for tensor in graph.initializer}
    assert "up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight" in names
    assert not any(
        ".attn2." in name or "time_emb" in name or "norm2.weight" in name
        for name in names
        if ".temporal_transformer_blocks." in name
    )
    for tensor in graph.initializer:
        assert tensor.data_location == TensorProto.EXTERNAL
        assert {entry.key: entry.value for entry in tensor.external_data}["location"] == "unet.weights"


def test_identities_before_outputs_keep_the_outputs_name():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("Identity", ["b"], ["y"]),
        helper.make_node("Exp", ["x"], ["unused"]),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:])
    remove_identities(graph)
    assert [(node.op_type, list(node.input), list(node.output)) for node in graph.node] == [("Relu", ["x"], ["y"])]


def attention_model(shared: bool) -> onnx.ModelProto:
    """softmax(q k^T / 2) v of projections of x; unless `shared`, keys and values are projections of another tensor."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((8, 8)).astype(np.float32) for name in ("wq", "wk", "wv")}
    constants = {"heads": np.array([-1, 5, 2, 4]), "half": np.float32(0.5), "flat": np.array([-1, 5, 8])}
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))
        for name, value in constants.items()
    ]
    for letter, source in (("q", "x"), ("k", "x" if shared else "c"), ("v", "x" if shared else "c")):
        nodes += [
            helper.make_node("MatMul", [source, f"w{letter}"], [f"{letter}1"]),
            helper.make_node("Reshape", [f"{letter}1", "heads"], [f"{letter}2"]),
            helper.make_node("Transpose", [f"{letter}2"], [f"{letter}3"], perm=[0, 2, 1, 3]),
        ]
    nodes += [
        helper.make_node("Mul", ["q3", "half"], ["q4"]),
        helper.make_node("Transpose", ["k3"], ["k4"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q4", "k4"], ["s"]),
        helper.make_node("Softmax", ["s"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "v3"], ["m"]),
        helper.make_node("Transpose", ["m"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "flat"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 5, 8]) for name in ("x", "c")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 5, 8])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_self_attention_is_fused_exactly_and_other_attention_left():
    model = attention_model(shared=True)
    plain = onnxruntime.InferenceSession(model.SerializeToString())
    fuse_attention(model)
    assert count(model)["MultiHeadAttention"] == 1 and count(model)["Softmax"] == 0
    fused = onnxruntime.InferenceSession(model.SerializeToString())
    inputs = {name: np.random.default_rng(1).standard_normal((3, 5, 8)).astype(np.float32) for name in ("x", "c")}
    np.testing.assert_allclose(fused.run(None, inputs)[0], plain.run(None, inputs)[0], rtol=1e-5, atol=1e-5)

    other = attention_model(shared=False)
    fuse_attention(other)
    assert count(other)["MultiHeadAttention"] == 0 and count(other)["Softmax"] == 1


def test_specs_with_ranges_admit_what_they_say():
    spec = TensorSpec(name="latents", shape=((1, 4), 4, 8, 8))
    assert spec.admits((1, 4, 8, 8)) and spec.admits((4, 4, 8, 8)) and spec.largest == (4, 4, 8, 8)
    assert not spec.admits((5, 4, 8, 8)) and not spec.admits((0, 4, 8, 8)) and not spec.admits((1, 4, 8))
