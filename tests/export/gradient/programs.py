"""Turns a small network into an engine of its gradient, and compares that with Paddle's eager autograd."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from shared import relative

from sa.export.engines.program import Network
from sa.export.gradient import Gradient
from sa.export.networks import layers
from sa.export.targets.onnxruntime.target import OnnxRuntimeTarget
from sa.export.targets.openvino.target import OpenVinoTarget
from sa.export.targets.paddle.target import PaddleTarget
from sa.runtime.backends import open_engine
from sa.runtime.backends.base import Engine
from sa.runtime.contract import EngineContract, FileRecord, TensorSpec
from sa.runtime.system import hashing

TARGETS = {"onnxruntime": OnnxRuntimeTarget, "openvino": OpenVinoTarget, "paddle": PaddleTarget}


@dataclass
class OwnWeights:
    """The weights of a network, with the interface of a checkpoint's weights."""

    values: dict[str, np.ndarray]
    part: str = "test"

    def __contains__(self, name):
        return name in self.values

    @property
    def shapes(self):
        return {name: value.shape for name, value in self.values.items()}

    def read(self, name):
        return self.values[name]

    def each(self, names):
        return ((name, self.values[name]) for name in names)

    def forget(self):
        pass


def spec(name: str, shape: tuple) -> TensorSpec:
    return TensorSpec(name=name, shape=shape)


def randomised(network: paddle.nn.Layer, seed: int = 0) -> paddle.nn.Layer:
    """Set every parameter to random values that do not cancel each other."""
    generator = np.random.default_rng(seed)
    for name, parameter in network.named_parameters():
        value = generator.standard_normal(parameter.shape) / max(np.prod(parameter.shape[1:]), 1) ** 0.5
        if name.endswith("running_var"):
            value = np.abs(value) + 0.5
        parameter.set_value(value.astype(np.float32) + (0.7 if parameter.ndim == 1 else 0.0))
    network.eval()
    return network


def gradient_engine(
    folder: Path, backend: str, network: paddle.nn.Layer, inputs: dict, output: tuple, of: str, scalar: bool = False
) -> Engine:
    """The engine of a network's VJP, or of a loss and its gradient. Shapes are those of a manifest."""
    for name, parameter in network.named_parameters():
        parameter.name = name
        parameter.stop_gradient = True
    # Trace the code unchanged, as for the project's networks.
    paddle.jit.ignore_module([sys.modules[type(network).__module__], layers])
    cotangent = None if scalar else spec("dy", output)
    weights = OwnWeights({name: parameter.numpy() for name, parameter in network.named_parameters()})
    made_of = Network(
        network.forward,
        tuple(spec(name, shape) for name, shape in inputs.items()),
        (spec("y", output),),
        Gradient(of, cotangent, spec("dx", inputs[of])),
        [weights],
    )
    written = TARGETS[backend]().write(made_of, folder, "tested")
    files = [name for name in (written.program, *written.data) if (folder / name).exists()]
    contract = EngineContract(
        role="decoder_tested",
        program=written.program,
        files=tuple(
            FileRecord(name=name, bytes=max((folder / name).stat().st_size, 1), sha256=hashing.sha256(folder / name))
            for name in files
        ),
        inputs=written.traced.inputs,
        outputs=written.traced.outputs,
    )
    return open_engine(backend, folder, contract, 2)


def eager_gradient(network: paddle.nn.Layer, values: dict, of: str) -> tuple[np.ndarray, np.ndarray]:
    """The network's output and its VJP by Paddle's eager autograd."""
    tensors = {name: paddle.to_tensor(value) for name, value in values.items()}
    seed = tensors.pop("dy", None)
    tensors[of].stop_gradient = False
    y = network(*tensors.values())
    (dx,) = paddle.grad([y], [tensors[of]], None if seed is None else [seed])
    return y.numpy(), dx.numpy()


def error(engine: Engine, network: paddle.nn.Layer, values: dict, of: str = "x") -> float:
    """The largest relative error of the engine's outputs."""
    y, dx = eager_gradient(network, values, of)
    results = engine.infer(values)
    return max(relative(results[name], wanted) for name, wanted in (("y", y), ("dx", dx)) if name in results)
