"""Weights by recipe: every tensor of a checkpoint is a function of its state-dict name and shape alone.

Whoever can name a tensor can make it, so a test case or a benchmark needs no weight files. The values are float32 and
identical on every platform (NumPy's Philox bit stream). They are random: such a network computes, but has learned
nothing.
"""

import json
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np


def tensor(name: str, shape: tuple[int, ...], salt: str) -> np.ndarray:
    """The float32 weights called `name` ([out, in, ...] layout, as PyTorch stores them) of the network `salt`."""
    key = zlib.crc32(f"{salt}/{name}".encode())
    noise = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, dtype=np.float64)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "mix_factor":
        value = noise
    elif leaf == "scale":  # PoseNet's output scale
        value = 2.0 + 0.3 * noise
    elif leaf in ("bias", "running_mean"):
        value = 0.1 * noise
    elif leaf == "running_var":
        value = np.exp(0.2 * noise)
    elif leaf == "class_embedding":
        value = 0.5 * noise
    elif leaf == "weight" and len(shape) == 1:  # a norm's gain, or a PReLU's slope
        value = 0.25 + 0.05 * noise if "prelu" in name else 1.0 + 0.1 * noise
    else:  # a linear, convolution or embedding matrix
        gain = {"pose_net": 1.4, "arcface": 1.2}.get(salt, 1.0)
        value = noise * gain / np.sqrt(np.prod(shape[1:]))
    return value.astype(np.float32)


def write_safetensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], values: Callable[[str, tuple[int, ...]], np.ndarray]
) -> None:
    """Write float32 tensors one at a time, so that a file of 6 GB needs no memory."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            file.write(np.ascontiguousarray(values(name, shape), dtype="<f4").data)
