"""Helpers for the tests of kernels: memory that detects access out of bounds, and a measure of error."""

import numpy as np
import torch

MARGIN = 1 << 16  # numbers on either side of a tensor: more than the overrun of a tile
TOLERANCES = {torch.float32: 1e-5, torch.float16: 3e-3}
# NaNs that arithmetic does not produce, so that a computed NaN stored out of bounds is noticed.
SENTINELS = {torch.float32: (torch.int32, 0x7FC0BEEF), torch.float16: (torch.int16, 0x7EBE)}


class GuardedMemory:
    """Tensors surrounded by NaN: the inputs of a test, and all tensors that launch wrappers allocate.

    Reads beyond the end of a tensor, and of numbers that were never written, give NaN. Writes beyond the end replace a
    sentinel. No address outside the tensors may be accessed, even if the value is not used.
    """

    def __init__(self) -> None:
        self.inputs: list[torch.Tensor] = []
        self.allocated: list[torch.Tensor] = []

    def put(self, values: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """The values as a contiguous tensor, surrounded by plain NaN."""
        buffer = torch.full((values.size + 2 * MARGIN,), torch.nan, dtype=dtype)
        self.inputs.append(buffer[MARGIN:-MARGIN].view(values.shape))
        return self.inputs[-1].copy_(torch.from_numpy(values))

    def empty(self, shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Replaces torch.empty: a tensor of sentinels, surrounded by sentinels."""
        bits, sentinel = SENTINELS[dtype]
        buffer = torch.full((int(np.prod(shape)) + 2 * MARGIN,), sentinel, dtype=bits, device=device).view(dtype)
        self.allocated.append(buffer[MARGIN:-MARGIN].view(shape))
        return self.allocated[-1]

    def check_access(self, addresses: np.ndarray) -> None:
        """Fail unless all addresses of one load or store lie in one tensor."""
        if not addresses.size:
            return
        for tensor in (*self.inputs, *self.allocated):
            start = tensor.data_ptr()
            if start <= addresses.min() and addresses.max() < start + tensor.nbytes:
                return
        raise AssertionError("a kernel reached outside its tensors")

    def check_margins(self) -> None:
        """Fail if anything was written outside the allocated tensors."""
        assert self.allocated
        for tensor in self.allocated:
            bits, sentinel = SENTINELS[tensor.dtype]
            buffer = torch.tensor([], dtype=tensor.dtype).set_(tensor.untyped_storage()).view(bits)
            assert (torch.cat([buffer[:MARGIN], buffer[-MARGIN:]]) == sentinel).all(), "a kernel wrote out of bounds"


def assert_close(result: torch.Tensor, expected: np.ndarray) -> None:
    """Fail if max |result - expected| / max |expected| exceeds the tolerance of the result's dtype."""
    assert result.shape == expected.shape
    error = np.abs(result.double().numpy() - expected).max() / np.abs(expected).max()
    assert error <= TOLERANCES[result.dtype], f"relative error {error:.2e}"
