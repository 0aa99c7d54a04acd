"""Outlines the operators of each fused kernel into one node: a call of a function that the model defines.

ONNX Runtime inlines the functions when it loads the model; a library that has the kernel (kernels/) can run the node
itself. Bodies differ by shapes, so functions are numbered: GroupNormSiLU_0 and so on. ONNX has overloads for this, but
TensorRT for RTX takes the first overload for all. Temporal self-attention is not outlined here: in ONNX Runtime,
transposes around com.microsoft.MultiHeadAttention were faster than any body of standard operators.
"""

from collections.abc import Iterator

import onnx
from onnx import helper

from sa.export.onnx.graph import Graph

DOMAIN = "sa"
ID_ATTENTION = "IDAttention"  # x, LayerNorm's weight and bias, keys, values, moments, base, shift, gain -> x + result
GROUP_NORM_SILU = "GroupNormSiLU"  # x, weight, bias -> y
FOLDED_PARTS = 6  # keys, values, moments, base, shift, gain: split from one slice of the constants


def kernel_name(function: str) -> str:
    """The name of the kernel, from that of a numbered function."""
    return function.rpartition("_")[0]


def outline_kernels(model: onnx.ModelProto) -> None:
    """Turn every ID attention, and every GroupNorm followed by SiLU, into a call of a function."""
    edges = Graph(model.graph)
    calls: dict[int, onnx.NodeProto] = {}  # by the id of the node in whose place each comes
    inside: set[int] = set()
    for name, inputs, last in [*_id_attentions(edges), *_group_norms(edges)]:
        nodes = _between(edges, inputs, last)
        calls[id(last)] = _call(model, edges, name, inputs, nodes, last.output[0])
        inside |= {id(node) for node in nodes}
    # Constants may also be read outside of the kernel that they belong to.
    read = {name for node in model.graph.node if id(node) not in inside for name in node.input}
    shared = {id(edges.maker[name]) for name in read if edges.made_by(name, "Constant") is not None}
    kept = [
        calls.get(id(node), node)
        for node in model.graph.node
        if id(node) in calls or id(node) in shared or id(node) not in inside
    ]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _id_attentions(edges: Graph) -> Iterator[tuple[str, list[str], onnx.NodeProto]]:
    """The kernel's name, its inputs without parameters, and the node that makes its result."""
    for split in edges.graph.node:
        if split.op_type != "Split" or len(split.output) != FOLDED_PARTS:
            continue
        keys = edges.only_reader(split.output[0], "Reshape")
        logits = edges.only_reader(keys.output[0], "MatMul") if keys is not None else None
        by_clip = edges.made_by(logits.input[0], "Reshape") if logits is not None else None
        norm = edges.made_by(by_clip.input[0], "LayerNormalization") if by_clip is not None else None
        if norm is None:
            continue
        (residual,) = [node for node in edges.readers[norm.input[0]] if node.op_type == "Add"]
        yield ID_ATTENTION, [*norm.input, *split.output], residual


def _group_norms(edges: Graph) -> Iterator[tuple[str, list[str], onnx.NodeProto]]:
    """Likewise."""
    for norm in edges.graph.node:
        if norm.op_type != "InstanceNormalization":
            continue
        groups = edges.made_by(norm.input[0], "Reshape")
        node = norm
        for op_type in ("Reshape", "Mul", "Add"):
            node = edges.only_reader(node.output[0], op_type) if node is not None else None
        if groups is None or node is None:
            continue
        readers = {reader.op_type: reader for reader in edges.readers[node.output[0]]}
        if readers.keys() == {"Sigmoid", "Mul"} and len(edges.readers[node.output[0]]) == 2:
            yield GROUP_NORM_SILU, [groups.input[0]], readers["Mul"]


def _between(edges: Graph, inputs: list[str], last: onnx.NodeProto) -> list[onnx.NodeProto]:
    """All nodes between `inputs` and the result of `last`, in the graph's order."""
    found, waiting = {id(last)}, [last]
    while waiting:
        for tensor in waiting.pop().input:
            maker = edges.maker.get(tensor)
            if maker is not None and tensor not in inputs and id(maker) not in found:
                found.add(id(maker))
                waiting.append(maker)
    return [node for node in edges.graph.node if id(node) in found]


def _call(
    model: onnx.ModelProto, edges: Graph, name: str, inputs: list[str], nodes: list[onnx.NodeProto], output: str
) -> onnx.NodeProto:
    """A node that calls a function with these nodes as its body; the parameters they read become inputs.

    ValueError if one of them is read elsewhere, unless it is a constant or makes the output.
    """
    inside = {id(node) for node in nodes}
    for node in nodes:
        elsewhere = any(id(reader) not in inside for made in node.output for reader in edges.readers[made])
        if elsewhere and node.op_type != "Constant" and output not in node.output:
            raise ValueError(f"{node.op_type} {node.output[0]} is read outside the kernel it belongs to")
    parameters = [tensor for node in nodes for tensor in node.input if tensor and tensor not in edges.maker]
    found = list(dict.fromkeys([*inputs, *parameters]))
    function = _function(model, name, nodes, found, output)
    return helper.make_node(function, found, [output], name=f"{name}_{output}", domain=DOMAIN)


def _function(model: onnx.ModelProto, name: str, nodes: list[onnx.NodeProto], inputs: list[str], output: str) -> str:
    """The name of the function with this body, which is added to the model unless it exists."""
    names = {tensor: f"in_{i}" for i, tensor in enumerate(inputs)}
    body = []
    for node in nodes:
        clone = onnx.NodeProto()
        clone.CopyFrom(node)
        clone.name = ""
        for attribute in clone.attribute:
            if attribute.HasField("t"):  # two constants of equal value are the same
                attribute.t.ClearField("name")
        for i, tensor in enumerate(node.input):
            clone.input[i] = names[tensor] if tensor else ""
        for i, tensor in enumerate(node.output):
            clone.output[i] = names.setdefault(tensor, "out" if tensor == output else f"t_{len(names)}")
        body.append(clone)
    formal = [names[tensor] for tensor in inputs]
    there = [function for function in model.functions if kernel_name(function.name) == name]
    for function in there:
        if list(function.node) == body and list(function.input) == formal:
            return function.name
    if all(opset.domain != DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    opsets = [opset for opset in model.opset_import if opset.domain != DOMAIN]
    function = helper.make_function(DOMAIN, f"{name}_{len(there)}", formal, ["out"], body, opsets)
    model.functions.append(function)
    return function.name
