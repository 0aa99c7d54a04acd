"""The files that a row spoils."""

import pytest
from following import frames, keypoints, photo


@pytest.fixture
def place(tmp_path):
    """A photo, two driving frames, and a file that says where the person is in each."""
    for make in (photo, frames, keypoints()):
        make(tmp_path)
    return tmp_path
