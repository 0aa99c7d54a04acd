"""ONNX Runtime: Paddle's program through paddle2onnx, tidied, its weights beside it as external data."""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from sa.export.checkpoint.checkpoint import Weights
from sa.export.engines.program import TWIN, Network, Written
from sa.export.engines.trace import Traced, call_cost, trace
from sa.export.gradient.onnx_backward import differentiate
from sa.export.onnx.converter import ConversionError, Converter
from sa.export.onnx.cost import Cost, onnx_cost, onnx_working_bytes
from sa.export.onnx.formats import FORMATS, Format
from sa.export.onnx.graph import operator_sets, tidy
from sa.export.onnx.rewrites.channels_last import channels_last
from sa.export.onnx.rewrites.fuse_biases import fuse_biases
from sa.export.onnx.rewrites.lower_precision import lower_precision, normalise_cotangent
from sa.export.onnx.rewrites.outline_kernels import outline_kernels
from sa.export.onnx.rewrites.split_geglu import ParameterSlice, split_geglu
from sa.export.onnx.rewrites.unroll_scans import unroll_scans
from sa.runtime.errors import UserError

ALIGNMENT = 4096  # a page: ONNX Runtime maps the weights instead of reading them

# Whose operators a program may use: ONNX's, which every library knows; also those of ONNX Runtime that its CPU provider
# has; or those of its CUDA provider.
Dialect = Literal["onnx", "cpu", "cuda"]

_CONVERTER = Converter()


def write_program(network: Network, folder: Path, stem: str, dialect: Dialect) -> Written:
    """Write `stem`.onnx, and the weights it reads unless they are there."""
    contrib = dialect != "onnx"
    traced = trace(network.forward, network.inputs, network.outputs)
    model = _convert(traced, stem)
    tidy(model, traced.inputs, network.outputs, fused=contrib and network.gradient is None)
    columns = {}
    if dialect == "cuda" and network.gradient is None:
        channels_last(model, traced.parameters)
        fuse_biases(model, traced.parameters)
    if network.own_weights:  # no other engine reads the same parameters whole
        if contrib:
            columns = split_geglu(model, traced.parameters)
        outline_kernels(model)
    if network.gradient is None:
        cost = call_cost(traced, network.forward, network.inputs, network.outputs)
    else:
        traced, cost = _differentiate(model, traced, network)
    program = f"{stem}.onnx"
    read = {name for node in model.graph.node for name in node.input}
    stored_as = FORMATS["fp32"] if network.half is None else network.half.policy.format
    if network.half is not None:
        _lower(model, network, read & {*traced.parameters, *columns})
    if dialect == "cuda":
        unroll_scans(model)
    data = []
    if network.shares is not None:
        data.append(_declare_shared(model.graph, read, folder / f"{network.shares}.onnx"))
    for weights in network.weights if network.shares is None else ():
        names = [name for name in traced.parameters if name in weights]
        if not names:
            continue
        whole = weights.shapes
        if network.own_weights:
            stored = {
                name: ParameterSlice(name, 0, traced.parameters[name][-1]) for name in names if name in read
            } | columns
        else:  # one file per part of the checkpoint, shared by all engines that take their weights from it
            stored = {name: ParameterSlice(name, 0, shape[-1]) for name, shape in whole.items()}
        shapes = {name: part.shape(whole) for name, part in stored.items()}
        places = offsets(shapes, stored_as.size)
        data.append(f"{stem.removesuffix(TWIN) if network.own_weights else weights.part}.weights")
        declared = {name: shape for name, shape in shapes.items() if name in read}
        _declare_weights(model.graph, declared, stored_as, places, data[-1])
        if not (folder / data[-1]).exists():
            _write_weights(folder / data[-1], weights, stored, stored_as, places)
    onnx.save_model(model, folder / program)
    # Counted on the graph that runs, where SiLU, as two operators, holds a tensor more than Paddle's.
    stored = [tensor.name for tensor in model.graph.initializer]
    working = onnx_working_bytes(model, traced.batch, stored)
    taken = operator_sets(model) if contrib else ()
    return Written(program, tuple(data), traced, replace(cost, working_bytes=working), taken)


def _differentiate(model: onnx.ModelProto, traced: Traced, network: Network) -> tuple[Traced, Cost]:
    """Make the model its gradient's; what that reads, takes and gives, and what it costs."""
    gradient = network.gradient
    # Their shapes decide which rule applies how; the values are declared later.
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in traced.parameters.items()]
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


def _lower(model: onnx.ModelProto, network: Network, parameters: set[str]) -> None:
    half, gradient = network.half, network.gradient
    float32 = half.float32
    if half.loss_scale is not None and gradient is not None and gradient.cotangent is not None:
        float32 |= normalise_cotangent(model.graph, gradient.cotangent.name, gradient.result.name, half.loss_scale)
    lower_precision(model, half.policy, parameters, float32)


def offsets(shapes: Mapping[str, tuple[int, ...]], size: int) -> dict[str, int]:
    """Where each parameter lies in a weights file whose numbers have `size` bytes."""
    places, end = {}, 0
    for name, shape in sorted(shapes.items()):
        places[name] = end + -end % ALIGNMENT
        end = places[name] + size * math.prod(shape)
    return places


def _declare_weights(
    graph: onnx.GraphProto,
    parameters: Mapping[str, tuple[int, ...]],
    stored_as: Format,
    offsets: Mapping[str, int],
    location: str,
) -> None:
    """Every parameter becomes an initializer in the file `location`."""
    for name, shape in sorted(parameters.items()):
        tensor = TensorProto(name=name, dims=shape, data_location=TensorProto.EXTERNAL)
        tensor.data_type = stored_as.element
        place = (("location", location), ("offset", offsets[name]), ("length", stored_as.size * math.prod(shape)))
        for key, value in place:
            tensor.external_data.append(onnx.StringStringEntryProto(key=key, value=str(value)))
        graph.initializer.append(tensor)


def _declare_shared(graph: onnx.GraphProto, read: set[str], program: Path) -> str:
    """The weights that the graph reads become initializers where another program has them. Returns their file."""
    other = onnx.load(program, load_external_data=False).graph
    graph.initializer.extend(tensor for tensor in other.initializer if tensor.name in read)
    (location,) = {entry.value for one in graph.initializer for entry in one.external_data if entry.key == "location"}
    return location


def _write_weights(
    path: Path, weights: Weights, stored: Mapping[str, ParameterSlice], stored_as: Format, offsets: Mapping[str, int]
) -> None:
    with path.open("wb") as file:
        for name, part in stored.items():
            file.seek(offsets[name])
            value = weights.read(part.parameter)[..., part.start : part.stop]
            if np.abs(value).max(initial=0) > stored_as.largest:
                raise UserError(
                    f"{part.parameter} of the {weights.part} has values beyond {stored_as.name}, up to "
                    f"{np.abs(value).max():.3g}; "
                    "export with --precision fp32."
                )
            file.write(stored_as.encode(value).data)
            weights.forget()
