"""Frames of an uploaded case get the numbers that they would have on a disk."""

import pytest
from hostile import archive, case, picture

from sa.runtime.errors import InputError
from sa.runtime.serve.upload.archives import unpack_case


def unpacked(tmp_path, members: dict[str, bytes]) -> set[str]:
    (tmp_path / "case.zip").write_bytes(archive(members))
    unpack_case(tmp_path / "case.zip", tmp_path / "case", 1000, 1 << 28, "case")
    return {str(path.relative_to(tmp_path / "case")) for path in (tmp_path / "case").rglob("*") if path.is_file()}


def test_the_number_that_differs_is_the_frames(tmp_path):
    names = ("reference.png", "poses/pose_0_v2.png", "poses/pose_10_v2.png", "poses/._pose_10_v2.png", "notes.txt")
    found = unpacked(tmp_path, {f"mine/{name}": picture() for name in names})
    assert found == {"reference.png", "poses/frame_0.png", "poses/frame_10.png"}


def test_two_frames_of_one_number_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"case: poses/0.png and frame_0.png carry the same number 0"):
        unpacked(tmp_path, case() | {"poses/0.png": picture()})
