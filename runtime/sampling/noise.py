"""The random numbers of a run, equal to those PyTorch's CPU generator gives for the same seed (SPEC section 4)."""

import numpy as np

GROUP = 16


class TorchGenerator:
    """Standard normal numbers as `torch.randn(..., generator=torch.Generator("cpu").manual_seed(seed))` draws them."""

    def __init__(self, seed: int):
        # Both libraries run MT19937 with the same seeding; only the way to normal numbers differs.
        self._bits = np.random.RandomState(seed)

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """[*shape] float32, within 2e-6 of PyTorch's; the number of elements must be a multiple of 16.

        PyTorch treats a remainder in a way of its own, which no draw of this model needs.
        """
        count = int(np.prod(shape))
        if count % GROUP:
            raise ValueError(f"a draw has a multiple of {GROUP} numbers, not {count}")
        words = self._bits.randint(0, 1 << 32, size=count, dtype=np.uint32)
        return _box_muller((words & 0xFFFFFF) * 2.0**-24).reshape(shape)


def _box_muller(uniform: np.ndarray) -> np.ndarray:
    """In groups of 16: the first 8 give radii, the last 8 angles; cosines first, then sines."""
    groups = uniform.reshape(-1, 2, GROUP // 2)
    radius = np.sqrt(-2.0 * np.log1p(-groups[:, 0]))
    angle = 2.0 * np.pi * groups[:, 1]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1).astype(np.float32)
