"""The parts of CUDA that engines need, through cuda-python: device memory, pinned memory, a stream, graphs.

Not run on a GPU yet: the tests replace cuda-python with a stub.
"""

import ctypes
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from sa.runtime.backends.base import Handle
from sa.runtime.contract import SHALLOW, TensorSpec
from sa.runtime.errors import UserError

FLOAT_BYTES = 4
# Engines that are called hundreds of times, with thousands of kernels in a call: worth a CUDA graph, also where they
# take or give tensors that stay on the device. These are copied there to and from addresses that stay the same.
GRAPHED = ("unet", SHALLOW)


def compute_capability() -> str | None:
    """The current GPU's compute capability, as "8.9". None without GPU or driver; ImportError without cuda-python."""
    api = import_module("cuda.bindings.runtime")
    try:
        error, devices = api.cudaGetDeviceCount()
    except RuntimeError:  # cuda-python found no driver to load
        return None
    if error != api.cudaError_t.cudaSuccess or devices == 0:
        return None
    _, device = api.cudaGetDevice()
    names = api.cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor, api.cudaDeviceAttr.cudaDevAttrComputeCapabilityMinor
    return ".".join(str(api.cudaDeviceGetAttribute(name, device)[1]) for name in names)


def memory_of_device() -> tuple[int, int]:
    """Free and total bytes of the current device."""
    error, *sizes = (api := import_module("cuda.bindings.runtime")).cudaMemGetInfo()
    if error != api.cudaError_t.cudaSuccess:
        raise UserError("CUDA's cudaMemGetInfo failed: look after the GPU's driver.")
    free, total = sizes
    return free, total


class Cuda:
    """One stream on the current device. Sizes are in bytes; tensors are float32."""

    def __init__(self):
        self._api = import_module("cuda.bindings.runtime")
        self.stream = self._call("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking)

    def _call(self, name: str, *arguments: object) -> Any:
        error, *values = getattr(self._api, name)(*arguments)
        if error != self._api.cudaError_t.cudaSuccess:
            _, said = self._api.cudaGetErrorString(error)
            text = said.decode() if isinstance(said, bytes) else str(said)
            raise UserError(f"CUDA's {name} failed: {text}; free memory on the GPU, or look after its driver.")
        return values[0] if values else None

    def allocate(self, size: int) -> int:
        """The address of new device memory."""
        return self._call("cudaMalloc", size)

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def pinned(self, shape: tuple[int, ...]) -> "Pinned":
        return Pinned(self, shape)

    def upload(self, target: int, source: np.ndarray) -> None:
        """Start a copy from pinned memory to the device, without waiting for it."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", target, source.ctypes.data, source.nbytes, kind, self.stream)

    def download(self, target: np.ndarray, source: int) -> None:
        """Start a copy from the device to pinned memory, without waiting for it."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, source, target.nbytes, kind, self.stream)

    def copy(self, target: int, source: int, size: int) -> None:
        """Start a copy within the device."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._call("cudaMemcpyAsync", target, source, size, kind, self.stream)

    def wait(self) -> None:
        self._call("cudaStreamSynchronize", self.stream)

    def capture(self, enqueue: Callable[[], None]) -> object:
        """Record what `enqueue` puts on the stream as a graph, which can be launched many times."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self.stream, mode)
        try:
            enqueue()
        finally:
            graph = self._call("cudaStreamEndCapture", self.stream)
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: object) -> None:
        self._call("cudaGraphLaunch", graph, self.stream)

    def release_graph(self, graph: object) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def allocate_pinned(self, size: int) -> int:
        return self._call("cudaMallocHost", size)

    def free_pinned(self, address: int) -> None:
        self._call("cudaFreeHost", address)


class Pinned:
    """Page-locked host memory as an array. CUDA would copy other memory through such memory, and block."""

    def __init__(self, cuda: Cuda, shape: tuple[int, ...]):
        self._cuda = cuda
        size = FLOAT_BYTES * math.prod(shape)
        self._address = cuda.allocate_pinned(size)
        memory = (ctypes.c_byte * size).from_address(self._address)
        self.array = np.frombuffer(memoryview(memory), np.float32).reshape(shape)

    def free(self) -> None:
        del self.array
        self._cuda.free_pinned(self._address)


class DeviceTensor(Handle):
    """A float32 tensor in device memory. The memory is freed when the tensor and all its views are gone."""

    def __init__(self, cuda: Cuda, shape: tuple[int, ...]):
        self.shape = tuple(shape)
        self._memory = _Memory(cuda, FLOAT_BYTES * math.prod(shape))
        self.address = self._memory.address

    @property
    def nbytes(self) -> int:
        return FLOAT_BYTES * math.prod(self.shape)

    def __getitem__(self, part: slice) -> "DeviceTensor":
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError(f"a view of device memory must be contiguous, not of every {step} frames")
        view = object.__new__(DeviceTensor)
        view.shape = (max(0, stop - start), *self.shape[1:])
        view._memory = self._memory
        view.address = self.address + FLOAT_BYTES * start * math.prod(self.shape[1:])
        return view


class _Memory:
    """Device memory, freed when the last reference is gone."""

    def __init__(self, cuda: Cuda, size: int):
        self._cuda = cuda
        self.address = cuda.allocate(size)

    def __del__(self):
        if hasattr(self, "address"):
            self._cuda.free(self.address)


class Buffer:
    """Pinned memory and device memory for one input or output that crosses between host and device."""

    def __init__(self, cuda: Cuda, spec: TensorSpec):
        self._cuda = cuda
        self._largest = spec.largest
        self._host: Pinned | None = None
        self._device: DeviceTensor | None = None
        self._uploaded: np.ndarray | None = None

    @property
    def address(self) -> int:
        if self._device is None:  # inputs and outputs that stay on the device never need one
            self._device = DeviceTensor(self._cuda, self._largest)
        return self._device.address

    def host(self, shape: tuple[int, ...]) -> np.ndarray:
        if self._host is None:
            self._host = self._cuda.pinned(self._largest)
        return self._host.array.reshape(-1)[: int(np.prod(shape))].reshape(shape)

    def upload(self, value: np.ndarray) -> int:
        """Start copying an input to the device; returns its address there. A read-only array is copied only once."""
        if value is not self._uploaded:
            staged = self.host(value.shape)
            np.copyto(staged, value)
            self._cuda.upload(self.address, staged)
            self._uploaded = None if value.flags.writeable else value
        return self.address

    def fill(self, value: DeviceTensor) -> int:
        """Start copying an input that is on the device already; returns its address."""
        self._cuda.copy(self.address, value.address, value.nbytes)
        self._uploaded = None
        return self.address

    def free(self) -> None:
        if self._host is not None:
            self._host.free()
        self._host = self._device = self._uploaded = None
