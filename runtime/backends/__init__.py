"""Engine libraries. Each is imported when its first engine is opened."""

from collections.abc import Callable
from pathlib import Path

from sa.runtime.backends.base import Engine
from sa.runtime.backends.libraries import quiet_paddle
from sa.runtime.contract import EngineContract
from sa.runtime.system.processors import usable_cores


def open_engine(backend: str, folder: Path, contract: EngineContract, threads: int | None = None) -> Engine:
    """Load one engine of the engine set in `folder`; `threads` None means every core this process may use."""
    return engine_class(backend)(folder, contract, threads or usable_cores())


def engine_class(backend: str) -> Callable[[Path, EngineContract, int], Engine]:
    """The engine class of a backend. Its library is imported now."""
    if backend == "onnxruntime":
        from sa.runtime.backends.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine
    if backend == "onnxruntime-cuda":
        from sa.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaEngine

        return OnnxRuntimeCudaEngine
    if backend == "openvino":
        from sa.runtime.backends.openvino import OpenVinoEngine

        return OpenVinoEngine
    if backend == "paddle":
        quiet_paddle()
        from sa.runtime.backends.paddle import PaddleEngine

        return PaddleEngine
    if backend == "paddle-cuda":
        quiet_paddle()
        from sa.runtime.backends.paddle_cuda import PaddleCudaEngine

        return PaddleCudaEngine
    if backend in ("tensorrt", "tensorrt-rtx"):
        from sa.runtime.backends.tensorrt import TensorRtEngine, TensorRtRtxEngine

        return {"tensorrt": TensorRtEngine, "tensorrt-rtx": TensorRtRtxEngine}[backend]
    raise ValueError(f"unknown backend {backend!r}")
