"""Engines on ONNX Runtime's CUDA provider (`--device cuda`).

Not run on a GPU yet: the tests replace the provider and CUDA with stubs.

Inputs and outputs are bound to device memory. Only what the host supplies or reads crosses the bus, through pinned
memory and on the engine's stream. An engine that is called hundreds of times is captured as one CUDA graph per shape.
A graph needs fixed addresses, so such an engine keeps its working memory, and copies tensors that stay on the device.
Engines with little working memory keep theirs too. The others free theirs after every call, or each would keep its own
peak.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from sa.runtime.backends.base import Engine, Tensor, as_array
from sa.runtime.backends.cuda import GRAPHED, Buffer, Cuda, DeviceTensor
from sa.runtime.backends.onnxruntime import check_session, new_session, session_options
from sa.runtime.contract import EngineContract, EngineRecord
from sa.runtime.errors import EngineSetError

PROVIDER = "CUDAExecutionProvider"
INSTALL = "pip uninstall onnxruntime && pip install 'stableanimator-deploy[cuda]'"
# Exact results come first. TF32 would keep only 10 of a float32's 23 bits. An exhaustive search for convolutions would
# pick other algorithms, and so round differently, from run to run. Strict mode makes fp16 layer norms sum in float32.
OPTIONS = {
    "device_id": "0",
    "use_tf32": "0",
    "cudnn_conv_algo_search": "HEURISTIC",
    "enable_skip_layer_norm_strict_mode": "1",
    "arena_extend_strategy": "kSameAsRequested",
    "do_copy_in_default_stream": "1",
}
KEPT = 32 << 20  # bytes of tensors below which an engine's memory is not worth freeing, and allocating again, per call
PRODUCTS = ("Conv", "ConvTranspose", "FusedConv", "FusedMatMul", "Gemm", "MatMul", "MultiHeadAttention", "NhwcConv")


class OnnxRuntimeCudaEngine(Engine):
    _cuda: Cuda | None = None  # one stream for all engines, which run one at a time

    def __init__(self, folder: Path, contract: EngineContract, threads: int):
        super().__init__(contract)
        said = load_libraries()
        self._device = self._shared_device()
        path = folder / contract.program
        options = session_options(threads)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        self._frees = not isinstance(contract, EngineRecord) or contract.working_bytes >= KEPT
        self._graphs: dict[tuple, str] | None = None  # ids of captured graphs by the inputs' shapes
        self._warnings: tuple[str, ...] = ()
        if contract.role in GRAPHED:
            try:
                self._session = new_session(path, options, [(PROVIDER, {**self._options(), "enable_cuda_graph": "1"})])
                self._graphs = {}
            except EngineSetError as error:
                self._warnings = (
                    f"the {contract.role} runs on the GPU without a CUDA graph, correct but slower: {error}",
                )
        if self._graphs is None:
            self._session = new_session(path, options, [(PROVIDER, self._options())])
        if self._session.get_providers()[0] != PROVIDER:
            raise EngineSetError(
                f"{path} cannot run on the GPU: ONNX Runtime {onnxruntime.__version__} could not load its CUDA provider"
                f"{said}; install CUDA 13 and cuDNN 9, which come with `{INSTALL}`."
            )
        check_session(path, contract, self._session)
        self.on_host = _on_host(self._session)
        if heavy := sorted(set(self.on_host) & set(PRODUCTS)):
            raise EngineSetError(
                f"{path} cannot run on the GPU: ONNX Runtime {onnxruntime.__version__} has no CUDA kernel for "
                f"{self.on_host[heavy[0]]} {heavy[0]} nodes and would compute them on the CPU; leave out --device cuda."
            )
        specs = (*contract.inputs, *contract.outputs)
        self._buffers = {spec.name: Buffer(self._device, spec) for spec in specs}

    @classmethod
    def _shared_device(cls) -> Cuda:
        if cls._cuda is None:
            cls._cuda = Cuda()
        return cls._cuda

    def _options(self) -> dict[str, str]:
        return {**OPTIONS, "user_compute_stream": str(int(self._device.stream))}

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        shapes = self._shapes(inputs)
        stay = {name: DeviceTensor(self._device, shapes[name]) for name in keep}
        staged = self._run(inputs, stay, shapes)
        return {name: stay[name] if name in stay else staged[name].copy() for name in shapes}

    def _infer_into(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        stay = {name: value for name, value in outputs.items() if isinstance(value, DeviceTensor)}
        for name, value in self._run(inputs, stay, {name: value.shape for name, value in outputs.items()}).items():
            np.copyto(as_array(outputs[name]), value)

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        return DeviceTensor(self._device, shape)

    def _shapes(self, inputs: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs. Only the batch varies, and it is the same in all tensors."""
        batches = [
            value.shape[axis]
            for spec in self.contract.inputs
            for value in [inputs[spec.name]]
            for axis, dim in enumerate(spec.shape)
            if not isinstance(dim, int)
        ]
        return {
            spec.name: tuple(dim if isinstance(dim, int) else batches[0] for dim in spec.shape)
            for spec in self.contract.outputs
        }

    def _run(
        self, inputs: Mapping[str, Tensor], stay: Mapping[str, DeviceTensor], shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, np.ndarray]:
        """Run once; returns the outputs that are not in `stay`, in pinned memory that the next call overwrites."""
        binding = self._session.io_binding()
        for name, value in inputs.items():
            if isinstance(value, DeviceTensor):
                address = value.address if self._graphs is None else self._buffers[name].fill(value)
            else:
                address = self._buffers[name].upload(as_array(value))
            binding.bind_input(name, "cuda", 0, np.float32, tuple(value.shape), address)
        for name, shape in shapes.items():
            in_place = name in stay and self._graphs is None
            address = stay[name].address if in_place else self._buffers[name].address
            binding.bind_output(name, "cuda", 0, np.float32, tuple(shape), address)
        self._session.run_with_iobinding(binding, self._run_options(inputs))
        if self._graphs is not None:
            for name, value in stay.items():
                self._device.copy(value.address, self._buffers[name].address, value.nbytes)
        results = {name: self._buffers[name].host(shape) for name, shape in shapes.items() if name not in stay}
        for name, value in results.items():
            self._device.download(value, self._buffers[name].address)
        self._device.wait()
        return results

    def _run_options(self, inputs: Mapping[str, Tensor]) -> onnxruntime.RunOptions:
        options = onnxruntime.RunOptions()
        if self._graphs is None:
            if self._frees:
                options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "gpu:0")
            return options
        shapes = tuple((name, tuple(inputs[name].shape)) for name in sorted(inputs))
        options.add_run_config_entry("gpu_graph_id", self._graphs.setdefault(shapes, str(len(self._graphs) + 1)))
        return options

    def warnings(self) -> tuple[str, ...]:
        return self._warnings

    def close(self) -> None:
        self._device.wait()
        del self._session
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers = {}


def load_libraries() -> str:
    """Load CUDA and cuDNN from where pip put them. Returns ONNX Runtime's first complaint, to end a message with."""
    if PROVIDER not in onnxruntime.get_available_providers():
        raise EngineSetError(
            f"--device cuda needs onnxruntime-gpu, but onnxruntime {onnxruntime.__version__} without CUDA is "
            f"imported, which must not be installed beside it; `{INSTALL}`."
        )
    with contextlib.redirect_stdout(io.StringIO()) as said:
        onnxruntime.preload_dlls()
    lines = [line for line in said.getvalue().splitlines() if line.strip()]
    return f" ({lines[0].strip().rstrip('.')})" if lines else ""


def _on_host(session: onnxruntime.InferenceSession) -> Counter[str]:
    """How many nodes of each operator run on the CPU. Arithmetic on shapes usually does."""
    return Counter(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != PROVIDER
        for node in part.get_nodes()
    )
