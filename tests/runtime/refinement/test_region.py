"""Where the refinement may move latents."""

import numpy as np
import pytest

from sa.runtime.refinement.crops import Box
from sa.runtime.refinement.region import face_region

SIZE = 128  # 16 latents a side


def region(*boxes: Box | None) -> np.ndarray:
    made = face_region(boxes, SIZE, SIZE)
    assert made.shape == (1, len(boxes), 1, 16, 16) and made.dtype == np.float32
    return made[0, :, 0]


def test_the_face_moves_wholly_and_what_is_far_not_at_all():
    (found,) = region(Box(48, 79, 40, 63))  # latents 6 to 9 down and 5 to 7 across
    assert (found[5:11, 4:9] == 1).all()  # with a margin of one latent
    assert not found[:3].any() and not found[13:].any() and not found[:, :2].any() and not found[:, 11:].any()


def test_the_edge_is_smooth():
    (found,) = region(Box(48, 79, 40, 63))
    np.testing.assert_allclose(found[7, 8:12], [1, 0.75, 0.25, 0])
    np.testing.assert_allclose(found[3, 6], 0.25)
    np.testing.assert_allclose(found[3, 9], 0.25 * 0.75)
    np.testing.assert_array_equal(found, np.clip(found, 0, 1))


@pytest.mark.parametrize("box", [Box(0, 20, 0, 20), Box(110, 127, 100, 127), Box(0, 127, 0, 127), Box(64, 64, 64, 64)])
def test_faces_at_the_frames_edge_and_of_any_size(box):
    (found,) = region(box)
    middle = (box.top + box.bottom) // 2 // 8, (box.left + box.right) // 2 // 8
    assert found[middle] == 1


def test_every_frame_has_its_own_and_none_without_a_face():
    first, none, second = region(Box(0, 15, 0, 15), None, Box(112, 127, 112, 127))
    assert first[0, 0] == 1 and not first[8:].any() and not none.any()
    np.testing.assert_array_equal(second, first[::-1, ::-1])
