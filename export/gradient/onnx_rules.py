"""The VJP rules of the ONNX operators in the decoder and the face loss.

A rule takes the backward pass, the node, the cotangents of its outputs (None for an output without one), and a flag for
each input that needs a cotangent. It returns the cotangents of the inputs, in order, with None for those without one.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from sa.export.gradient.backward import Backward

Rule = Callable[[Backward, onnx.NodeProto, list[str | None], list[bool]], list[str | None]]
RULES: dict[str, Rule] = {}

END = np.iinfo(np.int64).min  # the end of a Slice that runs backwards through the first element


def rule(*op_types: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(op_types, function))
        return function

    return register


def _attributes(node: onnx.NodeProto) -> dict:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


@rule("Add")
def _add(b, node, dy, wanted):
    given = b.shape(node.output[0])
    return [
        b.sum_to(dy[0], given, b.shape(name)) if want else None for name, want in zip(node.input, wanted, strict=True)
    ]


@rule("Sub")
def _sub(b, node, dy, wanted):
    first, second = _add(b, node, dy, wanted)
    return [first, b.op("Neg", second) if second is not None else None]


@rule("Mul")
def _mul(b, node, dy, wanted):
    given = b.shape(node.output[0])
    others = node.input[1], node.input[0]
    return [
        b.sum_to(b.op("Mul", dy[0], other), given, b.shape(name)) if want else None
        for name, other, want in zip(node.input, others, wanted, strict=True)
    ]


@rule("Div")
def _div(b, node, dy, wanted):
    numerator, denominator = node.input
    given = b.shape(node.output[0])
    scaled = b.op("Div", dy[0], denominator)
    first = b.sum_to(scaled, given, b.shape(numerator)) if wanted[0] else None
    second = b.op("Neg", b.op("Mul", scaled, node.output[0])) if wanted[1] else None
    return [first, b.sum_to(second, given, b.shape(denominator)) if second is not None else None]


@rule("Abs")
def _abs(b, node, dy, wanted):
    return [b.op("Mul", dy[0], b.op("Sign", node.input[0]))]


@rule("Sqrt")
def _sqrt(b, node, dy, wanted):
    return [b.op("Div", b.op("Mul", dy[0], b.constant(0.5)), node.output[0])]


@rule("Clip")
def _clip(b, node, dy, wanted):
    """At a bound the gradient passes, as in PyTorch (docs/model.md, section 8)."""
    x, result = node.input[0], dy[0]
    for bound, beyond in zip(node.input[1:], ("Less", "Greater"), strict=False):
        if bound:
            result = b.op("Where", b.op(beyond, x, bound), b.constant(0.0), result)
    return [result]


@rule("PRelu")
def _prelu(b, node, dy, wanted):
    """At 0 the slope is that of the negative side, as in PyTorch and Paddle."""
    x, slope = node.input
    return [b.op("Where", b.op("Greater", x, b.constant(0.0)), dy[0], b.op("Mul", dy[0], slope))]


@rule("Softmax")
def _softmax(b, node, dy, wanted):
    axis = _attributes(node).get("axis", -1)
    y = node.output[0]
    weighted = b.op("Mul", dy[0], y)
    total = b.op("ReduceSum", weighted, b.constant([axis], np.int64), keepdims=1)
    return [b.op("Sub", weighted, b.op("Mul", total, y))]


@rule("ReduceSum")
def _reduce_sum(b, node, dy, wanted):
    x = node.input[0]
    axes = {int(axis) % b.rank(x) for axis in b.edges.constant(node.input[1])}
    kept = [1 if i in axes else size for i, size in enumerate(b.shape(x))]
    return [b.op("Expand", b.reshape(dy[0], kept), b.op("Shape", x))]


@rule("MatMul")
def _matmul(b, node, dy, wanted):
    first, second = node.input
    given = b.shape(node.output[0])

    def transposed(name: str) -> str:
        rank = b.rank(name)
        return b.op("Transpose", name, perm=[*range(rank - 2), rank - 1, rank - 2])

    def summed(product: str, other: str, name: str) -> str:
        shape = b.shape(name)
        batch = given[:-2] if len(given) >= b.rank(other) else b.shape(other)[:-2]
        return b.sum_to(product, (*batch, *shape[-2:]), shape)

    return [
        summed(b.op("MatMul", dy[0], transposed(second)), second, first) if wanted[0] else None,
        summed(b.op("MatMul", transposed(first), dy[0]), first, second) if wanted[1] else None,
    ]


@rule("Conv")
def _conv(b, node, dy, wanted):
    """With respect to the input only; weights are frozen."""
    if any(wanted[1:]):
        raise ValueError("the VJP of a convolution with respect to its weights is not built")
    attributes = _attributes(node)
    x, weight = node.input[:2]
    kernel = b.shape(weight)[2:]
    rank = len(kernel)
    strides = attributes.get("strides", [1] * rank)
    pads = attributes.get("pads", [0] * (2 * rank))
    if attributes.get("group", 1) != 1 or set(attributes.get("dilations", [1])) != {1}:
        raise ValueError("the VJP of a grouped or dilated convolution is not built")
    before, after = pads[:rank], pads[rank:]
    if set(strides) == {1}:
        # A convolution with the flipped kernel. In ONNX Runtime it is nearly twice as fast as ConvTranspose, and the
        # weights are flipped only once, when the engine is loaded.
        axes = list(range(2, 2 + rank))
        turned = b.op("Transpose", weight, perm=[1, 0, *axes])
        flipped = b.op(
            "Slice", turned, *(b.constant(v, np.int64) for v in ([-1] * rank, [END] * rank, axes, [-1] * rank))
        )
        whole = [k - 1 - p for k, p in zip((*kernel, *kernel), (*before, *after), strict=True)]
        return [b.op("Conv", dy[0], flipped, kernel_shape=kernel, pads=whole)]
    sizes = zip(b.shape(x)[2:], b.shape(node.output[0])[2:], strides, kernel, before, after, strict=True)
    missing = [size - ((out - 1) * stride + k - first - last) for size, out, stride, k, first, last in sizes]
    shaped = {"kernel_shape": kernel, "strides": strides, "pads": pads, "output_padding": missing}
    return [b.op("ConvTranspose", dy[0], weight, **shaped)]


@rule("BatchNormalization")
def _batch_norm(b, node, dy, wanted):
    """At inference batch norm is linear, so its VJP is a scale per channel."""
    x, weight, _, _, variance = node.input
    spread = b.op("Sqrt", b.op("Add", variance, b.constant(_attributes(node).get("epsilon", 1e-5))))
    shape = [-1] + [1] * (b.rank(x) - 2)
    return [b.op("Mul", dy[0], b.op("Reshape", b.op("Div", weight, spread), b.constant(shape, np.int64)))]


@rule("Transpose")
def _transpose(b, node, dy, wanted):
    order = _attributes(node)["perm"]
    return [b.op("Transpose", dy[0], perm=[int(i) for i in np.argsort(order)])]


@rule("Reshape", "Squeeze", "Unsqueeze", "Flatten")
def _reshape(b, node, dy, wanted):
    return [b.reshape(dy[0], b.shape(node.input[0]))]


@rule("Concat")
def _concat(b, node, dy, wanted):
    axis = _attributes(node)["axis"]
    sizes = b.constant([b.shape(name)[axis] for name in node.input], np.int64)
    return b.ops("Split", len(node.input), dy[0], sizes, axis=axis)


@rule("DepthToSpace")
def _depth_to_space(b, node, dy, wanted):
    attributes = _attributes(node)
    if attributes.get("mode") != b"CRD":
        raise ValueError("the VJP of DepthToSpace is built for mode CRD")
    block = attributes["blocksize"]
    _, channels, height, width = b.shape(node.output[0])
    split = b.reshape(dy[0], [None, channels, height // block, block, width // block, block])
    moved = b.op("Transpose", split, perm=[0, 1, 3, 5, 2, 4])
    return [b.reshape(moved, b.shape(node.input[0]))]
