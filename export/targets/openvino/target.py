"""Engines for OpenVINO, on CPUs: in float32, and in bf16 where the CPU computes in it."""

from dataclasses import replace
from pathlib import Path

import onnx
from onnx import inliner

from sa.export.engines.program import Network, Written
from sa.export.engines.roles import EngineDefinition
from sa.export.targets.onnxruntime.program import write_program
from sa.export.targets.openvino.transposes import copy_transposed_weights
from sa.export.targets.target import Executed, Target


class OpenVinoTarget(Target):
    """The programs of ONNX Runtime, whose own operators OpenVINO reads too, but without functions."""

    backend = certified_on = "openvino"

    def write(self, network: Network, folder: Path, stem: str) -> Written:
        written = write_program(network, folder, stem, "cpu")
        path = folder / written.program
        program = inliner.inline_local_functions(onnx.load(path, load_external_data=False))
        copy_transposed_weights(program, folder)
        onnx.save_model(program, path)
        return replace(written, operator_sets=())

    def executed(self, definition: EngineDefinition) -> Executed:
        return "engine"  # bf16 too: the CPU that exports computes in it
