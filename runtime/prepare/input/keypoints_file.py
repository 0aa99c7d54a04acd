"""The file of --keypoints, with poses of other estimators."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.prepare.whole_body import KEYPOINTS
from sa.runtime.system.regular_files import require_regular

FORMAT = "an .npz with driving [frames, persons, 133, 3] and reference [persons, 133, 3]: x and y in pixels, score"
FARTHEST = 1e5  # pixels from the picture's corner; no real point is farther


@dataclass(frozen=True)
class KeypointsFile:
    path: Path
    driving: np.ndarray  # [frames, persons, 133, 3] floats
    reference: np.ndarray | None  # [persons, 133, 3]

    def of_frame(self, number: int) -> np.ndarray:
        """[persons, 133, 3] float64 of the driving source's frame `number`; InputError if there is no such entry."""
        if number >= len(self.driving):
            raise InputError(
                f"{self.path}: driving is {len(self.driving)} long, but --driving has more frames: "
                "give one entry per frame of the whole source; --frames takes the same ones of both."
            )
        return _persons(self.driving[number])

    def of_reference(self) -> np.ndarray | None:
        """[persons, 133, 3] float64."""
        return None if self.reference is None else _persons(self.reference)


def read_keypoints(path: Path) -> KeypointsFile:
    """Read and check the archive; InputError if it does not fit.

    Missing persons and points are NaN or have no score above 0.
    """
    require_regular(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("driving", "reference") if name in archive}
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): --keypoints takes {FORMAT}.") from None
    except MemoryError:
        raise
    except Exception:  # the type depends on what is damaged
        raise InputError(f"{path} is not a whole .npz of plain arrays: --keypoints takes {FORMAT}.") from None
    if "driving" not in arrays:
        raise InputError(f"{path} has no array driving: --keypoints takes {FORMAT}.")
    for name, dimensions in (("driving", 4), ("reference", 3)):
        value = arrays.get(name)
        if value is None:
            continue
        if value.ndim != dimensions or value.shape[-2:] != (KEYPOINTS, 3) or value.dtype.kind != "f":
            raise InputError(
                f"{path}: {name} is {value.dtype} {list(value.shape)}: --keypoints takes {FORMAT}, as floats."
            )
        with np.errstate(invalid="ignore"):
            if (np.abs(value[..., :2]) > FARTHEST).any() or np.isinf(value).any():
                raise InputError(
                    f"{path}: {name} has points farther than {FARTHEST:.0e} pixels from the picture: "
                    "give pixels, and NaN for what was not found."
                )
    return KeypointsFile(path, arrays["driving"], arrays.get("reference"))


def _persons(keypoints: np.ndarray) -> np.ndarray:
    """[persons, 133, 3] -> float64, without missing persons. NaN points are moved far outside and get score 0.

    Outside the picture they are not drawn. A score of 0 alone would paint black points on hands and faces.
    """
    keypoints = keypoints.astype(np.float64)
    keypoints[~np.isfinite(keypoints).all(axis=-1)] = (-FARTHEST, -FARTHEST, 0)
    return keypoints[(keypoints[..., 2] > 0).any(axis=-1)]
