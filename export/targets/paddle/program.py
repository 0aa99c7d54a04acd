"""Paddle Inference: the program as .json, the weights as .pdiparams, streamed from the checkpoint."""

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sa.export.engines.program import TWIN, Network, Written
from sa.export.engines.trace import call_cost, trace
from sa.export.targets.paddle.broadcast_division import broadcast_division
from sa.runtime.backends.paddle import PARAMS_SUFFIX

FLOAT32 = 5  # VarType.FP32 in Paddle's framework.proto


def write_program(network: Network, folder: Path, stem: str) -> Written:
    traced = trace(network.forward, network.inputs, network.outputs, network.gradient)
    broadcast_division(traced.program)
    program, params = f"{stem}.json", f"{stem.removesuffix(TWIN)}{PARAMS_SUFFIX}"
    traced.save(folder / program)
    if not (folder / params).exists():
        # One tensor at a time: paddle.jit.save would need the whole network in memory first.
        with (folder / params).open("wb") as file:
            for name in sorted(traced.parameters):  # Paddle assigns them in this order
                weights = next(weights for weights in network.weights if name in weights)
                _write_tensor(file, weights.read(name))
                weights.forget()
    cost = call_cost(traced, network.forward, network.inputs, network.outputs, network.gradient)
    return Written(program, (params,), traced, cost)


def _write_tensor(file: BinaryIO, value: np.ndarray) -> None:
    """One tensor in Paddle's format: version, levels of detail, version, description (protobuf), values."""
    description = b"\x08" + _varint(FLOAT32) + b"".join(b"\x10" + _varint(size) for size in value.shape)
    file.write(struct.pack("<IQIi", 0, 0, 0, len(description)) + description)
    file.write(np.ascontiguousarray(value, dtype="<f4").data)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
