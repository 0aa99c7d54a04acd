"""Replaces nodes of the domain `sa` (outline_kernels.py) by our kernels, which are plugins of TensorRT (sa.kernels).

A kernel of two passes is two plugins. Nodes whose shapes or constants no kernel is made for are kept, and run as the
operators of their bodies.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper, shape_inference

from sa.export.onnx.graph import Graph
from sa.export.onnx.rewrites.outline_kernels import DOMAIN, GROUP_NORM_SILU, ID_ATTENTION, kernel_name
from sa.export.onnx.rewrites.outline_temporal_attention import Tensor, find_temporal_blocks, outline_temporal_attention
from sa.kernels.shapes import EPSILONS, FACE_TOKENS, GROUPS, LAYER_NORM_EPSILON

Shapes = Mapping[str, tuple[int | None, ...]]  # None: a size that differs between calls
PIXELS_MULTIPLE = 16  # the compiled GroupNorm kernels need a multiple of this many pixels


def insert_plugins(model: onnx.ModelProto) -> None:
    """Replace all nodes that have a kernel by plugins, in place."""
    known = _known(model)
    shapes = {name: tensor.shape for name, tensor in known.items()}
    functions = {function.name: function for function in model.functions}
    makers = {ID_ATTENTION: _id_attention, GROUP_NORM_SILU: _group_norm_silu}
    nodes = []
    for node in model.graph.node:
        made = None
        if node.domain == DOMAIN:
            made = makers[kernel_name(node.op_type)](node, functions[node.op_type], shapes)
        nodes.extend([node] if made is None else made)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for block in find_temporal_blocks(model.graph, known):
        attention = block.attention
        sizes = np.array([block.frames, block.pixels, attention.heads])
        plugin = _plugin("TemporalAttention", attention.packed, attention.last.output, sizes=sizes)
        outline_temporal_attention(model.graph, block, plugin)
    Graph(model.graph).prune()


def _group_norm_silu(node: onnx.NodeProto, function: onnx.FunctionProto, shapes: Shapes) -> list[onnx.NodeProto] | None:
    x, weight, bias = node.input
    shape = shapes.get(x, ())
    epsilon = _epsilon(function, "InstanceNormalization", EPSILONS)
    if epsilon is None or len(shape) < 3 or None in shape[1:] or shape[1] % GROUPS:
        return None
    if math.prod(shape[2:]) % PIXELS_MULTIPLE:
        return None
    partials = f"{node.output[0]}.partials"
    return [
        _plugin("GroupNormPartials", [x], [partials]),
        _plugin("GroupNormSiLUOutput", [x, partials, weight, bias], node.output, epsilon=[epsilon]),
    ]


def _id_attention(node: onnx.NodeProto, function: onnx.FunctionProto, shapes: Shapes) -> list[onnx.NodeProto] | None:
    x, weight, bias, keys, values, moments, base, shift, gain = node.input
    shape, folded = shapes.get(x, ()), shapes.get(keys, ())
    if _epsilon(function, "LayerNormalization", (LAYER_NORM_EPSILON,)) is None:
        return None
    if len(shape) != 3 or None in shape[1:] or len(folded) != 2 or folded[1] is None:
        return None
    _, tokens, channels = shape
    if folded[1] % (FACE_TOKENS * channels):
        return None
    # The kernel expects a gain that includes the number of tokens; that of the conditioning engine does not.
    name = node.output[0]
    factor = np.float32(math.sqrt(tokens / (tokens * channels - 1)))
    own_gain, probabilities, sums = (f"{name}.{part}" for part in ("gain", "probabilities", "sums"))
    return [
        helper.make_node("Constant", [], [f"{name}.factor"], value=numpy_helper.from_array(factor)),
        helper.make_node("Mul", [gain, f"{name}.factor"], [own_gain]),
        _plugin("IDAttentionProbabilities", [x, weight, bias, keys, moments, own_gain], [probabilities, sums]),
        _plugin("IDAttentionOutput", [x, probabilities, sums, values, shift, base, own_gain], node.output),
    ]


def _plugin(name: str, inputs: Iterable[str], outputs: Iterable[str], **attributes: object) -> onnx.NodeProto:
    """A node that TensorRT's parser turns into a plugin, with its ahead-of-time (AOT) implementation."""
    kinds = {"plugin_namespace": DOMAIN, "plugin_version": "1", "aot": 1}
    return helper.make_node(name, inputs, outputs, domain=DOMAIN, **kinds, **attributes)


def _epsilon(function: onnx.FunctionProto, op_type: str, known: Iterable[float]) -> float | None:
    """The epsilon of the norm in a body, if the kernels are compiled for it."""
    (norm,) = [node for node in function.node if node.op_type == op_type]
    (found,) = [attribute.f for attribute in norm.attribute if attribute.name == "epsilon"]
    return next((epsilon for epsilon in known if np.float32(epsilon) == np.float32(found)), None)


def _known(model: onnx.ModelProto) -> dict[str, Tensor]:
    """Shape and element type of every tensor that shape inference finds."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for node in plain.graph.node:
        if node.domain == DOMAIN:  # its result has the shape and type of x
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
    inferred = shape_inference.infer_shapes(inliner.inline_local_functions(plain), data_prop=True).graph
    known = {
        value.name: Tensor(tuple(map(_size, value.type.tensor_type.shape.dim)), value.type.tensor_type.elem_type)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    return known | {weight.name: Tensor(tuple(weight.dims), weight.data_type) for weight in model.graph.initializer}


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    return dim.dim_value if dim.HasField("dim_value") else None
