"""Opens weight files (.safetensors, PyTorch's .pth, PaddlePaddle's .pdparams) without PyTorch.

Files are memory-mapped. Opening one reads only its table of contents; a tensor's values are read when they are asked
for. Everything in a file is checked against the file's length before it is used, and no pickle is executed.
"""

import mmap
from pathlib import Path

from sa.export.checkpoint.tensor_files import paddle_pickle, safetensors, torch_zip
from sa.export.checkpoint.tensor_files.stored import Kind, StoredTensor, TensorFile, explained, mapped
from sa.runtime.errors import InputError

__all__ = ["StoredTensor", "TensorFile", "open_tensor_file"]

_KINDS = {
    ".safetensors": safetensors.KIND,
    ".pth": torch_zip.KIND,
    ".pt": torch_zip.KIND,
    ".bin": torch_zip.KIND,
    ".pdparams": paddle_pickle.KIND,
}


def open_tensor_file(path: Path) -> TensorFile:
    """The tensors of a weight file, not read yet. InputError if it cannot be opened."""
    kind = _kind_of(path)
    with explained(path, kind):
        data = mapped(path)
        return TensorFile(kind.open(data, path), lambda: data.obj.madvise(mmap.MADV_DONTNEED))


def _kind_of(path: Path) -> Kind:
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{path} is not a weight file this tool knows: expected a name ending in {', '.join(_KINDS)}, "
            f"found '{path.suffix}'; give one of those"
        )
    return kind
