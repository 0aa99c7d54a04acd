"""An engine set of a few kilobytes with weights by recipe, in every form that packs know. It is made without Paddle."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from sample_manifest import engine, manifest

from sa.benchmarks.fixtures import recipe
from sa.runtime.contract import MANIFEST

WIDTH = 8
PAGE = 4096
# role -> file, part, dtype, tensors as stored: name, the whole tensor's shape in PyTorch's layout, transposed, columns
FILES = {
    "image_encoder": ("image_encoder", "image_encoder", "<f4", [("class_embedding", (WIDTH,), False, None)]),
    "face_encoder": ("face_encoder", "face_encoder", "<f2", [("proj.weight", (WIDTH, 4), True, None)]),
    "pose_net": (
        "pose_net",
        "pose_net",
        "<f4",
        [("scale", (1,), False, None), ("conv.weight", (8, 4, 3, 3), False, None)],
    ),
    "vae_encoder": ("vae_encoder", "vae", "<f4", [("conv_in.weight", (8, 3, 3, 3), False, None)]),
    "unet": (
        "unet",
        "unet",
        "<f4",
        [
            ("ff.proj.weight.value", (2 * WIDTH, 4), True, (0, WIDTH)),
            ("ff.proj.weight.gate", (2 * WIDTH, 4), True, (WIDTH, 2 * WIDTH)),
            ("ff.proj.bias.value", (2 * WIDTH,), False, (0, WIDTH)),
            ("positions.weight", (5, WIDTH), False, None),
        ],
    ),
    # Of the same part, each with a file of its own: the UNet's is called like the part, and has not their tensors.
    "time_embedding": ("time_embedding", "unet", "<f4", [("linear.weight", (4, WIDTH), True, None)]),
    "conditioning": ("conditioning", "unet", "<f4", [("keys.weight", (4, WIDTH), True, None)]),
    # The part's shared file has the encoder's tensor too, which only the encoder reads, in float32 from its own file.
    "vae_decoder": (
        "vae",
        "vae",
        "<f2",
        [("conv_in.weight", (8, 3, 3, 3), False, None), ("norm.bias", (8,), False, None)],
    ),
}
UNREAD = ("vae", "conv_in.weight")


def write(folder: Path, **changes) -> Path:
    """Write the set; `changes` are of its manifest."""
    folder.mkdir(parents=True)
    engines = []
    for role in FILES:
        name, part, dtype, tensors = FILES[role]
        content, initializers = b"", []
        for tensor, shape, transposed, columns in tensors:
            source = tensor.removesuffix(".value").removesuffix(".gate")
            value = recipe.tensor(source, shape, part)
            value = value.T if transposed else value
            if columns is not None:
                value = value[..., slice(*columns)]
            content += b"\0" * (-len(content) % PAGE)
            if (name, tensor) != UNREAD:
                initializers.append(_external(tensor, value.shape, dtype, f"{name}.weights", len(content)))
            content += np.ascontiguousarray(value, dtype).tobytes()
        (folder / f"{name}.weights").write_bytes(content)
        values = [helper.make_tensor_value_info(side, TensorProto.FLOAT, [1]) for side in "xy"]
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])], role, values[:1], values[1:], initializers
        )
        onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / f"{role}.onnx")
        files = [_record(folder / f"{role}.onnx"), _record(folder / f"{name}.weights")]
        engines.append(engine(role, files=files))
    (folder / MANIFEST).write_text(manifest(engines=engines, **changes).model_dump_json())
    return folder


def _external(name: str, shape: tuple[int, ...], dtype: str, location: str, offset: int) -> TensorProto:
    kind = {"<f4": TensorProto.FLOAT, "<f2": TensorProto.FLOAT16}[dtype]
    tensor = TensorProto(name=name, dims=shape, data_type=kind, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(offset))):
        tensor.external_data.append(onnx.StringStringEntryProto(key=key, value=value))
    return tensor


def _record(path: Path) -> dict:
    content = path.read_bytes()
    return dict(name=path.name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
