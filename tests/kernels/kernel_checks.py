"""What the tests of the kernels share: memory that shows access out of bounds, and a measure of error."""

import numpy as np
import torch

MARGIN = 1 << 16  # numbers on either side of a tensor: more than a tile that overruns it can reach
TOLERANCES = {torch.float32: 1e-5, torch.float16: 3e-3}
# A NaN like no arithmetic makes, so that one that was computed and stored out of bounds is told apart.
SENTINELS = {torch.float32: (torch.int32, 0x7FC0BEEF), torch.float16: (torch.int16, 0x7EBE)}


class GuardedMemory:
    """Tensors in the midst of NaN: inputs that were put here, and all that launch wrappers allocate.

    Whoever reads beyond a tensor's end or computes with what was never written gets NaN; what is written beyond an end
    replaces a sentinel. And whether or not it is used, no address outside the tensors may be touched.
    """

    def __init__(self) -> None:
        self.inputs: list[torch.Tensor] = []
        self.allocated: list[torch.Tensor] = []

    def put(self, values: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """These values as a contiguous tensor, within plain NaN."""
        buffer = torch.full((values.size + 2 * MARGIN,), torch.nan, dtype=dtype)
        self.inputs.append(buffer[MARGIN:-MARGIN].view(values.shape))
        return self.inputs[-1].copy_(torch.from_numpy(values))

    def empty(self, shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """In place of torch.empty: a tensor of sentinels, within sentinels."""
        bits, sentinel = SENTINELS[dtype]
        buffer = torch.full((int(np.prod(shape)) + 2 * MARGIN,), sentinel, dtype=bits, device=device).view(dtype)
        self.allocated.append(buffer[MARGIN:-MARGIN].view(shape))
        return self.allocated[-1]

    def check_access(self, addresses: np.ndarray) -> None:
        """Fail unless all addresses that one load or store touches lie within one tensor."""
        if not addresses.size:
            return
        for tensor in (*self.inputs, *self.allocated):
            start = tensor.data_ptr()
            if start <= addresses.min() and addresses.max() < start + tensor.nbytes:
                return
        raise AssertionError("a kernel reached outside its tensors")

    def check_margins(self) -> None:
        """Fail if anything was written around what was allocated."""
        assert self.allocated
        for tensor in self.allocated:
            bits, sentinel = SENTINELS[tensor.dtype]
            buffer = torch.tensor([], dtype=tensor.dtype).set_(tensor.untyped_storage()).view(bits)
            assert (torch.cat([buffer[:MARGIN], buffer[-MARGIN:]]) == sentinel).all(), "a kernel wrote out of bounds"


def assert_close(result: torch.Tensor, expected: np.ndarray) -> None:
    """max |result - expected| / max |expected|, within what the result's dtype allows."""
    assert result.shape == expected.shape
    error = np.abs(result.double().numpy() - expected).max() / np.abs(expected).max()
    assert error <= TOLERANCES[result.dtype], f"relative error {error:.2e}"
