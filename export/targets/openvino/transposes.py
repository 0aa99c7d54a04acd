"""Gives weights that are read transposed as well as they are a transposed copy.

OpenVINO 2026.4 packs a weight once for all products that read it, and takes a square one for its own transpose: in the
VJP of the decoder's attention, the result was off by half. Only VJPs read weights in both ways.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import external_data_helper

SWAPPED = [1, 0]


def copy_transposed_weights(model: onnx.ModelProto, folder: Path) -> None:
    """Replace each transpose of a weight that other nodes read by a constant inside the program.

    folder: where the files with the weights are.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    read = [name for node in graph.node for name in node.input]
    for node in list(graph.node):
        weight = weights.get(node.input[0]) if node.op_type == "Transpose" else None
        if weight is not None and list(node.attribute[0].ints) == SWAPPED and read.count(weight.name) > 1:
            graph.initializer.append(_transposed(weight, node.output[0], folder))
            graph.node.remove(node)


def _transposed(weight: onnx.TensorProto, name: str, folder: Path) -> onnx.TensorProto:
    whole = onnx.TensorProto()
    whole.CopyFrom(weight)
    if external_data_helper.uses_external_data(whole):
        external_data_helper.load_external_data_for_tensor(whole, str(folder))
    rows, columns = whole.dims
    values = np.frombuffer(whole.raw_data, f"<u{len(whole.raw_data) // (rows * columns)}")  # bits of any format
    bits = values.reshape(rows, columns).T.tobytes()
    return onnx.TensorProto(name=name, data_type=whole.data_type, dims=(columns, rows), raw_data=bits)
