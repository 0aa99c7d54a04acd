"""Opens weight files (.safetensors, PyTorch's .pth, PaddlePaddle's .pdparams, and indices of such) without PyTorch.

Files are memory-mapped. Opening one reads only its table of contents; a tensor's values are read when they are asked
for. Everything in a file is checked against the file's length before it is used, and no pickle is executed.
"""

import mmap
from pathlib import Path

from sa.export.checkpoint.tensor_files import paddle_pickle, safetensors, shards, torch_zip
from sa.export.checkpoint.tensor_files.pickle_reader import PROTOCOLS
from sa.export.checkpoint.tensor_files.stored import FaultError, Kind, StoredTensor, TensorFile, explained, mapped
from sa.runtime.errors import InputError
from sa.runtime.system.impostors import BEGINNING, impostor
from sa.runtime.system.regular_files import require_regular

__all__ = ["SUFFIXES", "StoredTensor", "TensorFile", "open_tensor_file"]

_KINDS = {
    ".safetensors": safetensors.KIND,
    ".pth": torch_zip.KIND,
    ".pt": torch_zip.KIND,
    ".bin": torch_zip.KIND,
    ".pdparams": paddle_pickle.KIND,
}
SUFFIXES = tuple(_KINDS)


def open_tensor_file(path: Path) -> TensorFile:
    """The tensors of a weight file, not read yet; an index stands for its shards. InputError if it cannot be opened.

    A file is what its content says: PaddlePaddle's state dicts are found under PyTorch's suffixes, and the reverse.
    """
    if path.suffix.lower() == shards.INDEX_SUFFIX:
        return _open_shards(path)
    named = _kind_of(path)
    with explained(path, named.noun, named.advice):
        data = mapped(path)
        if (found := impostor(bytes(data[:BEGINNING]), len(data))) is not None:
            raise FaultError(*found)
    kind = _kind_by_content(data) or named
    with explained(path, kind.noun, kind.advice):
        return TensorFile(kind.open(data, path), (path,), lambda: data.obj.madvise(mmap.MADV_DONTNEED))


def _open_shards(path: Path) -> TensorFile:
    with explained(path, shards.NOUN, shards.ADVICE):
        files = shards.read_index(path)
    opened = {}
    for file in dict.fromkeys(files.values()):
        require_regular(path.parent / file)
        _kind_of(path.parent / file)  # an index may not name an index
        opened[file] = open_tensor_file(path.parent / file)
    with explained(path, shards.NOUN, shards.ADVICE):
        return shards.joined(path, files, opened)


def _kind_of(path: Path) -> Kind:
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{path} is not a weight file this tool knows: expected a name ending in {', '.join(_KINDS)}, "
            f"found '{path.suffix}'; give one of those"
        )
    return kind


def _kind_by_content(data: memoryview) -> Kind | None:
    """The kind of weight file that begins like this, None if the beginning does not tell."""
    start = bytes(data[:16])
    if start.startswith(b"PK\x03\x04"):
        return torch_zip.KIND
    if len(start) > 2 and start[0] == 0x80 and start[1] in PROTOCOLS:
        return torch_zip.KIND if start[2:].startswith(torch_zip.OLD_TORCH_MAGIC) else paddle_pickle.KIND
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < len(data):
        return safetensors.KIND
    return None
