"""From engine sets to a pack: programs and manifests, and of the weights only where each tensor lies.

It can be done only with sets of a checkpoint by recipe (`sa.benchmarks.fixtures.recipe`). Every tensor is drawn and
compared with what the set holds.
"""

import re
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import get_args

import numpy as np
import onnx

from sa.benchmarks.fixtures import recipe
from sa.benchmarks.gpu import archive
from sa.benchmarks.gpu.layout import CONTENTS, Pack, PackedSet, Piece, WeightsFile
from sa.export.checkpoint.checkpoint import Part
from sa.export.targets.onnxruntime.program import offsets
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import MANIFEST, Manifest
from sa.runtime.engine_set.verify import check_files, read_manifest
from sa.runtime.errors import InputError

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"  # as the layout's BareName
DTYPES = {onnx.TensorProto.FLOAT: "<f4", onnx.TensorProto.FLOAT16: "<f2"}
HALVES = (".value", ".gate")  # what the export calls the halves of a GEGLU's projection


def pack(folders: Sequence[Path], path: Path, reporter: Reporter) -> Pack:
    """Write the engine sets in these folders to one file; InputError for a set that cannot be drawn by recipe."""
    called = [folder.name for folder in folders]
    for name in called:
        if called.count(name) > 1 or not re.fullmatch(NAME, name):
            raise InputError(f"{name!r} cannot name a set of the pack: give each folder a plain name of its own.")
    members: dict[str, bytes] = {}
    described = []
    for folder in folders:
        with reporter.stage(f"packing {folder.name}"):
            manifest, _ = read_manifest(folder)
            check_files(folder, manifest, rehash=True)
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
    read: dict[str, dict[str, onnx.TensorProto]] = {}
    for engine in manifest.engines:
        model = onnx.load(folder / engine.program, load_external_data=False)
        # Small constants lie in the program itself.
        for tensor in (one for one in model.graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL):
            read.setdefault(_facts(tensor)["location"], {})[tensor.name] = tensor
    contents = {name: np.memmap(folder / name, np.uint8, "r") for name in sorted(read)}
    files = {
        name: WeightsFile(
            name=name,
            part=_part(Path(name).stem),
            pieces=tuple(_piece(folder / name, tensor, content) for tensor in read[name].values()),
        )
        for name, content in contents.items()
    }
    for name, file in files.items():
        files[name] = _with_unread(folder / name, file, files.values(), contents[name])
        _check_whole(folder / name, files[name], contents[name])
    return tuple(files.values())


def _with_unread(path: Path, file: WeightsFile, files: Iterable[WeightsFile], content: np.ndarray) -> WeightsFile:
    """The file with the tensors that no program reads from it, because one of another precision has its own copy."""
    if path.stem not in get_args(Part) or _first_unknown(file, content) is None:
        return file  # an engine's own file, of which one is called like a part: the UNet's
    here = {piece.tensor for piece in file.pieces}
    others = {
        piece.tensor: piece
        for other in files
        if other.part == file.part
        for piece in other.pieces
        if piece.tensor not in here
    }
    dtype = file.pieces[0].dtype
    shapes = {piece.tensor: piece.stored_shape for piece in (*others.values(), *file.pieces)}
    places = offsets(shapes, np.dtype(dtype).itemsize)
    unread = [
        piece.model_copy(update={"offset": places[name], "dtype": dtype, "start": 0, "stop": piece.stored_shape[-1]})
        for name, piece in others.items()
    ]
    for piece in unread:
        _require_drawn(path, file.part, piece, content)
    return file.model_copy(update={"pieces": (*file.pieces, *unread)})


def _first_unknown(file: WeightsFile, content: np.ndarray) -> str | None:
    """Where the file holds something besides its tensors; between them are zeros."""
    end = 0
    for piece in sorted(file.pieces, key=lambda piece: piece.offset):
        if piece.offset < end or content[end : piece.offset].any():
            return f"before {piece.tensor}"
        end = piece.end
    return None if end == len(content) else "after its last tensor"


def _check_whole(path: Path, file: WeightsFile, content: np.ndarray) -> None:
    """InputError unless the file holds nothing but its tensors."""
    if where := _first_unknown(file, content):
        raise InputError(f"{path} holds something {where} that no program reads: export it anew.")


def _part(stem: str) -> Part:
    """A file that engines share is named after its part, and one of an engine's own after the engine's role."""
    if stem in get_args(Part):
        return stem
    if stem.startswith(("vae_", "decoder_")):
        return "vae"
    return "arcface" if stem == "face_loss" else "unet"


def _piece(path: Path, tensor: onnx.TensorProto, content: np.ndarray) -> Piece:
    """Where a program reads a tensor, and how it is stored: of a matrix, whichever way is the recipe's.

    InputError if the recipe draws something else.
    """
    name, ending, dims = tensor.name, "", tuple(tensor.dims)
    if name.endswith(HALVES):
        name, _, ending = name.rpartition(".")
        dims = (*dims[:-1], 2 * dims[-1])
    half = dims[-1] // 2
    start, stop = {"": (0, dims[-1]), "value": (0, half), "gate": (half, dims[-1])}[ending]
    plain = Piece(
        tensor=name,
        shape=dims,
        transposed=False,
        start=start,
        stop=stop,
        offset=int(_facts(tensor).get("offset", 0)),
        dtype=DTYPES[tensor.data_type],
    )
    part = _part(path.stem)
    if len(dims) == 2:
        transposed = plain.model_copy(update={"shape": dims[::-1], "transposed": True})
        if _is_drawn(part, transposed, content):
            return transposed
    _require_drawn(path, part, plain, content)
    return plain


def _require_drawn(path: Path, part: Part, piece: Piece, content: np.ndarray) -> None:
    if not _is_drawn(part, piece, content):
        raise InputError(
            f"{path}: {piece.tensor} is not what the recipe draws: pack engine sets whose checkpoint has weights by "
            "recipe."
        )


def _is_drawn(part: Part, piece: Piece, content: np.ndarray) -> bool:
    drawn = piece.stored(recipe.tensor(piece.tensor, piece.shape, part))
    return np.array_equal(drawn.view(np.uint8).reshape(-1), content[piece.offset : piece.end])


def _facts(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}
