"""The target that sa-export's flags ask for."""

import argparse

from sa.export.targets.onnxruntime.target import OnnxRuntimeCudaTarget, OnnxRuntimeTarget
from sa.export.targets.openvino.target import OpenVinoTarget
from sa.export.targets.paddle.target import PaddleGpuTarget, PaddleTarget
from sa.export.targets.target import Target
from sa.export.targets.tensorrt.settings import PlanSettings
from sa.export.targets.tensorrt.target import TensorRtRtxTarget, TensorRtTarget


def choose_target(arguments: argparse.Namespace, plans: PlanSettings | None) -> Target:
    """`plans`: what the flags say of plans, which TensorRT's backends need."""
    a = arguments
    if plans is not None:
        return (TensorRtTarget if a.backend == "tensorrt" else TensorRtRtxTarget)(plans, a.threads)
    if a.backend == "paddle":
        return PaddleGpuTarget(a.threads) if a.precision == "fp16" else PaddleTarget(a.threads, a.onednn is not False)
    if a.backend == "openvino":
        return OpenVinoTarget(a.threads)
    if a.device == "cuda":
        return OnnxRuntimeCudaTarget(a.threads)
    return OnnxRuntimeTarget(a.threads, a.prepack)
