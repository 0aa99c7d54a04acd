"""Arguments that a compiled kernel would misread are refused before the launch."""

import pytest
import torch

from sa.kernels.temporal_attention.kernel import temporal_attention


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.zeros(2, 16, 3).mT, r"strided \*fp32"),
        (torch.zeros(2, 3, 16, dtype=torch.float16), r"contiguous \*fp16"),
        (torch.zeros(2, 3, 16, dtype=torch.bfloat16), r"contiguous \*bfloat16"),
    ],
)
def test_tensors_of_other_layouts_or_types(value, found):
    query = key = torch.zeros(2, 3, 16)
    with pytest.raises(ValueError, match=rf"value must be contiguous \*fp32, not {found}"):
        temporal_attention(query, key, value, clip_frames=2, heads=1)
