"""Normalizations over a single number, which TensorRT for RTX refuses to build.

A number less its own mean is nothing, so the result is the bias. Only models of test size have such groups: 32 channels
of 1x1 pixels in 32 groups.
"""

import onnx
from onnx import helper


def without_single_numbers(model: onnx.ModelProto) -> None:
    """Put the bias in the place of each InstanceNormalization whose input [N, C, ...] is known to end in ones alone."""
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.value_info)
    }
    nodes = []
    for node in graph.node:
        size = shapes.get(node.input[0], []) if node.op_type == "InstanceNormalization" else []
        if len(size) < 3 or set(size[2:]) != {1}:
            nodes.append(node)
            continue
        (result,) = node.output
        axes = helper.make_tensor(f"{result}.axes", onnx.TensorProto.INT64, [len(size) - 2], range(1, len(size) - 1))
        graph.initializer.append(axes)
        nodes += [
            helper.make_node("Sub", [node.input[0], node.input[0]], [f"{result}.zero"]),
            helper.make_node("Unsqueeze", [node.input[2], axes.name], [f"{result}.bias"]),
            helper.make_node("Add", [f"{result}.zero", f"{result}.bias"], [result]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
