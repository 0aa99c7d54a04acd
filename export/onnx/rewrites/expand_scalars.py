"""Two uses of single numbers that TensorRT for RTX 1.7 cannot build, written so that it can.

- Normalization over one number. Only test models have such groups: 32 channels of 1x1 pixels in 32 groups.
- A float32 convolution times one number. The builder tries to fold the number into the weights, and fails on its shape.
  The gradient of the decoder's first segment ends with such a product.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

Sizes = Mapping[str, list[int]]  # shapes by tensor, 0 where unknown


def expand_scalars(model: onnx.ModelProto) -> None:
    """Rewrite both uses, exactly, where sizes are known. Functions must have been inlined."""
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    maker = {name: node for node in graph.node for name in node.output}
    nodes = []
    for node in graph.node:
        nodes += _normalized(node, sizes) or _scaled(node, maker, sizes) or [node]
    del graph.node[:]
    graph.node.extend(nodes)


def _normalized(node: onnx.NodeProto, sizes: Sizes) -> list[onnx.NodeProto]:
    """InstanceNormalization of [N, C, 1, ...] becomes its bias: a number minus its own mean is 0."""
    size = sizes.get(node.input[0], []) if node.op_type == "InstanceNormalization" else []
    if len(size) < 3 or set(size[2:]) != {1}:
        return []
    (result,) = node.output
    return [
        helper.make_node("Sub", [node.input[0], node.input[0]], [f"{result}.zero"]),
        _constant(f"{result}.axes", np.arange(1, len(size) - 1)),
        helper.make_node("Unsqueeze", [node.input[2], f"{result}.axes"], [f"{result}.bias"]),
        helper.make_node("Add", [f"{result}.zero", f"{result}.bias"], [result]),
    ]


def _scaled(node: onnx.NodeProto, maker: Mapping[str, onnx.NodeProto], sizes: Sizes) -> list[onnx.NodeProto]:
    """A convolution times one number becomes a convolution times a vector, with that number for each channel."""
    for convolved, factor in _orders(node) if node.op_type == "Mul" else ():
        size, value = sizes.get(convolved, []), _value(maker.get(factor))
        made = maker[convolved].op_type if convolved in maker else ""
        if made != "Conv" or value is None or value.size != 1 or len(size) < 2 or not size[1]:
            continue
        (result,) = node.output
        spread = np.full([1, size[1]] + [1] * (len(size) - 2), value.reshape(()), value.dtype)
        return [
            _constant(f"{result}.factor", spread),
            helper.make_node("Mul", [convolved, f"{result}.factor"], [result]),
        ]
    return []


def _orders(node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
    yield tuple(node.input)
    yield tuple(reversed(node.input))


def _value(node: onnx.NodeProto | None) -> np.ndarray | None:
    return numpy_helper.to_array(node.attribute[0].t) if node is not None and node.op_type == "Constant" else None


def _constant(name: str, value: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
