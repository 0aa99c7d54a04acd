"""The random numbers of a run, equal to PyTorch's CPU generator for the same seed (docs/model.md, section 4)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.system.regular_files import require_regular

GROUP = 16


class TorchGenerator:
    """Standard normal numbers as `torch.randn(..., generator=torch.Generator("cpu").manual_seed(seed))` draws them."""

    def __init__(self, seed: int):
        # Both libraries use MT19937 with the same seeding. Only the step to normal numbers differs.
        self._bits = np.random.RandomState(seed)

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """[*shape] float32, within 2e-6 of PyTorch's; the number of elements must be a multiple of 16.

        PyTorch draws a remainder differently, which this model never needs.
        """
        count = int(np.prod(shape))
        if count % GROUP:
            raise ValueError(f"a draw has a multiple of {GROUP} numbers, not {count}")
        words = self._bits.randint(0, 1 << 32, size=count, dtype=np.uint32)
        return _box_muller((words & 0xFFFFFF) * 2.0**-24).reshape(shape)


def _box_muller(uniform: np.ndarray) -> np.ndarray:
    """Box-Muller in groups of 16: the first 8 give radii, the last 8 angles; cosines come before sines."""
    groups = uniform.reshape(-1, 2, GROUP // 2)
    radius = np.sqrt(-2.0 * np.log1p(-groups[:, 0]))
    angle = 2.0 * np.pi * groups[:, 1]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1).astype(np.float32)


@dataclass(frozen=True)
class Noise:
    """The two standard normal draws that determine a run."""

    image: np.ndarray  # [1, 3, H, W]
    latents: np.ndarray  # [1, tile, 4, h, w]


def make_noise(file: Path | None, seed: int, height: int, width: int, tile_size: int) -> Noise:
    """The draws from the --noise file, else from --seed as PyTorch's CPU generator makes them."""
    image_shape, latent_shape = (1, 3, height, width), (1, tile_size, 4, height // 8, width // 8)
    if file is None:
        generator = TorchGenerator(seed)
        return Noise(generator.normal(image_shape), generator.normal(latent_shape))
    return Noise(
        _read_draw(file, "noise_image", image_shape),
        _read_draw(file, "noise_latents", latent_shape),
    )


def _read_draw(path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    require_regular(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            value = archive[name]
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): --noise takes an .npz with noise_image and noise_latents."
        ) from None
    except KeyError:
        raise InputError(f"{path} has no array {name}: --noise takes noise_image and noise_latents.") from None
    except Exception:  # the type depends on what is damaged
        raise InputError(
            f"{path} is not a whole .npz of plain arrays: --noise takes one with noise_image and noise_latents."
        ) from None
    if value.shape != shape or value.dtype.kind != "f":
        raise InputError(
            f"{path}: {name} must be floats of shape {list(shape)} for this engine set, "
            f"found {value.dtype} {list(value.shape)}: make the file again at that shape."
        )
    with np.errstate(over="ignore"):
        draw = value.astype(np.float32)
    if not np.isfinite(draw).all():
        raise InputError(f"{path}: {name} holds NaN or infinite numbers: make the file again.")
    return draw
