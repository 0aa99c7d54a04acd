"""ONNX graphs with their edges, and the exact rewrites that make paddle2onnx's graphs fast in ONNX Runtime."""

from collections import defaultdict

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sa.runtime.contract import OperatorSet, TensorSpec

CONTRIB = "com.microsoft"  # ONNX Runtime's own operators
HEADS_FIRST = [0, 2, 1, 3]  # [B, N, heads, d] -> [B, heads, N, d], and back
KEYS_LAST = [0, 1, 3, 2]


class Graph:
    """An ONNX graph with its edges: the node that makes each tensor, and the nodes that read it."""

    def __init__(self, graph: onnx.GraphProto):
        self.graph = graph
        self.maker = {output: node for node in graph.node for output in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)

    def constant(self, name: str) -> np.ndarray | None:
        node = self.maker.get(name)
        return numpy_helper.to_array(node.attribute[0].t) if node is not None and node.op_type == "Constant" else None

    def made_by(self, name: str, op_type: str) -> onnx.NodeProto | None:
        node = self.maker.get(name)
        return node if node is not None and node.op_type == op_type else None

    def only_reader(self, name: str, op_type: str) -> onnx.NodeProto | None:
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and readers[0].op_type == op_type else None

    def redirect(self, old: str, new: str) -> None:
        """Let all readers of `old` read `new` instead."""
        for node in self.readers.pop(old, []):
            for i, name in enumerate(node.input):
                if name == old:
                    node.input[i] = new
            self.readers[new].append(node)
        for output in self.graph.output:
            if output.name == old:  # an output keeps its name, so `new` takes it
                self.rename(new, old)

    def rename(self, old: str, new: str) -> None:
        """Rename the tensor `old` to `new`."""
        node = self.maker.pop(old)
        node.output[list(node.output).index(old)] = new
        self.maker[new] = node
        for reader in self.readers.pop(old, []):
            for i, name in enumerate(reader.input):
                if name == old:
                    reader.input[i] = new
            self.readers[new].append(reader)

    def prune(self) -> None:
        """Remove nodes whose results are not used."""
        needed = {output.name for output in self.graph.output}
        kept = []
        for node in reversed(self.graph.node):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        del self.graph.node[:]
        self.graph.node.extend(reversed(kept))


def operator_sets(model: onnx.ModelProto) -> tuple[OperatorSet, ...]:
    """The operators that the model uses of each opset. Its own functions count as the operators in their bodies."""
    functions = {function.domain for function in model.functions}
    versions = {opset.domain: opset.version for opset in model.opset_import}
    taken: dict[str, set[str]] = defaultdict(set)
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while nodes:
        node = nodes.pop()
        if node.domain not in functions:
            taken[node.domain].add(node.op_type)
        for attribute in node.attribute:
            nodes += [*attribute.g.node, *(inner for graph in attribute.graphs for inner in graph.node)]
    return tuple(
        OperatorSet(domain=domain, version=versions[domain], operators=tuple(sorted(names)))
        for domain, names in sorted(taken.items())
    )


def tidy(
    model: onnx.ModelProto, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], fused: bool = True
) -> None:
    """Apply all rewrites in order, and give the model's inputs and outputs the names and shapes of the engine.

    With `fused` False, attention stays in single operators, which can be differentiated.
    """
    remove_identities(model.graph)
    remove_centring(model.graph)
    if fused:
        fuse_attention(model)
    name_inputs_and_outputs(model.graph, inputs, outputs)


def remove_identities(graph: onnx.GraphProto) -> None:
    """Remove Identity nodes and additions of a zero."""
    edges, kept = Graph(graph), []
    for node in graph.node:
        zero = node.op_type == "Add" and (constant := edges.constant(node.input[1])) is not None and not constant.any()
        if node.op_type == "Identity" or (zero and constant.size == 1):
            edges.redirect(node.output[0], node.input[0])
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    Graph(graph).prune()


def remove_centring(graph: onnx.GraphProto) -> None:
    """Remove g - mean(g) before an InstanceNormalization of the groups g, which subtracts the mean itself."""
    edges = Graph(graph)
    for node in graph.node:
        if node.op_type != "InstanceNormalization":
            continue
        regrouped = edges.made_by(node.input[0], "Reshape")
        ungrouped = edges.made_by(regrouped.input[0], "Reshape") if regrouped is not None else None
        centred = edges.made_by(ungrouped.input[0], "Sub") if ungrouped is not None else None
        mean = edges.made_by(centred.input[1], "ReduceMean") if centred is not None else None
        if mean is None or mean.input[0] != centred.input[0]:
            continue
        groups = edges.made_by(centred.input[0], "Reshape")
        if groups is not None and np.array_equal(edges.constant(groups.input[1]), edges.constant(regrouped.input[1])):
            # Later nodes read the shape of the centred tensor; let them read that of the original.
            edges.redirect(ungrouped.output[0], groups.input[0])
            node.input[0] = groups.output[0]
    Graph(graph).prune()


def fuse_attention(model: onnx.ModelProto) -> None:
    """Turn softmax(s q k^T) v into com.microsoft.MultiHeadAttention, which never holds all scores at once.

    Only self-attention is fused: queries, keys and values are projections of one tensor. Cross-attentions have few
    keys, which all frames share, and are faster as plain products.
    """
    edges = Graph(model.graph)
    for softmax in list(model.graph.node):
        if softmax.op_type == "Softmax" and (fused := _attention(edges, softmax)) is not None:
            node, last = fused
            position = list(model.graph.node).index(last)
            model.graph.node.remove(last)
            model.graph.node.insert(position, node)
    Graph(model.graph).prune()
    import_contrib(model)


def import_contrib(model: onnx.ModelProto) -> None:
    """Declare ONNX Runtime's own operators, if the model uses any and has not declared them."""
    used = any(node.domain == CONTRIB for node in model.graph.node)
    if used and all(opset.domain != CONTRIB for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))


def _attention(edges: Graph, softmax: onnx.NodeProto) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """The fused node and the last node it replaces, if `softmax` belongs to a self-attention."""
    scores = edges.made_by(softmax.input[0], "MatMul")
    mixed = edges.only_reader(softmax.output[0], "MatMul")
    if scores is None or mixed is None:
        return None
    scaled = edges.made_by(scores.input[0], "Mul")
    scale = edges.constant(scaled.input[1]) if scaled is not None else None
    keys = permuted(edges, scores.input[1], KEYS_LAST)
    back = edges.only_reader(mixed.output[0], "Transpose")
    last = edges.only_reader(back.output[0], "Reshape") if back is not None else None
    if scale is None or scale.size != 1 or keys is None or last is None:
        return None
    query, key, value = (split_heads(edges, name) for name in (scaled.input[0], keys, mixed.input[1]))
    if not query or not key or not value:
        return None
    if len({_projected(edges, name) for name, _ in (query, key, value)}) != 1:
        return None
    node = helper.make_node(
        "MultiHeadAttention",
        [query[0], key[0], value[0]],
        [last.output[0]],
        name=f"attention_{softmax.output[0]}",
        domain=CONTRIB,
        num_heads=query[1],
        scale=float(scale.reshape(())),
    )
    return node, last


def permuted(edges: Graph, name: str, order: list[int]) -> str | None:
    """x, if `name` is transpose(x) with this order of axes."""
    node = edges.made_by(name, "Transpose")
    return node.input[0] if node is not None and list(node.attribute[0].ints) == order else None


def _projected(edges: Graph, name: str) -> str:
    """The tensor that `name` is a linear projection of."""
    biased = edges.made_by(name, "Add")
    product = edges.made_by(biased.input[0] if biased is not None else name, "MatMul")
    return product.input[0] if product is not None else name


def split_heads(edges: Graph, name: str) -> tuple[str, int] | None:
    """x and heads, if `name` is transpose(reshape(x, [B, N, heads, d]))."""
    reshaped = permuted(edges, name, HEADS_FIRST)
    node = edges.made_by(reshaped, "Reshape") if reshaped is not None else None
    shape = edges.constant(node.input[1]) if node is not None else None
    return (node.input[0], int(shape[2])) if shape is not None and len(shape) == 4 else None


def name_inputs_and_outputs(
    graph: onnx.GraphProto, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> None:
    """Give the graph the engine's names and sizes; a size with a range becomes the symbol `batch`."""
    if [value.name for value in graph.input] != [spec.name for spec in inputs]:
        by_name = {value.name: value for value in graph.input}
        ordered = [by_name[spec.name] for spec in inputs]
        del graph.input[:]
        graph.input.extend(ordered)
    for value, spec in zip(graph.output, outputs, strict=True):
        Graph(graph).rename(value.name, spec.name)
        value.name = spec.name
    for value, spec in zip([*graph.input, *graph.output], [*inputs, *outputs], strict=True):
        for dim, size in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
            if isinstance(size, int):
                dim.dim_value = size
            else:
                dim.dim_param = "batch"
