"""Where a row's files lie."""

from shutil import rmtree

import pytest


@pytest.fixture
def place(tmp_path):
    """A folder of the row's own, not kept: the weights of many rows would fill a disk."""
    yield tmp_path
    rmtree(tmp_path)
