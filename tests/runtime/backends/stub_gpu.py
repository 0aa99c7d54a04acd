"""A GPU of NumPy arrays in the places of cuda-python and TensorRT for RTX: what order, sizes and lifetimes can show.

Work on the stream is done when it is waited for and not before, so that reading a result too early, or writing an input
again too early, gives wrong numbers. Plans are the bytes of a Python expression of x.
"""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest


def rows(*values: float) -> np.ndarray:
    """[len(values), 3], each row one value."""
    return np.array(values, np.float32)[:, None] * np.ones(3, np.float32)


def check_results_go_into_a_part_of_a_tensor_on_the_device(opened) -> None:
    """opened(expression of x): an engine, of any backend whose tensors stay on the device."""
    with opened("2 * x") as double, opened("x + 1") as next_:
        whole = double.empty((3, 3))
        for i, value in enumerate((1, 2, 3)):
            double.infer_into({"x": rows(value)}, {"y": whole[i : i + 1]})
        result = np.empty((2, 3), np.float32)
        next_.infer_into({"x": whole[1:3]}, {"y": result})
        with pytest.raises(ValueError, match="contiguous"):
            whole[::2]
    np.testing.assert_array_equal(result, rows(5, 7))


def check_tensors_of_the_unets_stay_on_the_device(opened, gpu) -> None:
    """Features of three tiles, each used twice in turns; opened(expression of x, role)."""
    with opened("2 * x", "unet") as whole, opened("x + 1", "unet_shallow") as shallow:
        kept = [whole.infer({"x": rows(value)}, keep=["y"])["y"] for value in (1, 2, 3)]
        uploads = gpu.uploads
        for _ in range(2):
            found = [shallow.infer({"x": value})["y"] for value in kept]
            np.testing.assert_array_equal(found, [rows(3), rows(5), rows(7)])
        assert gpu.uploads == uploads == 3


def check_a_read_only_input_goes_to_the_device_once(opened, gpu) -> None:
    constant, changing = rows(1), rows(1)
    constant.flags.writeable = False
    with opened("2 * x") as engine:
        for value in (constant, constant):
            np.testing.assert_array_equal(engine.infer({"x": value})["y"], rows(2))
        assert gpu.uploads == 1
        for number in (3, 4):
            changing[:] = number
            np.testing.assert_array_equal(engine.infer({"x": changing})["y"], rows(2 * number))
        np.testing.assert_array_equal(engine.infer({"x": constant})["y"], rows(2))
        assert gpu.uploads == 4


class Stub:
    """What the runtime did to the GPU, and the two modules it did it through."""

    def __init__(self, capability: tuple[int, int] = (8, 9)):
        self.memory: dict[int, np.ndarray] = {}  # device and pinned memory by address
        self.queue: list = []
        self.captured: list | None = None
        self.launches = self.uploads = 0
        self.limit: int | None = None  # bytes of one allocation
        self.free = 8 << 30  # what cudaMemGetInfo says
        # Of every plan: mode, dtype and shape by name; -1 is a size that is open.
        self.tensors = {"x": ("input", "float", (-1, 3)), "y": ("output", "float", (-1, 3))}
        self.cuda = self._cuda(capability)
        self.tensorrt = self._tensorrt()

    def _cuda(self, capability: tuple[int, int]) -> SimpleNamespace:
        def allocate(size):
            if self.limit is not None and size > self.limit:
                return 2, None
            block = np.full(max(size, 1), 0x7F, np.uint8)
            self.memory[block.ctypes.data] = block
            return 0, block.ctypes.data

        def free(address):
            del self.memory[address]
            return (0,)

        def enqueue(work):
            (self.queue if self.captured is None else self.captured).append(work)

        def copy(target, source, size, kind, stream):
            assert self.captured is None, "copies belong outside the graph"
            enqueue(lambda: ctypes.memmove(target, source, size))
            self.uploads += kind == self.cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
            return (0,)

        def wait(stream):
            assert self.captured is None
            while self.queue:
                self.queue.pop(0)()
            return (0,)

        def begin(stream, mode):
            self.captured = []
            return (0,)

        def end(stream):
            graph, self.captured = self.captured, None
            return 0, graph

        def launch(graph, stream):
            self.launches += 1
            self.queue.extend(graph)
            return (0,)

        self.enqueue = enqueue
        return SimpleNamespace(
            cudaError_t=SimpleNamespace(cudaSuccess=0),
            cudaGetErrorString=lambda error: (0, b"out of memory"),
            cudaStreamNonBlocking=1,
            cudaStreamCreateWithFlags=lambda flags: (0, 77),
            cudaStreamSynchronize=wait,
            cudaStreamCaptureMode=SimpleNamespace(cudaStreamCaptureModeThreadLocal=1),
            cudaStreamBeginCapture=begin,
            cudaStreamEndCapture=end,
            cudaGraphInstantiate=lambda graph, flags: (0, graph),
            cudaGraphDestroy=lambda graph: (0,),
            cudaGraphExecDestroy=lambda graph: (0,),
            cudaGraphLaunch=launch,
            cudaMemcpyKind=SimpleNamespace(
                cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3
            ),
            cudaMemcpyAsync=copy,
            cudaMalloc=allocate,
            cudaFree=free,
            cudaMallocHost=allocate,
            cudaFreeHost=free,
            cudaMemGetInfo=lambda: (0, self.free, self.free),
            cudaGetDevice=lambda: (0, 0),
            cudaGetDeviceCount=lambda: (0, 1),
            cudaDeviceAttr=SimpleNamespace(cudaDevAttrComputeCapabilityMajor=0, cudaDevAttrComputeCapabilityMinor=1),
            cudaDeviceGetAttribute=lambda which, device: (0, capability[which]),
        )

    def _tensorrt(self) -> SimpleNamespace:
        stub = self

        class Logger:
            ERROR = 1

            def __init__(self, level):
                pass

        class Context:
            def __init__(self, expression):
                self.expression = expression
                self.shapes, self.addresses = {}, {}
                self.scratch = None

            def set_input_shape(self, name, shape):
                self.shapes[name] = shape

            def get_tensor_shape(self, name):
                return self.shapes["x"]

            def set_tensor_address(self, name, address):
                self.addresses[name] = address

            def set_device_memory(self, address, size):
                assert stub.memory[address].size >= size
                self.scratch = address

            def execute_async_v3(self, stream):
                assert stream == 77 and self.scratch in stub.memory
                shape, addresses = self.shapes["x"], dict(self.addresses)

                def work():
                    x = stub.view(addresses["x"], shape)
                    stub.view(addresses["y"], shape)[:] = eval(self.expression, {"x": x, "np": np})

                stub.enqueue(work)
                return True

        class Engine:
            def __init__(self, expression):
                self.expression = expression
                self.device_memory_size_v2 = len(expression)  # any size that differs between engines
                self.num_io_tensors = len(stub.tensors)

            def get_tensor_name(self, number):
                return list(stub.tensors)[number]

            def get_tensor_mode(self, name):
                return stub.tensors[name][0]

            def get_tensor_dtype(self, name):
                return stub.tensors[name][1]

            def get_tensor_shape(self, name):
                return stub.tensors[name][2]

            def create_execution_context(self, strategy):
                assert strategy == "user managed"
                return Context(self.expression)

        class Runtime:
            def __init__(self, logger):
                pass

            def deserialize_cuda_engine(self, plan):
                return None if plan == b"broken" else Engine(plan.decode())

        class Refitter:
            """Puts the number that a program is into a plan's expression, where that says `weight`."""

            def __init__(self, engine, logger):
                self.engine, self.found = engine, None

            def refit_cuda_engine(self):
                self.engine.expression = self.engine.expression.replace("weight", self.found)
                return True

        class OnnxParserRefitter:
            def __init__(self, refitter, logger):
                self.refitter = refitter

            def refit_from_file(self, path):
                with open(path) as file:
                    self.refitter.found = file.read()
                return self.refitter.found.isdigit()

        return SimpleNamespace(
            Logger=Logger,
            Refitter=Refitter,
            OnnxParserRefitter=OnnxParserRefitter,
            Runtime=Runtime,
            DataType=SimpleNamespace(FLOAT="float"),
            TensorIOMode=SimpleNamespace(INPUT="input"),
            ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user managed"),
            __version__="1.7.1",
        )

    def view(self, address: int, shape: tuple[int, ...]) -> np.ndarray:
        """The float32 array that lies at an address inside one of the blocks."""
        start = next(at for at, block in self.memory.items() if at <= address < at + block.size)
        block = self.memory[start][address - start :]
        return block.view(np.float32)[: int(np.prod(shape))].reshape(shape)
