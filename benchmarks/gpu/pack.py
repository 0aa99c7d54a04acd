"""From engine sets to a pack: programs and manifests, and of the weights only where each tensor lies.

It can be done only with sets of a checkpoint by recipe (`sa.benchmarks.fixtures.recipe`). Every tensor is drawn and
compared with what the set holds.
"""

import math
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import get_args

import numpy as np
import onnx

from sa.benchmarks.fixtures import recipe
from sa.benchmarks.gpu import archive
from sa.benchmarks.gpu.layout import CONTENTS, Pack, PackedSet, Piece, WeightsFile
from sa.export.checkpoint.checkpoint import Part
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import MANIFEST, Manifest
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import InputError

DTYPES = {onnx.TensorProto.FLOAT: "<f4", onnx.TensorProto.FLOAT16: "<f2"}
HALVES = (".value", ".gate")  # what the export calls the halves of a GEGLU's projection


def pack(folders: Sequence[Path], path: Path, reporter: Reporter) -> Pack:
    """Write the engine sets in these folders to one file; InputError for a set that cannot be drawn by recipe."""
    members: dict[str, bytes] = {}
    described = []
    for folder in folders:
        with reporter.stage(f"packing {folder.name}"):
            manifest = EngineSet.open(folder, verify=True).manifest
            if manifest.backend != "onnxruntime" or any(engine.prepacked for engine in manifest.engines):
                raise InputError(
                    f"{folder} was made with {manifest.backend} or --prepack: pack engine sets for ONNX Runtime that "
                    "were exported without --prepack."
                )
            described.append(PackedSet(name=folder.name, weights=describe(folder, manifest)))
            names = [MANIFEST, *(engine.program for engine in manifest.engines)]
            members |= {f"{folder.name}/{name}": (folder / name).read_bytes() for name in names}
    contents = Pack(
        format=1,
        project_version=metadata.version("stableanimator-deploy"),
        numpy=np.__version__,
        sets=tuple(described),
    )
    archive.write(path, {CONTENTS: contents.model_dump_json().encode(), **members})
    return contents


def describe(folder: Path, manifest: Manifest) -> tuple[WeightsFile, ...]:
    """The layout of every weight file of an engine set."""
    stored: dict[str, dict[str, onnx.TensorProto]] = {}
    for engine in manifest.engines:
        model = onnx.load(folder / engine.program, load_external_data=False)
        for tensor in model.graph.initializer:
            stored.setdefault(_facts(tensor)["location"], {})[tensor.name] = tensor
    return tuple(_described(folder / name, tensors) for name, tensors in sorted(stored.items()))


def _described(path: Path, tensors: dict[str, onnx.TensorProto]) -> WeightsFile:
    # Engines that share a part's file are named after the part; the three of the UNet have files of their own.
    part: Part = path.stem if path.stem in get_args(Part) else "unet"
    content = np.memmap(path, np.uint8, "r")
    pieces, end = [], 0
    for tensor in sorted(tensors.values(), key=lambda one: int(_facts(one).get("offset", 0))):
        piece = _piece(path, part, tensor, content)
        if piece.offset < end or content[end : piece.offset].any():
            raise InputError(f"{path} holds something before {tensor.name} that no program reads: export it anew.")
        pieces.append(piece)
        end = piece.end
    if end != len(content):
        raise InputError(f"{path} goes on after its last tensor: export it anew.")
    return WeightsFile(name=path.name, part=part, pieces=tuple(pieces))


def _piece(path: Path, part: Part, tensor: onnx.TensorProto, content: np.ndarray) -> Piece:
    """The first way to draw the tensor that gives the bytes in the file."""
    dims, offset = tuple(tensor.dims), int(_facts(tensor).get("offset", 0))
    found = content[offset : offset + np.dtype(DTYPES[tensor.data_type]).itemsize * math.prod(dims)]
    name, ending = tensor.name, ""
    if name.endswith(HALVES):
        name, _, ending = name.rpartition(".")
        dims = (*dims[:-1], 2 * dims[-1])
    half = dims[-1] // 2
    start, stop = {"": (0, dims[-1]), "value": (0, half), "gate": (half, dims[-1])}[ending]
    for transposed in (True, False) if len(dims) == 2 else (False,):
        shape = dims[::-1] if transposed else dims
        piece = Piece(
            tensor=name,
            shape=shape,
            transposed=transposed,
            start=start,
            stop=stop,
            offset=offset,
            dtype=DTYPES[tensor.data_type],
        )
        drawn = piece.stored(recipe.tensor(name, shape, part))
        if np.array_equal(drawn.view(np.uint8).reshape(-1), found):
            return piece
    raise InputError(
        f"{path}: {tensor.name} is not what the recipe draws: pack engine sets whose checkpoint has weights by recipe."
    )


def _facts(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}
