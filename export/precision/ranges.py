"""Which tensors of a graph do not fit fp16, measured on what they hold.

The graph is run in float32 arithmetic, on weights as they are stored, with every tensor that fp16 would round measured
on the way.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sa.export.gradient.backward import VJP
from sa.export.onnx.emulation import EXACT, emulated
from sa.export.onnx.rewrites.lower_precision import AS_HALF, LARGEST, SMALLEST_NORMAL, Policy, set_loss_scale


@dataclass(frozen=True)
class Range:
    """What a tensor held, at worst over all samples."""

    largest: float  # magnitude
    subnormal_share: float  # of the sum of its magnitudes, what lies below fp16's smallest normal number

    def fits(self, policy: Policy) -> bool:
        """False for infinities and NaN as well."""
        return self.largest <= LARGEST / policy.headroom and self.subnormal_share <= policy.subnormal_share


@dataclass(frozen=True)
class Measured:
    ranges: dict[str, Range]  # of every tensor that is rounded to fp16
    outputs: list[dict[str, np.ndarray]]  # the engine's, for each sample


def measure(
    program: Path, samples: Iterable[Mapping[str, np.ndarray]], threads: int, scale: float | None = None
) -> Measured:
    """What a typed engine's tensors hold on samples of its inputs; `scale` takes the place of a VJP's loss scale."""
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
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
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
    """The power of two by which a VJP's cotangent, of magnitude 1, is scaled: as large as its tensors allow."""
    largest = max((found.largest for name, found in ranges.items() if name.startswith(VJP)), default=1.0)
    return 2.0 ** math.floor(math.log2(LARGEST / policy.headroom / max(largest, 1.0)))


def _worst(a: Range, b: Range) -> Range:
    # np.maximum keeps NaN, which fits nowhere.
    return Range(float(np.maximum(a.largest, b.largest)), float(np.maximum(a.subnormal_share, b.subnormal_share)))


def _instrument(model: onnx.ModelProto) -> list[str]:
    """Add an output [3] to the model for every tensor before its rounding; the tensors' names."""
    graph = model.graph
    smallest = numpy_helper.from_array(np.float32(SMALLEST_NORMAL), "smallest_normal")
    nothing = numpy_helper.from_array(np.float32(0), "nothing")
    graph.initializer.extend([smallest, nothing])
    names = []
    for node in list(graph.node):
        for output in node.output:
            if not output.endswith(EXACT):
                continue
            name = output.removesuffix(EXACT).removesuffix(AS_HALF)
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
