"""Engines on Paddle Inference's GPU predictor (`--device cuda`). Not run on a GPU yet.

An fp16 engine's program and weights are float32 on disk: Paddle converts them as it loads them, by which fp16 kernels
its GPU build has. Nothing but such a build can say what comes of that, so sa-export certifies these engines on the GPU.
"""

import os
from pathlib import Path

import paddle
from paddle import inference

from sa.runtime.backends.libraries import PADDLE_GPU
from sa.runtime.backends.paddle import PaddleEngine
from sa.runtime.contract import EngineContract
from sa.runtime.errors import EngineSetError

POOL_MIB = 256  # of device memory taken at first; it grows


class PaddleCudaEngine(PaddleEngine):
    def __init__(self, folder: Path, contract: EngineContract, threads: int):
        if not paddle.is_compiled_with_cuda():
            raise EngineSetError(f"--device cuda needs paddlepaddle-gpu, but this Paddle knows no GPUs: {PADDLE_GPU}.")
        # Results first: TF32 keeps 10 bits of a float32's 23. The libraries read this when they first see the GPU.
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
        super().__init__(folder, contract, threads)

    def _place(self, config: inference.Config, threads: int) -> None:
        kept = self.contract.float32_operators
        if kept is None:
            config.enable_use_gpu(POOL_MIB, 0, inference.PrecisionType.Float32)
            return
        config.enable_use_gpu(POOL_MIB, 0, inference.PrecisionType.Half)
        config.exp_disable_mixed_precision_ops({f"pd_op.{name}" for name in kept})
