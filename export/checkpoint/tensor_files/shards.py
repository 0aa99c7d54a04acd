"""Weights in several files: an index, X.index.json, says which tensor lies in which file beside it."""

import json
from pathlib import Path

from sa.export.checkpoint.tensor_files.pickle_reader import shown
from sa.export.checkpoint.tensor_files.stored import Contents, FaultError, StoredTensor, TensorFile, mapped
from sa.runtime.system.impostors import BEGINNING, impostor

INDEX_SUFFIX = ".json"
_MAX_INDEX = 8 * 2**20
_MAX_SHARDS = 1000
_MAX_NAME = 200  # letters; file systems take 255 bytes
NOUN, ADVICE = "an index of weight files", "take fresh copies of it and of the files it names"


def read_index(path: Path) -> dict[str, str]:
    """File name by tensor name. FaultError if the index is no such table or names anything but files beside it."""
    data = mapped(path)
    if len(data) > _MAX_INDEX:
        raise FaultError(f"it has {len(data):,} bytes, where {_MAX_INDEX:,} are the most")
    if (found := impostor(bytes(data[:BEGINNING]), len(data))) is not None:
        raise FaultError(*found)
    try:
        index = json.loads(bytes(data))
    except (ValueError, RecursionError):
        raise FaultError("it is not JSON") from None
    files = index.get("weight_map") if type(index) is dict else None
    if type(files) is not dict or not files or not all(type(file) is str for file in files.values()):
        raise FaultError("it has no table weight_map of file names by tensor names")
    for file in set(files.values()):
        if Path(file).name != file or file in ("", "..") or not file.isprintable() or len(file) > _MAX_NAME:
            raise FaultError(f"it names the file '{shown(file)}', which does not lie beside it")
    if len(set(files.values())) > _MAX_SHARDS:
        raise FaultError(f"it names more than {_MAX_SHARDS:,} files")
    return files


def joined(path: Path, files: dict[str, str], shards: dict[str, TensorFile]) -> TensorFile:
    """The tensors of all shards. FaultError unless index and shards name the same tensors in the same files."""
    tensors: dict[str, StoredTensor] = {}
    for file, shard in shards.items():
        for name, tensor in shard.items():
            if files.get(name) != file:
                said = f"in {files[name]}" if name in files else "nowhere"
                raise FaultError(f"it puts the tensor '{shown(name)}' {said}, and {file} holds it")
            tensors[name] = tensor
    missing = [name for name in files if name not in tensors]
    if missing:
        raise FaultError(f"{files[missing[0]]} lacks the tensor '{shown(missing[0])}', which it puts there")
    notes = tuple(dict.fromkeys(note for shard in shards.values() for note in shard.notes))
    by_paddle = all(shard.by_paddle for shard in shards.values())

    def forget() -> None:
        for shard in shards.values():
            shard.forget()

    paths = (path, *(path.parent / file for file in shards))
    return TensorFile(Contents(tensors, by_paddle, notes), paths, forget)
