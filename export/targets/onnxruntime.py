"""ONNX Runtime: Paddle's program through paddle2onnx, tidied, its weights beside it as external data."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from sa.export.checkpoint import Weights
from sa.export.cost import Cost, onnx_cost
from sa.export.gradient.onnx_backward import differentiate
from sa.export.targets import TWIN, Network, Written
from sa.export.targets.converter import ConversionError, Converter
from sa.export.targets.gates import Columns, split_gates
from sa.export.targets.kernel_nodes import outline_kernels
from sa.export.targets.onnx_graph import tidy
from sa.export.trace import Traced, call_cost, trace
from sa.runtime.errors import UserError

ALIGNMENT = 4096  # a page: ONNX Runtime maps the weights instead of reading them

_CONVERTER = Converter()


def write_engine(network: Network, folder: Path, stem: str) -> Written:
    traced = trace(network.forward, network.inputs, network.outputs)
    model = _convert(traced, stem)
    tidy(model, traced.inputs, network.outputs, fused=network.gradient is None)
    columns = {}
    if network.own_weights:  # no other engine reads the same parameters whole
        columns = split_gates(model, traced.parameters)
        outline_kernels(model)
    if network.gradient is None:
        cost = call_cost(traced, network.forward, network.inputs, network.outputs)
    else:
        traced, cost = _differentiate(model, traced, network)
    program = f"{stem}.onnx"
    read = {name for node in model.graph.node for name in node.input}
    data = []
    for weights in network.weights:
        names = [name for name in traced.parameters if name in weights]
        if not names:
            continue
        if network.own_weights:
            stored = {name: Columns(name, 0, traced.parameters[name][-1]) for name in names if name in read} | columns
        else:  # one file per part of the checkpoint, shared by all engines that take their weights from it
            stored = {name: Columns(name, 0, shape[-1]) for name, shape in weights.shapes.items()}
        shapes = {name: part.shape(weights.shapes) for name, part in stored.items()}
        offsets = _offsets(shapes)
        data.append(f"{stem.removesuffix(TWIN) if network.own_weights else weights.part}.weights")
        _declare_weights(model.graph, {name: shapes[name] for name in shapes if name in read}, offsets, data[-1])
        if not (folder / data[-1]).exists():
            _write_weights(folder / data[-1], weights, stored, offsets)
    onnx.save_model(model, folder / program)
    return Written(program, tuple(data), traced, cost)


def _differentiate(model: onnx.ModelProto, traced: Traced, network: Network) -> tuple[Traced, Cost]:
    """Make the model its gradient's; what that reads, takes and gives, and what it costs."""
    gradient = network.gradient
    # Their shapes decide which rule applies how; the values are declared later.
    values = [onnx.helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in traced.parameters.items()]
    model.graph.input.extend(values)
    differentiate(model, gradient.of, gradient.cotangent, gradient.result, traced.batch)
    cost = onnx_cost(model, traced.batch, weights=traced.parameters)
    read = {name for node in model.graph.node for name in node.input}
    inputs = [value for value in model.graph.input if value.name not in traced.parameters]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return Traced(
        traced.program,
        gradient.inputs(traced.inputs),
        gradient.outputs(network.outputs[0]),
        {name: shape for name, shape in traced.parameters.items() if name in read},
    ), cost


def _convert(traced: Traced, stem: str) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as scratch:
        source, result = Path(scratch) / "program.json", Path(scratch) / "graph.onnx"
        traced.save(source)
        try:
            _CONVERTER.convert(source, result)
        except ConversionError as error:
            raise UserError(
                f"paddle2onnx could not convert {stem} {error}; "
                "check that paddlepaddle, paddle2onnx and onnx have the versions of the extra 'export'."
            ) from None
        return onnx.load(result)


def _offsets(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Where each parameter lies in a weights file."""
    offsets, end = {}, 0
    for name, shape in sorted(shapes.items()):
        offsets[name] = end + -end % ALIGNMENT
        end = offsets[name] + 4 * math.prod(shape)
    return offsets


def _declare_weights(
    graph: onnx.GraphProto, parameters: Mapping[str, tuple[int, ...]], offsets: Mapping[str, int], location: str
) -> None:
    """Every parameter becomes an initializer in the file `location`."""
    for name, shape in sorted(parameters.items()):
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        place = (("location", location), ("offset", offsets[name]), ("length", 4 * math.prod(shape)))
        for key, value in place:
            tensor.external_data.append(onnx.StringStringEntryProto(key=key, value=str(value)))
        graph.initializer.append(tensor)


def _write_weights(path: Path, weights: Weights, stored: Mapping[str, Columns], offsets: Mapping[str, int]) -> None:
    with path.open("wb") as file:
        for name, part in stored.items():
            file.seek(offsets[name])
            value = weights.read(part.of)[..., part.start : part.stop]
            file.write(np.ascontiguousarray(value, dtype="<f4").data)
            weights.forget()
