"""Emulates fp16 graphs in float32, to certify them on machines without fp16 arithmetic.

Every fp16 tensor becomes a float32 tensor whose values are rounded to fp16, and operators compute in float32. This is
fp16 storage with float32 accumulation, as on GPUs, except that GPUs may skip a rounding between operators that they
fuse. (ONNX Runtime's CPU provider runs fp16 graphs too, but skips every rounding between operators, which hides their
errors.) Operators that only its CUDA provider has run as their definitions say, in fp16 graphs and in float32 ones.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper

from sa.export.onnx.definitions import defined
from sa.export.onnx.rewrites.lower_precision import HALF, MOVES, SINGLE, element_types
from sa.runtime.backends.base import Engine
from sa.runtime.backends.onnxruntime import OnnxRuntimeEngine
from sa.runtime.contract import EngineContract
from sa.runtime.system.processors import usable_cores

# Folded, every weight would be held as it is stored, in float32, and packed: 15 GiB for a UNet of 2.4.
UNFOLDED = ("ConstantFolding",)
EXACT = ".exact"  # suffix of the name of a tensor before it is rounded


def emulated(model: onnx.ModelProto, rounded: bool = True) -> onnx.ModelProto:
    """The fp16 model as a float32 model with the same roundings, or with none. It reads the same weight files."""
    model = inliner.inline_local_functions(model)
    graph = model.graph
    known = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    known |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    types = element_types(graph.node, known)
    nodes = []
    for tensor in graph.initializer:
        if tensor.data_type == HALF:
            name, tensor.name = tensor.name, f"{tensor.name}.stored"
            nodes.append(_cast(tensor.name, name, SINGLE))
    for node in graph.node:
        if node.op_type == "Constant" and types[node.output[0]] == HALF:
            value = numpy_helper.to_array(node.attribute[0].t).astype(np.float32)
            nodes.append(helper.make_node("Constant", [], node.output, value=numpy_helper.from_array(value)))
        elif node.op_type == "Cast" and types[node.input[0]] in (SINGLE, HALF) and types[node.output[0]] == SINGLE:
            nodes.append(helper.make_node("Identity", node.input, node.output))
        elif node.op_type == "Cast" and types[node.output[0]] == HALF:
            exact = f"{node.output[0]}{EXACT}"
            nodes.append(helper.make_node("Identity", node.input, [exact]))
            nodes += _rounding(exact, node.output[0], rounded)
        else:
            nodes.append(node)
            if node.op_type not in MOVES:
                for i, name in enumerate(node.output):
                    if types.get(name) == HALF:
                        node.output[i] = f"{name}{EXACT}"
                        nodes += _rounding(node.output[i], name, rounded)
    del graph.node[:]
    graph.node.extend(nodes)
    defined(graph)
    del graph.value_info[:]
    return model


class EmulatedEngine(OnnxRuntimeEngine):
    """Weights become float32 when a node reads them, and not when the program is loaded."""

    without = UNFOLDED


def open_emulated(folder: Path, contract: EngineContract, threads: int | None = None) -> Engine:
    """Open a program for ONNX Runtime, emulated. It reads the engine's weights; its own program is a temporary file."""
    program = folder / f"{Path(contract.program).stem}-emulated.onnx"
    onnx.save_model(emulated(onnx.load(folder / contract.program, load_external_data=False)), program)
    file = contract.files[0].model_copy(update={"name": program.name})
    changed = contract.model_copy(update={"program": program.name, "files": (file, *contract.files[1:])})
    try:
        return EmulatedEngine(folder, changed, threads or usable_cores())
    finally:
        program.unlink()


def _rounding(source: str, result: str, rounded: bool) -> list[onnx.NodeProto]:
    if not rounded:
        return [helper.make_node("Identity", [source], [result])]
    return [_cast(source, f"{result}.rounded", HALF), _cast(f"{result}.rounded", result, SINGLE)]


def _cast(source: str, result: str, dtype: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], to=dtype)
