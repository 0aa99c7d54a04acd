"""Engines on OpenVINO's CPU plugin."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import openvino
from openvino.frontend import FrontEndManager

from sa.runtime.backends.base import Engine, Tensor, as_array
from sa.runtime.backends.interface import Found, check_interface
from sa.runtime.contract import EngineContract
from sa.runtime.errors import EngineSetError, first_line

DEVICE = "CPU"
_CORE = openvino.Core()
# Reads ONNX alone: Core.read_model looks at the content, and would take other formats that no check here knows.
_ONNX = FrontEndManager().load_by_framework("onnx")
Sizes = tuple[tuple[int, ...], ...]


def computes_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16, by OpenVINO's own judgement: avx512_bf16 or AMX."""
    return "BF16" in _CORE.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


class OpenVinoEngine(Engine):
    """A program is compiled for the sizes it is called with, at the first such call.

    For open sizes, OpenVINO would keep the weights twice: as mapped from their file, and packed. Compiled for fixed
    ones, it lets go of the file. A run has two sizes of a chunk at most, its usual and its last.
    """

    contract: EngineContract

    def __init__(self, folder: Path, contract: EngineContract, threads: int):
        super().__init__(contract)
        self._path = folder / contract.program
        self._settings = {
            # Compute as the program is typed: by default, the plugin makes float32 bf16 where it likes.
            "INFERENCE_PRECISION_HINT": openvino.Type.f32,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # other programs run here too
        }
        self._compiled: dict[Sizes, openvino.CompiledModel] = {}
        try:
            self._model = _ONNX.convert(_ONNX.load(str(self._path)))  # which maps the weights
        except Exception as error:  # OpenVINO raises types of its own, without a common base
            raise self._unloadable(error) from error
        check_interface(self._path, contract, map(_found, self._model.inputs), map(_found, self._model.outputs))
        if all(isinstance(dim, int) for spec in contract.inputs for dim in spec.shape):
            self._compile(tuple(spec.largest for spec in contract.inputs))

    def _compile(self, sizes: Sizes) -> openvino.CompiledModel:
        try:
            self._model.reshape({spec.name: size for spec, size in zip(self.contract.inputs, sizes, strict=True)})
            self._compiled[sizes] = _CORE.compile_model(self._model, DEVICE, self._settings)
        except Exception as error:
            raise self._unloadable(error) from error
        return self._compiled[sizes]

    def _unloadable(self, error: Exception) -> EngineSetError:
        version = openvino.__version__.partition("-")[0]
        return EngineSetError(
            f"{self._path} cannot be loaded by OpenVINO {version}: {first_line(error)}; "
            "rebuild the engine set with sa-export."
        )

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        given = {spec.name: np.ascontiguousarray(as_array(inputs[spec.name])) for spec in self.contract.inputs}
        sizes = tuple(value.shape for value in given.values())
        compiled = self._compiled.get(sizes) or self._compile(sizes)
        results = compiled(given, share_inputs=True)
        return {spec.name: results[spec.name] for spec in self.contract.outputs}

    def unload(self) -> None:
        """Free the tensors inside; the weights stay."""
        for compiled in self._compiled.values():
            compiled.release_memory()

    def close(self) -> None:
        self._compiled.clear()
        del self._model


def _found(port: openvino.Output) -> Found:
    shape = tuple(dim.get_length() if dim.is_static else None for dim in port.partial_shape)
    return Found(port.any_name, str(np.dtype(port.element_type.to_dtype())), shape)
