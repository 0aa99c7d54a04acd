"""Where the identity embedding of the reference face comes from."""

from pathlib import Path

import numpy as np

from sa.runtime.errors import InputError

FILE = "identity.npy"
NONE = "none"


def find_identity(flag: str | None, case: Path, size: int, warnings: list[str]) -> np.ndarray:
    """The identity embedding [1, size] float32, not normalised.

    From `--identity FILE.npy`, or zeros for `--identity none`, or the case's identity.npy; InputError if there is none.
    """
    if flag == NONE:
        warnings.append("--identity none: no face identity is given, so the person's face will not be kept.")
        return np.zeros((1, size), np.float32)
    path = Path(flag) if flag is not None else case / FILE
    if flag is None and not path.exists():
        raise InputError(
            f"{case} has no {FILE}: give the face recogniser's embedding of the reference as --identity FILE.npy "
            f"([{size}] floats, not normalised), put it there, or pass --identity none to go without."
        )
    return read_identity(path, size)


def read_identity(path: Path, size: int) -> np.ndarray:
    """The embedding in a .npy file as [1, size] float32; float32 or float64 of any shape with `size` elements."""
    try:
        value = np.load(path, allow_pickle=False, mmap_mode="r")
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): --identity takes a .npy file with {size} floats, or none."
        ) from None
    except Exception:  # zip, value and other errors, by what is damaged
        raise InputError(
            f"{path} is not a .npy file of plain numbers: expected {size} floats; make the identity embedding again."
        ) from None
    if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64) or value.size != size:
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else "an archive"
        raise InputError(
            f"{path} must hold {size} float32 or float64 numbers, found {found}: make the identity embedding again."
        )
    with np.errstate(over="ignore"):
        embedding = np.array(value, np.float32).reshape(1, size)
    if not np.isfinite(embedding).all():
        raise InputError(f"{path} holds NaN or infinite numbers: make the identity embedding again.")
    return embedding
