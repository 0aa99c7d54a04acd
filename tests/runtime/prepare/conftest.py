"""What sa-prepare is given in the tests of this folder."""

from pathlib import Path

import pytest
from prepare_data import person, picture_file, write_keypoints
from prepared_cases import FRAMES


@pytest.fixture
def place(tmp_path) -> Path:
    """A photo of 128x128 pixels, six driving frames of 256x128 pixels, and where the person is in each."""
    picture_file(tmp_path / "photo.png", 128, 128)
    for i in range(FRAMES):
        picture_file(tmp_path / "frames" / f"f{i}.png", 256, 128, seed=i)
    write_keypoints(tmp_path / "poses.npz", [person(0.2, 40 + 4 * i, 10) for i in range(FRAMES)], person(0.25))
    return tmp_path
