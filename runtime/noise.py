"""The random numbers of a run, equal to those PyTorch's CPU generator gives for the same seed (SPEC section 4)."""

import numpy as np

GROUP = 16


class TorchGenerator:
    """Standard normal numbers as `torch.randn(..., generator=torch.Generator("cpu").manual_seed(seed))` draws them."""

    def __init__(self, seed: int):
        # Both libraries run MT19937 with the same seeding; only the way to normal numbers differs.
        self._bits = np.random.RandomState(seed)

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """[*shape] float32, within 2e-6 of PyTorch's. At least 16 numbers: fewer take another road there."""
        count = int(np.prod(shape))
        if count < GROUP:
            raise ValueError(f"at least {GROUP} numbers are drawn at once, not {count}")
        uniform = self._uniform(count)
        whole = count - count % GROUP
        values = np.empty(count, np.float32)
        values[:whole] = _box_muller(uniform[:whole])
        if whole < count:  # the last group is drawn anew and overlaps the one before
            values[-GROUP:] = _box_muller(self._uniform(GROUP))
        return values.reshape(shape)

    def _uniform(self, count: int) -> np.ndarray:
        words = self._bits.randint(0, 1 << 32, size=count, dtype=np.uint32)
        return (words & 0xFFFFFF) * 2.0**-24


def _box_muller(uniform: np.ndarray) -> np.ndarray:
    """In groups of 16: the first 8 give radii, the last 8 angles; cosines first, then sines."""
    groups = uniform.reshape(-1, 2, GROUP // 2)
    radius = np.sqrt(-2.0 * np.log1p(-groups[:, 0]))
    angle = 2.0 * np.pi * groups[:, 1]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1).astype(np.float32)
