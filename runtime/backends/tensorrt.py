"""Engines on TensorRT and TensorRT for RTX: plans built by sa-export, run through cuda-python.

Not run on a GPU yet: the tests replace TensorRT and CUDA with stubs.

Each engine has buffers with fixed addresses for its inputs and outputs. After the first call of a shape, everything
between the copies is captured as a CUDA graph and launched as one from then on. Tensors that stay on the device are
read and written in place, and such calls are not captured; the UNets copy them on the device instead. Engines run one
at a time, so they share their scratch memory. This project's kernels need no code here: a plan contains their PTX and
launches.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from sa.runtime.backends.base import Engine, Tensor, as_array
from sa.runtime.backends.cuda import GRAPHED, Buffer, Cuda, DeviceTensor
from sa.runtime.backends.interface import Found, check_interface
from sa.runtime.backends.tensorrt_versions import LIBRARIES, load
from sa.runtime.contract import EngineContract
from sa.runtime.errors import EngineSetError


class Device:
    """The current GPU: its stream, the library's runtime, and the scratch memory that all engines share."""

    _current: ClassVar[dict[str, "Device"]] = {}  # by backend

    def __init__(self, backend: str):
        self.trt = load(backend)
        self.cuda = Cuda()
        self.logger = self.trt.Logger(self.trt.Logger.ERROR)
        self.runtime = self.trt.Runtime(self.logger)
        self._scratch, self._size = 0, 0

    @classmethod
    def current(cls, backend: str) -> "Device":
        if backend not in cls._current:
            cls._current[backend] = cls(backend)
        return cls._current[backend]

    def scratch(self, size: int) -> int:
        """The address of `size` bytes of shared scratch memory. It grows if necessary, and then loses its contents."""
        if size > self._size:
            self.cuda.wait()
            if self._scratch:
                self.cuda.free(self._scratch)
                self._scratch, self._size = 0, 0
            self._scratch, self._size = self.cuda.allocate(size), size
        return self._scratch


class TensorRtEngine(Engine):
    backend = "tensorrt"

    def __init__(self, folder: Path, contract: EngineContract, threads: int):
        """threads: unused, since the engine runs on the GPU."""
        super().__init__(contract)
        self._device = Device.current(self.backend)
        path = folder / contract.program
        self._engine = self._device.runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise EngineSetError(
                f"{path} cannot be loaded by {LIBRARIES[self.backend].title} {self._device.trt.__version__}; "
                "rebuild the engine set with sa-export."
            )
        check_interface(path, contract, *self._tensors())
        if contract.refit is not None:
            self._refit(folder / contract.refit)
        strategy = self._device.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._context = self._engine.create_execution_context(strategy)
        self._scratch_size = self._engine.device_memory_size_v2
        self._buffers = {spec.name: Buffer(self._device.cuda, spec) for spec in (*contract.inputs, *contract.outputs)}
        self._graphs: dict[tuple, object] = {}  # by the scratch memory's address and the inputs' shapes

    def _tensors(self) -> tuple[list[Found], list[Found]]:
        """The plan's inputs and outputs."""
        trt, engine = self._device.trt, self._engine
        inputs: list[Found] = []
        outputs: list[Found] = []
        for i in range(engine.num_io_tensors):
            name = engine.get_tensor_name(i)
            dtype = engine.get_tensor_dtype(name)
            shape = tuple(None if size < 0 else size for size in engine.get_tensor_shape(name))
            side = inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs
            side.append(Found(name, "float32" if dtype == trt.DataType.FLOAT else str(dtype), shape))
        return inputs, outputs

    def _refit(self, program: Path) -> None:
        """Load the weights from the ONNX program into a stripped plan. The engine keeps a copy on the device."""
        trt, logger = self._device.trt, self._device.logger
        refitter = trt.Refitter(self._engine, logger)
        found = trt.OnnxParserRefitter(refitter, logger).refit_from_file(str(program))
        if not found or not refitter.refit_cuda_engine():
            raise EngineSetError(
                f"the plan of the {self.contract.role} engine takes no weights from {program}; "
                "rebuild the engine set with sa-export, without --strip-plans."
            )

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        results = self._run(inputs, dict.fromkeys(keep))
        # The next call overwrites pinned memory.
        return {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in results.items()}

    def _infer_into(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        stay = {name: value for name, value in outputs.items() if isinstance(value, DeviceTensor)}
        for name, value in self._run(inputs, stay).items():
            if isinstance(value, np.ndarray):
                np.copyto(as_array(outputs[name]), value)

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        return DeviceTensor(self._device.cuda, shape)

    def _run(
        self, inputs: Mapping[str, Tensor], stay: Mapping[str, DeviceTensor | None]
    ) -> dict[str, np.ndarray | DeviceTensor]:
        """Run once. Outputs in `stay` go to the given device tensor, or to a new one; the others to pinned memory."""
        cuda, context = self._device.cuda, self._context
        staged = self.contract.role in GRAPHED
        for name, value in inputs.items():
            context.set_input_shape(name, tuple(value.shape))
            if not isinstance(value, DeviceTensor):
                address = self._buffers[name].upload(as_array(value))
            else:
                address = self._buffers[name].fill(value) if staged else value.address
            context.set_tensor_address(name, address)
        results: dict[str, np.ndarray | DeviceTensor] = {}
        for spec in self.contract.outputs:
            shape = tuple(context.get_tensor_shape(spec.name))
            if spec.name in stay:
                given = stay[spec.name]
                results[spec.name] = kept = DeviceTensor(cuda, shape) if given is None else given
                context.set_tensor_address(spec.name, self._buffers[spec.name].address if staged else kept.address)
            else:
                results[spec.name] = self._buffers[spec.name].host(shape)
                context.set_tensor_address(spec.name, self._buffers[spec.name].address)
        on_device = any(isinstance(value, DeviceTensor) for value in (*inputs.values(), *results.values()))
        shapes = tuple((name, tuple(value.shape)) for name, value in inputs.items())
        self._execute(None if on_device and not staged else shapes)
        for name, value in results.items():
            if not isinstance(value, DeviceTensor):
                cuda.download(value, self._buffers[name].address)
            elif staged:
                cuda.copy(value.address, self._buffers[name].address, value.nbytes)
        cuda.wait()
        return results

    def _execute(self, shapes: tuple | None) -> None:
        """Run on the stream. `shapes` None: without a graph, because addresses change from call to call."""
        scratch = self._device.scratch(self._scratch_size)
        self._context.set_device_memory(scratch, self._scratch_size)
        graph = self._graphs.get((scratch, shapes))
        if graph is not None:
            self._device.cuda.launch(graph)
            return
        self._enqueue()  # also the warm-up run that capture needs
        if shapes is not None:
            self._device.cuda.wait()
            self._graphs[scratch, shapes] = self._device.cuda.capture(self._enqueue)

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(int(self._device.cuda.stream)):
            raise EngineSetError(
                f"the {self.contract.role} engine failed on the GPU; rebuild the engine set with sa-export."
            )

    def close(self) -> None:
        self._device.cuda.wait()
        for graph in self._graphs.values():
            self._device.cuda.release_graph(graph)
        for buffer in self._buffers.values():
            buffer.free()
        self._graphs, self._buffers = {}, {}
        del self._context, self._engine


class TensorRtRtxEngine(TensorRtEngine):
    backend = "tensorrt-rtx"
