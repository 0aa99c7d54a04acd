"""Finds the identity embedding of the reference face."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from sa.runtime.case.case import Case
from sa.runtime.errors import InputError
from sa.runtime.system.regular_files import require_regular

FILE = "identity.npy"
NONE = "none"
UNIT = 1e-3  # how far from 1 the norm of a normalised embedding may be
NORMS = 3, 100  # raw embeddings of ArcFace have tens


def find_identity(
    flag: str | None,
    case: Case,
    size: int,
    models: Path | None,
    embed: Callable[[np.ndarray, Path, list[str]], np.ndarray],
    warnings: list[str],
) -> np.ndarray:
    """The identity embedding [1, size] float32, not normalised.

    It comes from `--identity FILE.npy`, else from the case's identity.npy, else from `embed(picture, models)`, which
    runs the networks in `--models` on the largest face of the reference. `--identity none` gives zeros. InputError if
    there is none.
    """
    if flag == NONE:
        warnings.append("--identity none: no face identity is given, so the person's face will not be kept.")
        return np.zeros((1, size), np.float32)
    given = Path(flag) if flag is not None else case.identity
    if given is not None:
        name = str(given) if isinstance(given, Path) else "the identity"
        embedding = read_identity(given, size) if isinstance(given, Path) else _checked(given, name, size)
        _warn_about_norm(embedding, name, warnings)
        return embedding
    if models is None:
        raise InputError(
            f"{case.name} has no {FILE}: give the face recogniser's embedding of the reference as --identity "
            f"FILE.npy ([{size}] floats, not normalised), put it there, give --models DIR with insightface's "
            "antelopev2, or pass --identity none to go without."
        )
    warnings.append(f"{case.name} has no {FILE}: the identity is made from the reference, by networks in {models}.")
    return _recognised(case.reference, models, size, embed, warnings)


def _recognised(
    reference: Image.Image,
    models: Path,
    size: int,
    embed: Callable[[np.ndarray, Path, list[str]], np.ndarray],
    warnings: list[str],
) -> np.ndarray:
    embedding = embed(np.asarray(reference), models, warnings)
    if embedding.size != size:
        raise InputError(
            f"the face recogniser in {models} gives {embedding.size} features, the engine set takes {size}: "
            "give --identity FILE.npy."
        )
    return embedding.reshape(1, size)


def read_identity(path: Path, size: int) -> np.ndarray:
    """The embedding [1, size] float32 from a .npy file. The file has `size` float32 or float64 numbers."""
    require_regular(path)
    try:
        value = np.load(path, allow_pickle=False, mmap_mode="r")
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): --identity takes a .npy file with {size} floats, or none."
        ) from None
    except Exception:  # the type depends on what is damaged
        raise InputError(
            f"{path} is not a .npy file of plain numbers: expected {size} floats; make the identity embedding again."
        ) from None
    return _checked(value, str(path), size)


def _checked(value: object, name: str, size: int) -> np.ndarray:
    """The embedding as [1, size] float32; InputError unless it is so many finite numbers."""
    if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64) or value.size != size:
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else "an archive"
        raise InputError(
            f"{name} must hold {size} float32 or float64 numbers, found {found}: make the identity embedding again."
        )
    with np.errstate(over="ignore"):
        embedding = np.array(value, np.float32).reshape(1, size)
    if not np.isfinite(embedding).all():
        raise InputError(f"{name} holds NaN or infinite numbers: make the identity embedding again.")
    if abs(np.linalg.norm(embedding) - 1) < UNIT:
        raise InputError(
            f"{name} is normalised (its norm is 1): the face encoder takes the raw embedding, which insightface calls "
            "embedding, not normed_embedding; make it again."
        )
    return embedding


def _warn_about_norm(embedding: np.ndarray, name: str, warnings: list[str]) -> None:
    norm = float(np.linalg.norm(embedding))
    if norm == 0:
        warnings.append(f"{name} holds zeros, which is no face: the person's face will not be kept.")
    elif not NORMS[0] <= norm <= NORMS[1]:
        warnings.append(
            f"{name} has a norm of {norm:.3g}, but raw embeddings of glintr100 have tens: make it with that "
            "recogniser, not normalised."
        )
