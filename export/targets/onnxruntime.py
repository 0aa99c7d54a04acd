"""ONNX Runtime: Paddle's program through paddle2onnx, tidied, its weights beside it as external data."""

import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from sa.export.checkpoint import Weights
from sa.export.targets.onnx_graph import tidy
from sa.export.trace import Traced
from sa.runtime.errors import UserError

OPSET = 17  # paddle2onnx 2.1.0 aborts at later ones
ALIGNMENT = 4096  # a page: ONNX Runtime maps the weights instead of reading them

# Over 2 GB paddle2onnx fails without a word. Told of a parameter file that is not there, it writes the graph alone,
# whose weights are then dangling names: the parameters' own.
_CONVERT = """
import os, sys
import paddle2onnx
os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"
paddle2onnx.export(sys.argv[1], sys.argv[1] + ".none", save_file=sys.argv[2], opset_version=int(sys.argv[3]),
                   auto_upgrade_opset=False, verbose=False, enable_onnx_checker=False, optimize_tool="None")
"""


def write_engine(traced: Traced, weights: Weights, folder: Path, stem: str, weights_stem: str) -> tuple[str, str]:
    model = _convert(traced, stem)
    tidy(model, traced.inputs, traced.output)
    program, data = f"{stem}.onnx", f"{weights_stem}.weights"
    offsets = _declare_weights(model.graph, traced, data)
    if not (folder / data).exists():
        _write_weights(folder / data, weights, offsets)
    onnx.save_model(model, folder / program)
    return program, data


def _convert(traced: Traced, stem: str) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as scratch:
        source, result = Path(scratch) / "program.json", Path(scratch) / "graph.onnx"
        traced.save(source)
        # A failing conversion aborts its process.
        done = subprocess.run(
            [sys.executable, "-c", _CONVERT, str(source), str(result), str(OPSET)],
            capture_output=True,
            text=True,
            env={**os.environ, "POLYGRAPHY_AUTOINSTALL_DEPS": "0"},
        )
        if done.returncode or not result.exists() or not result.stat().st_size:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise UserError(
                f"paddle2onnx could not convert {stem} (exit status {done.returncode}): "
                f"{lines[-1].strip() if lines else 'it said nothing'}; "
                "check that paddlepaddle, paddle2onnx and onnx have the versions of the extra 'export'."
            )
        return onnx.load(result)


def _declare_weights(graph: onnx.GraphProto, traced: Traced, location: str) -> dict[str, int]:
    """Every parameter becomes an initializer in the file `location`; returns their offsets there."""
    offsets, end = {}, 0
    for name, shape in sorted(traced.parameters.items()):
        offsets[name] = end + -end % ALIGNMENT
        length = 4 * math.prod(shape)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", location), ("offset", offsets[name]), ("length", length)):
            tensor.external_data.append(onnx.StringStringEntryProto(key=key, value=str(value)))
        graph.initializer.append(tensor)
        end = offsets[name] + length
    return offsets


def _write_weights(path: Path, weights: Weights, offsets: dict[str, int]) -> None:
    with path.open("wb") as file:
        for name, value in weights.each(offsets):
            file.seek(offsets[name])
            file.write(np.ascontiguousarray(value, dtype="<f4").data)
