"""Replaces the Scans of VJPs (export/gradient/group_norm.py) by their bodies, which then run on all steps at once.

A Scan runs step by step, to stay in a processor's cache. A GPU does not need that, and TensorRT's parser refuses a Scan
without a state.
"""

import onnx


def unroll_scans(model: onnx.ModelProto) -> None:
    """Replace each Scan by its body. It must have no state, scan first axes, and count axes from the last."""
    graph = model.graph
    nodes = []
    for number, node in enumerate(graph.node):
        if node.op_type != "Scan":
            nodes.append(node)
            continue
        body = next(attribute.g for attribute in node.attribute if attribute.name == "body")
        names = dict(zip((value.name for value in body.input), node.input, strict=True))
        names |= zip((value.name for value in body.output), node.output, strict=True)

        def renamed(name: str, names: dict[str, str] = names, number: int = number) -> str:
            return names.setdefault(name, f"scan_{number}.{name}") if name else name

        for inner in body.node:
            made = onnx.NodeProto()
            made.CopyFrom(inner)
            made.input[:] = map(renamed, inner.input)
            made.output[:] = map(renamed, inner.output)
            nodes.append(made)
        for inner in body.initializer:
            made = graph.initializer.add()
            made.CopyFrom(inner)
            made.name = renamed(inner.name)
    del graph.node[:]
    graph.node.extend(nodes)
