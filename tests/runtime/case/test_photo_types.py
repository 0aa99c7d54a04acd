"""Types of images that are read."""

import numpy as np
import pytest
from PIL import Image

from sa.runtime.case.images import OTHER_SUFFIXES, SUFFIXES, load_image, read_image
from sa.runtime.errors import InputError


@pytest.mark.parametrize(
    ("suffix", "saving"), [(".avif", {"quality": 100}), (".tiff", {}), (".webp", {"lossless": True})]
)
def test_new_and_old_types_are_read(suffix, saving, tmp_path):
    Image.new("RGB", (64, 48), (200, 100, 50)).save(tmp_path / f"photo{suffix}", **saving)
    found = np.asarray(read_image(tmp_path / f"photo{suffix}")).astype(int)
    assert found.shape == (48, 64, 3) and np.abs(found - (200, 100, 50)).max() <= 2
    assert suffix in SUFFIXES and not set(SUFFIXES) & set(OTHER_SUFFIXES)


def test_a_phones_200_megapixels_are_read_and_more_are_refused(tmp_path):
    """Whole photos, in grey: a fourth of the memory, the same number of pixels."""
    for name, size in (("phone.jpg", (16320, 12240)), ("larger.jpg", (16384, 12300))):
        Image.new("L", size, 90).save(tmp_path / name)
    photo = load_image(tmp_path / "phone.jpg")
    assert photo.size == (16320, 12240) and photo.getextrema() == (90, 90)
    with pytest.raises(InputError, match=r"larger.jpg has more than 201,326,592 pixels; give a smaller image"):
        load_image(tmp_path / "larger.jpg")
