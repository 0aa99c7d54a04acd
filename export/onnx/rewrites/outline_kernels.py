"""Outlines the operators of each fused kernel into one node: a call of a function that the model defines.

ONNX Runtime inlines the functions when it loads the model; a library that has the kernel (kernels/) can run the node
itself. Bodies differ by shapes, so functions are numbered: GroupNormSiLU_0 and so on. ONNX has overloads for this, but
TensorRT for RTX takes the first overload for all. Temporal self-attention is not outlined here: in ONNX Runtime,
transposes around com.microsoft.MultiHeadAttention were faster than any body of standard operators.
"""

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
    for split in [node for node in model.graph.node if node.op_type == "Split" and len(node.output) == FOLDED_PARTS]:
        edges = Graph(model.graph)
        keys = edges.only_reader(split.output[0], "Reshape")
        logits = edges.only_reader(keys.output[0], "MatMul") if keys is not None else None
        by_clip = edges.made_by(logits.input[0], "Reshape") if logits is not None else None
        norm = edges.made_by(by_clip.input[0], "LayerNormalization") if by_clip is not None else None
        if norm is None:
            continue
        (residual,) = [node for node in edges.readers[norm.input[0]] if node.op_type == "Add"]
        _outline(model, ID_ATTENTION, [*norm.input, *split.output], residual)
    for norm in [node for node in model.graph.node if node.op_type == "InstanceNormalization"]:
        edges = Graph(model.graph)
        groups = edges.made_by(norm.input[0], "Reshape")
        node = norm
        for op_type in ("Reshape", "Mul", "Add"):
            node = edges.only_reader(node.output[0], op_type) if node is not None else None
        if groups is None or node is None:
            continue
        readers = {reader.op_type: reader for reader in edges.readers[node.output[0]]}
        if readers.keys() == {"Sigmoid", "Mul"} and len(edges.readers[node.output[0]]) == 2:
            _outline(model, GROUP_NORM_SILU, [groups.input[0]], readers["Mul"])


def _outline(model: onnx.ModelProto, name: str, inputs: list[str], last: onnx.NodeProto) -> None:
    """Turn all nodes between `inputs` and the result of `last` into one; the parameters they read become inputs."""
    edges = Graph(model.graph)
    inside, waiting = {id(last)}, [last]
    while waiting:
        for tensor in waiting.pop().input:
            maker = edges.maker.get(tensor)
            if maker is not None and tensor not in inputs and id(maker) not in inside:
                inside.add(id(maker))
                waiting.append(maker)
    nodes = [node for node in model.graph.node if id(node) in inside]
    parameters = [tensor for node in nodes for tensor in node.input if tensor and tensor not in edges.maker]
    found = list(dict.fromkeys([*inputs, *parameters]))
    function = _function(model, name, nodes, found, last.output[0])
    call = helper.make_node(function, found, [last.output[0]], name=f"{name}_{last.output[0]}", domain=DOMAIN)
    kept = [
        call if node is last else node
        for node in model.graph.node
        if node is last or not _only_inside(node, inside, edges)
    ]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _only_inside(node: onnx.NodeProto, inside: set[int], edges: Graph) -> bool:
    """Whether the node can be removed. Constants may also be read outside; ValueError for any other node that is."""
    if id(node) not in inside:
        return False
    elsewhere = any(id(reader) not in inside for output in node.output for reader in edges.readers[output])
    if elsewhere and node.op_type != "Constant":
        raise ValueError(f"{node.op_type} {node.output[0]} is read outside the kernel it belongs to")
    return not elsewhere


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
