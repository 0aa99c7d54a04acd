"""Types of images that are read."""

import numpy as np
import pytest
from PIL import Image

from sa.runtime.case.images import OTHER_SUFFIXES, SUFFIXES, read_image


@pytest.mark.parametrize(
    ("suffix", "saving"), [(".avif", {"quality": 100}), (".tiff", {}), (".webp", {"lossless": True})]
)
def test_new_and_old_types_are_read(suffix, saving, tmp_path):
    Image.new("RGB", (64, 48), (200, 100, 50)).save(tmp_path / f"photo{suffix}", **saving)
    found = np.asarray(read_image(tmp_path / f"photo{suffix}")).astype(int)
    assert found.shape == (48, 64, 3) and np.abs(found - (200, 100, 50)).max() <= 2
    assert suffix in SUFFIXES and not set(SUFFIXES) & set(OTHER_SUFFIXES)
