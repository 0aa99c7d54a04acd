"""Nodes replaced by plugins: the right ones, with the inputs that the kernels need, and only where kernels fit."""

import collections

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, inliner, numpy_helper
from shared import relative

from sa.export.onnx.graph import CONTRIB
from sa.export.onnx.rewrites.insert_plugins import insert_plugins
from sa.export.onnx.rewrites.outline_kernels import DOMAIN, kernel_name
from sa.kernels.group_norm_silu.reference import group_norm_silu
from sa.kernels.id_attention.reference import id_attention


@pytest.fixture
def unet(engines):
    """The UNet without ONNX Runtime's own operators; identities stand in for its self-attentions."""
    model = onnx.load(engines("recipe_hjb", "onnxruntime") / "unet.onnx", load_external_data=False)
    for node in model.graph.node:
        if node.domain == CONTRIB and node.op_type == "MultiHeadAttention":
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
        elif node.domain == CONTRIB:
            node.CopyFrom(helper.make_node("Add", node.input, node.output))
    return model


KERNELS = ("IDAttention", "GroupNormSiLU")


def called(node):
    """The name of the plugin, or of the kernel that the node's function stands for."""
    kernel = kernel_name(node.op_type)
    return kernel if kernel in KERNELS else node.op_type


def nodes(model, *names):
    return [node for node in model.graph.node if node.domain == DOMAIN and (not names or called(node) in names)]


def attributes(node):
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def test_kernels_take_the_nodes_they_are_made_for(unet):
    before = collections.Counter(called(node) for node in nodes(unet))
    insert_plugins(unet)
    after = collections.Counter(called(node) for node in nodes(unet))
    assert after["IDAttentionProbabilities"] == after["IDAttentionOutput"] == before["IDAttention"] == 10
    # Nodes whose number of pixels is not a multiple of 16 stay.
    assert after["GroupNormPartials"] == after["GroupNormSiLUOutput"] > 20
    assert after["GroupNormPartials"] + after["GroupNormSiLU"] == before["GroupNormSiLU"]
    for node in nodes(
        unet, "GroupNormPartials", "GroupNormSiLUOutput", "IDAttentionProbabilities", "IDAttentionOutput"
    ):
        found = attributes(node)
        assert (found["plugin_namespace"], found["plugin_version"], found["aot"]) == (b"sa", b"1", 1)
    epsilons = {tuple(attributes(node)["epsilon"]) for node in nodes(unet, "GroupNormSiLUOutput")}
    assert epsilons == {(np.float32(1e-5),), (np.float32(1e-6),)}
    # The nodes that stay can be inlined.
    assert {called(node) for node in nodes(inliner.inline_local_functions(unet))} == after.keys() - {"GroupNormSiLU"}


def run_body(model, node, values):
    """The result of a node, from the operators of its body in ONNX Runtime."""
    function = next(f for f in model.functions if f.name == node.op_type)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(name, 1, value.shape) for name, value in values.items()],
        [helper.make_tensor_value_info(node.output[0], 1, None)],
    )
    single = helper.make_model(graph, functions=[function], opset_imports=model.opset_import, ir_version=10)
    return onnxruntime.InferenceSession(single.SerializeToString()).run(None, values)[0]


def test_an_id_attention_gets_what_its_kernel_takes(unet):
    node = nodes(unet, "IDAttention")[0]
    original = onnx.NodeProto()
    original.CopyFrom(node)
    branches, frames, pixels, channels, heads = 2, 5, 64, 32, 2
    columns = 4 * heads
    random = np.random.default_rng(0)
    sizes = (channels * columns, columns * channels, columns * (columns + 1), channels, channels, 1)
    values = {
        name: random.standard_normal((branches, size)).astype(np.float32)
        for name, size in zip(node.input[3:], sizes, strict=True)
    }
    moments = values[node.input[5]].reshape(branches, columns, columns + 1)
    moments[:, :, :-1] = 100 * np.eye(columns)  # positive, like products of values with themselves
    values |= {name: random.standard_normal(channels).astype(np.float32) for name in node.input[1:3]}
    values[node.input[0]] = random.standard_normal((branches * frames, pixels, channels)).astype(np.float32)
    expected = run_body(unet, original, values)

    insert_plugins(unet)
    first, second = (nodes(unet, name)[0] for name in ("IDAttentionProbabilities", "IDAttentionOutput"))
    assert list(second.output) == list(original.output) and list(second.input[1:3]) == list(first.output)
    (factor,) = [one for one in unet.graph.node if list(one.output) == [f"{original.output[0]}.factor"]]
    (scaled,) = [one for one in unet.graph.node if list(one.output) == [first.input[5]]]
    assert scaled.op_type == "Mul" and scaled.input[1] == factor.output[0]
    values[first.input[5]] = values[scaled.input[0]] * numpy_helper.to_array(factor.attribute[0].t)
    x, weight, bias, keys, moments, gain = (values[name] for name in first.input)
    folded, shift, base, same_gain = (values[name] for name in second.input[3:])
    assert second.input[0] == first.input[0] and same_gain is gain
    kernel = id_attention(
        x.astype(np.float64),
        weight,
        bias,
        keys.reshape(branches, channels, columns),
        folded.reshape(branches, columns, channels),
        moments.reshape(branches, columns, columns + 1),
        shift,
        base,
        gain[:, 0],
    )
    assert relative(kernel, expected) < 1e-5


def test_a_group_norm_over_time_gets_what_its_kernel_takes(unet):
    node = next(node for node in nodes(unet, "GroupNormSiLU") if "temporal" in node.input[1])
    original = onnx.NodeProto()
    original.CopyFrom(node)
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 32, 5, 64)).astype(np.float32)
    weight, bias = random.standard_normal((2, 32)).astype(np.float32)
    expected = run_body(unet, original, dict(zip(node.input, (x, weight, bias), strict=True)))
    insert_plugins(unet)
    (second,) = [one for one in nodes(unet, "GroupNormSiLUOutput") if list(one.output) == list(original.output)]
    (first,) = [one for one in nodes(unet, "GroupNormPartials") if list(one.output) == [second.input[1]]]
    assert list(first.input) == [original.input[0]]
    assert [second.input[0], *second.input[2:]] == list(original.input)
    (epsilon,) = attributes(second)["epsilon"]
    kernel = group_norm_silu(x.reshape(2, 32, -1).astype(np.float64), weight, bias, 1, epsilon)
    assert relative(kernel.reshape(x.shape), expected) < 1e-5


@pytest.mark.parametrize(
    ("op_type", "changed"), [("LayerNormalization", "IDAttention"), ("InstanceNormalization", "GroupNormSiLU")]
)
def test_norms_that_kernels_are_not_compiled_for_stay(unet, op_type, changed):
    for function in unet.functions:
        for node in function.node:
            if node.op_type == op_type:
                next(one for one in node.attribute if one.name == "epsilon").f = 1e-3
    before = len(nodes(unet, changed))
    insert_plugins(unet)
    assert len(nodes(unet, changed)) == before


def test_nodes_of_unknown_shape_stay(engines):
    """Shape inference does not know the results of ONNX Runtime's own operators."""
    model = onnx.load(engines("recipe_hjb", "onnxruntime") / "unet.onnx", load_external_data=False)
    insert_plugins(model)
    assert len(nodes(model, "IDAttention")) == 10
