"""Kernels as nodes: how many there are, that none is read inside, and that kernel and node compute the same."""

import collections

import numpy as np
import onnx
import onnxruntime
import paddle
import pytest
from network_checks import by_recipe
from onnx import inliner
from shared import relative

from sa.export.engines.specialize import fold_id_attention
from sa.export.networks.specialized import CachedInputs, FoldedIDAttention, PackedSlice
from sa.export.networks.transformer import IDAttention
from sa.export.onnx.rewrites.outline_kernels import DOMAIN, kernel_name, outline_kernels
from sa.kernels.group_norm_silu.reference import group_norm_silu
from sa.kernels.id_attention.reference import id_attention


@pytest.fixture(scope="module")
def unet(engines):
    return engines("recipe_hjb", "onnxruntime") / "unet.onnx"


def calls(model):
    return collections.Counter(kernel_name(node.op_type) for node in model.graph.node if node.domain == DOMAIN)


def test_the_unet_calls_each_kernel_where_the_network_has_it(unet):
    model = onnx.load(unet, load_external_data=False)
    # 10 transformers; 14 residual blocks with two norms per frame and two over time; and the norm before conv_out
    assert calls(model) == {"IDAttention": 10, "GroupNormSiLU": 4 * 14 + 1}
    for node in model.graph.node:
        if node.domain == DOMAIN:
            assert len(node.input) == {"IDAttention": 9, "GroupNormSiLU": 3}[kernel_name(node.op_type)]
    # Nodes share bodies: one for each shape of ID attention, one for each epsilon of GroupNorm.
    assert collections.Counter(kernel_name(function.name) for function in model.functions) == {
        "IDAttention": 4,
        "GroupNormSiLU": 2,
    }
    outside = collections.Counter(node.op_type for node in model.graph.node)
    assert outside["Softmax"] == 0 and outside["InstanceNormalization"] == 10  # the transformers', without SiLU
    assert not calls(inliner.inline_local_functions(model))


def norm(x: str, made: str) -> str:
    """The lines of a GroupNorm of x with SiLU as paddle2onnx writes it; `made`_gate is its sigmoid."""
    return f"""
        {made}_groups = Reshape ({x}, to_groups)
        {made}_normed = InstanceNormalization ({made}_groups, ones, ones)
        {made}_frames = Reshape ({made}_normed, back)
        {made}_scaled = Mul ({made}_frames, w)
        {made}_shifted = Add ({made}_scaled, b)
        {made}_gate = Sigmoid ({made}_shifted)
        {made} = Mul ({made}_shifted, {made}_gate)
    """


def two_norms(further: str) -> onnx.ModelProto:
    """Two GroupNorms with SiLU, which share their constants, and a further line that makes z."""
    header = """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 64, 4, 4] x, float[64, 1, 1] w, float[64, 1, 1] b) => (float[1, 64, 4, 4] y, float[1, 64, 4, 4] z) {
            to_groups = Constant <value_ints = [0, 32, -1]> ()
            back = Constant <value_ints = [1, 64, 4, 4]> ()
            ones = Constant <value_floats = [1.0]> ()
    """
    return onnx.parser.parse_model(header + norm("x", "between") + norm("between", "y") + further + "}")


def test_what_a_kernel_makes_inside_may_not_be_read_outside():
    with pytest.raises(ValueError, match="Sigmoid y_gate is read outside"):
        outline_kernels(two_norms("z = Exp (y_gate)"))


def test_a_constant_that_is_read_outside_too_stays():
    """`back` is read by both kernels and by another node, `to_groups` by the kernels alone."""
    model = two_norms("z = Reshape (between, back)")
    outline_kernels(model)
    assert calls(model) == {"GroupNormSiLU": 2} and len(model.functions) == 1
    assert [node.output[0] for node in model.graph.node if node.op_type == "Constant"] == ["back"]
    assert [node.input[0] for node in model.graph.node if node.domain == DOMAIN] == ["x", "between"]


def test_the_id_attention_kernel_computes_what_the_engine_does():
    """The layer of the engine, with its norm and residual, against the definition of the kernel."""
    paddle.set_default_dtype("float64")
    try:
        dim, heads, frames, pixels = 96, 3, 2, 11
        attention, norm = by_recipe(IDAttention(dim, heads, 48)), by_recipe(paddle.nn.LayerNorm(dim))
        generator = np.random.default_rng(0)
        x, tokens = generator.standard_normal((2 * frames, pixels, dim)), generator.standard_normal((2, 5, 48))
        tokens[1] = 0
        with paddle.no_grad():
            constants = fold_id_attention(attention, paddle.to_tensor(tokens))
            everything = PackedSlice(0, constants.shape[-1])
            layer = FoldedIDAttention(dim, heads, everything)
            inputs = CachedInputs(frames, None, constants, None)
            engine = x + layer(norm(paddle.to_tensor(x)), inputs).numpy()
            parts = everything.split(constants, *FoldedIDAttention.shapes(dim, heads))
    finally:
        paddle.set_default_dtype("float32")
    keys, values, moments, base, shift, gain = (part.numpy() for part in parts)
    # The kernel's gain includes the factor that depends on the number of pixels.
    factor = np.sqrt(pixels / (pixels * dim - 1))
    weights = norm.weight.numpy(), norm.bias.numpy()
    kernel = id_attention(x, *weights, keys, values, moments, shift, base, factor * gain[:, 0])
    assert relative(kernel, engine) < 1e-12


def test_the_group_norm_kernel_computes_what_the_node_does(unet):
    model = onnx.load(unet, load_external_data=False)
    node = next(
        node
        for node in model.graph.node
        if kernel_name(node.op_type) == "GroupNormSiLU" and "temporal" not in node.input[1]
    )
    function = next(f for f in model.functions if f.name == node.op_type)
    channels = next(tensor.dims[0] for tensor in model.graph.initializer if tensor.name == node.input[1])
    generator = np.random.default_rng(0)
    x = generator.standard_normal((3, channels, 16, 16)).astype(np.float32)
    weight, bias = generator.standard_normal((2, channels)).astype(np.float32)
    values = dict(zip(("x", "weight", "bias"), (x, weight, bias), strict=True))
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(node.op_type, list(values), ["y"], domain=DOMAIN)],
        "g",
        [onnx.helper.make_tensor_value_info(name, 1, value.shape) for name, value in values.items()],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
    )
    single = onnx.helper.make_model(graph, functions=[function], opset_imports=model.opset_import, ir_version=8)
    (y,) = onnxruntime.InferenceSession(single.SerializeToString()).run(None, values)
    expected = group_norm_silu(x.reshape(3, channels, -1).astype(np.float64), weight, bias, 1, 1e-6)
    assert relative(y.reshape(3, channels, -1), expected) < 1e-5


def test_functions_differ_by_name_alone(unet):
    """Functions must not be overloads of one name, which TensorRT for RTX does not tell apart."""
    functions = onnx.load(unet, load_external_data=False).functions
    assert len({function.name for function in functions}) == len(functions) > 2
