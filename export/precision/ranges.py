"""Finds the tensors of a graph that do not fit into fp16, by measuring their values.

The graph runs in float32 on the stored weights, and every tensor that fp16 would round is measured.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sa.export.gradient.backward import VJP
from sa.export.onnx.emulation import EXACT, UNFOLDED, emulated
from sa.export.onnx.formats import FORMATS
from sa.export.onnx.rewrites.lower_precision import Policy, set_loss_scale

FP16 = FORMATS["fp16"]


@dataclass(frozen=True)
class Range:
    """The range of a tensor's values: the worst of all samples."""

    largest: float  # magnitude
    subnormal_share: float  # of the sum of magnitudes, the fraction below fp16's smallest normal number

    def fits(self, policy: Policy) -> bool:
        """Whether fp16 can hold the tensor. Infinities and NaN do not fit."""
        return self.largest <= FP16.largest / policy.headroom and self.subnormal_share <= policy.subnormal_share


@dataclass(frozen=True)
class Measured:
    ranges: dict[str, Range]  # by tensor, for those that are rounded to fp16
    outputs: list[dict[str, np.ndarray]]  # of the engine, for each sample


def measure(
    program: Path, samples: Iterable[Mapping[str, np.ndarray]], threads: int, scale: float | None = None
) -> Measured:
    """The ranges of a typed engine's tensors on samples of its inputs; `scale` replaces the loss scale of a VJP."""
    import onnxruntime

    model = onnx.load(program, load_external_data=False)
    if scale is not None:
        set_loss_scale(model.graph, scale)
    model = emulated(model, rounded=False)
    results = [value.name for value in model.graph.output]
    names = _instrument(model)
    path = program.with_name(f"{program.stem}-measured.onnx")  # its weights lie beside it
    onnx.save_model(model, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    found: dict[str, Range] = {}
    outputs = []
    try:
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(UNFOLDED)
        )
        for sample in samples:
            values = session.run([*results, *(f"{name}.measured" for name in names)], dict(sample))
            outputs.append(dict(zip(results, values, strict=False)))
            for name, (largest, total, subnormal) in zip(names, values[len(results) :], strict=True):
                one = Range(float(largest), float(subnormal / max(total, np.finfo(np.float32).tiny)))
                found[name] = _worst(found.get(name, one), one)
    finally:
        path.unlink()
    return Measured(found, outputs)


def unfit(ranges: Mapping[str, Range], policy: Policy) -> frozenset[str]:
    return frozenset(name for name, found in ranges.items() if not found.fits(policy))


def loss_scale(ranges: Mapping[str, Range], policy: Policy) -> float:
    """The power of two by which a VJP scales its cotangent, of magnitude 1: the largest at which all fit."""
    largest = max((found.largest for name, found in ranges.items() if name.startswith(VJP)), default=1.0)
    return 2.0 ** math.floor(math.log2(FP16.largest / policy.headroom / max(largest, 1.0)))


def _worst(a: Range, b: Range) -> Range:
    # np.maximum keeps NaN, which never fits.
    return Range(float(np.maximum(a.largest, b.largest)), float(np.maximum(a.subnormal_share, b.subnormal_share)))


def _instrument(model: onnx.ModelProto) -> list[str]:
    """Add an output [3], of largest, total and subnormal, for every tensor before its rounding. Returns their names."""
    graph = model.graph
    smallest = numpy_helper.from_array(np.float32(FP16.smallest_normal), "smallest_normal")
    nothing = numpy_helper.from_array(np.float32(0), "nothing")
    graph.initializer.extend([smallest, nothing])
    names = []
    for node in list(graph.node):
        for output in node.output:
            if not output.endswith(EXACT):
                continue
            name = output.removesuffix(EXACT).removesuffix(f".{FP16.name}")
            names.append(name)
            parts = [f"{name}.{part}" for part in ("size", "largest", "total", "is_subnormal", "small", "subnormal")]
            size, largest, total, is_subnormal, small, subnormal = parts
            steps = [
                ("Abs", [output], [size], {}),
                ("ReduceMax", [size], [largest], {"keepdims": 0}),
                ("ReduceSum", [size], [total], {"keepdims": 0}),
                ("Less", [size, smallest.name], [is_subnormal], {}),
                ("Where", [is_subnormal, size, nothing.name], [small], {}),
                ("ReduceSum", [small], [subnormal], {"keepdims": 0}),
            ]
            graph.node.extend(helper.make_node(op, given, made, **how) for op, given, made, how in steps)
            for part in (largest, total, subnormal):
                graph.node.append(helper.make_node("Reshape", [part, "one"], [f"{part}.one"]))
            joined = [f"{part}.one" for part in (largest, total, subnormal)]
            graph.node.append(helper.make_node("Concat", joined, [f"{name}.measured"], axis=0))
            graph.output.append(helper.make_tensor_value_info(f"{name}.measured", TensorProto.FLOAT, [3]))
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
    return names
