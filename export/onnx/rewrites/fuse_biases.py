"""Adds biases in the operators around them, where ONNX Runtime's CUDA provider has kernels for the width.

A GEGLU's bias, halves and GELU are one pass (BiasSplitGelu), and so are the bias of a projection and the residual that
is added to it (BiasAdd). As single operators, each of them reads and writes the tensor once more.
"""

from collections.abc import Mapping

import onnx
from onnx import helper

from sa.export.onnx.graph import CONTRIB, Graph, import_contrib
from sa.export.onnx.rewrites.channels_last import known_shapes
from sa.export.onnx.rewrites.split_geglu import geglus

PROJECTED = (2560, 5120, 10240)  # widths of both halves of a GEGLU that the provider has kernels for
RESIDUAL = (320, 640, 1280)  # and of a residual


def fuse_biases(model: onnx.ModelProto, parameters: Mapping[str, tuple[int, ...]]) -> None:
    """Rewrite a float32 model in place. `parameters`: the shapes of weights, which are declared later."""
    shapes = known_shapes(model, parameters)
    _fuse_geglus(model, parameters, shapes)
    _fuse_residuals(model, parameters, shapes)
    Graph(model.graph).prune()
    import_contrib(model)


def _fuse_geglus(model: onnx.ModelProto, parameters: Mapping[str, tuple[int, ...]], shapes: Mapping) -> None:
    edges = Graph(model.graph)
    for found in geglus(edges, parameters):
        product, gated = found.product.output[0], edges.only_reader(found.gelu.output[0], "Mul")
        whole = gated is not None and found.split.output[0] in gated.input
        if not whole or parameters[found.bias][0] not in PROJECTED or len(shapes.get(product, ())) != 3:
            continue
        _replace(model, gated, helper.make_node("BiasSplitGelu", [product, found.bias], gated.output, domain=CONTRIB))


def _fuse_residuals(model: onnx.ModelProto, parameters: Mapping[str, tuple[int, ...]], shapes: Mapping) -> None:
    edges = Graph(model.graph)
    for biased in [node for node in model.graph.node if node.op_type == "Add" and node.input[1] in parameters]:
        product, bias = biased.input
        shape, residual = shapes.get(product, ()), edges.only_reader(biased.output[0], "Add")
        if residual is None or len(shape) != 3 or shape[2] not in RESIDUAL or parameters[bias] != shape[2:]:
            continue
        (skip,) = [name for name in residual.input if name != biased.output[0]] or [""]
        if shapes.get(skip) == shape:
            node = helper.make_node("BiasAdd", [product, bias, skip], residual.output, domain=CONTRIB)
            _replace(model, residual, node)


def _replace(model: onnx.ModelProto, old: onnx.NodeProto, new: onnx.NodeProto) -> None:
    position = list(model.graph.node).index(old)
    model.graph.node.remove(old)
    model.graph.node.insert(position, new)
