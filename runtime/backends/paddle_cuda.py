"""Engines on Paddle Inference's GPU predictor (`--device cuda`). Not run on a GPU yet.

An fp16 engine is float32 on disk. Paddle converts it on loading, and the result depends on the fp16 kernels of the GPU
build. So sa-export certifies these engines on the GPU.
"""

import os
from pathlib import Path

import paddle
from paddle import inference

from sa.runtime.backends.libraries import PADDLE_GPU
from sa.runtime.backends.paddle import PaddleEngine
from sa.runtime.contract import EngineContract
from sa.runtime.errors import EngineSetError

POOL_MIB = 256  # of device memory at first; grows when needed


class PaddleCudaEngine(PaddleEngine):
    def __init__(self, folder: Path, contract: EngineContract, threads: int):
        if not paddle.is_compiled_with_cuda():
            raise EngineSetError(f"--device cuda needs paddlepaddle-gpu, but this Paddle knows no GPUs: {PADDLE_GPU}.")
        # TF32 would keep only 10 of a float32's 23 bits. The libraries read this when they first use the GPU.
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
        super().__init__(folder, contract, threads)

    def _place(self, config: inference.Config, threads: int) -> None:
        kept = self.contract.float32_operators
        if kept is None:
            config.enable_use_gpu(POOL_MIB, 0, inference.PrecisionType.Float32)
            return
        config.enable_use_gpu(POOL_MIB, 0, inference.PrecisionType.Half)
        config.exp_disable_mixed_precision_ops({f"pd_op.{name}" for name in kept})
