"""Masks to boxes, boxes to matrices."""

import numpy as np
import pytest
from PIL import Image
from shared import GOLDEN, relative

from sa.runtime.errors import InputError
from sa.runtime.refinement.crops import Box, crop_matrices
from sa.runtime.refinement.faces import read_targets


@pytest.fixture
def masks(tmp_path):
    """masks(array, ...): files holding these masks."""

    def write(*arrays):
        paths = []
        for i, array in enumerate(arrays):
            paths.append(tmp_path / f"mask_{i}.png")
            Image.fromarray(array.astype(np.uint8)).save(paths[-1])
        return paths

    return write


def marked(height, width, *boxes, value=255):
    mask = np.zeros((height, width))
    for top, bottom, left, right in boxes:
        mask[top : bottom + 1, left : right + 1] = value
    return mask


REFERENCE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))


def targets(masks, *faces, upstream=False, reference=None, height=64, width=48):
    warnings = []
    first, *rest = masks(marked(40, 30, (5, 25, 8, 20)) if reference is None else reference, *faces)
    return read_targets(REFERENCE, first, rest, height, width, upstream, warnings), warnings


def test_crop_matrices_are_the_published_crop_and_resize():
    with np.load(GOLDEN / "units" / "crop_resize.npz") as unit:
        x = unit["X"]
        for i, (top, bottom, left, right) in enumerate(unit["boxes"]):
            rows, columns = crop_matrices(Box(top, bottom, left, right), *x.shape[1:])
            faces = rows @ x @ columns.T
            assert relative(faces, unit[f"out_{i}"]) < 1e-5
            cotangent = np.linspace(-1, 1, faces.size).reshape(faces.shape)
            assert relative(rows.T @ cotangent @ columns, unit[f"grad_{i}"]) < 1e-5


def test_masks_in_frame_units_are_taken_as_they_are(masks):
    found, warnings = targets(masks, marked(64, 48, (3, 20, 10, 30), value=128))
    assert found.boxes == [Box(3, 20, 10, 30)] and warnings == []


def test_boxes_are_scaled_from_the_masks_size_to_the_frames(masks):
    found, _ = targets(masks, marked(128, 24, (10, 31, 2, 11)), marked(20, 20, (19, 19, 0, 0)))
    assert found.boxes == [Box(5, 15, 4, 23), Box(60, 63, 0, 2)]


@pytest.mark.parametrize(("side", "of"), [(576, 561), (448, 400), (960, 464), (896, 816), (64, 1360)])
def test_a_face_at_the_edge_stays_within_the_frame(side, of, masks):
    """Divided as floats, these sizes round past the last pixel."""
    found, _ = targets(masks, marked(of, of, (of // 2, of - 1, of // 2, of - 1)), height=side, width=side)
    (box,) = found.boxes
    assert (box.bottom, box.right) == (side - 1, side - 1)
    crop_matrices(box, side, side)


def test_the_largest_face_counts_and_a_speck_does_not(masks):
    face = marked(64, 48, (0, 1, 0, 1), (10, 30, 5, 25), (40, 45, 30, 40))
    face[31, 25] = face[32, 26] = 255  # touching at a corner only
    found, _ = targets(masks, face)
    assert found.boxes == [Box(10, 31, 5, 25)]


def test_a_face_of_many_runs_is_one(masks):
    """A ring, a comb and a spiral: runs that meet only further down."""
    comb = marked(64, 48, *[(5, 20, left, left + 1) for left in range(4, 30, 4)], (20, 20, 4, 29))
    found, _ = targets(masks, comb)
    assert found.boxes == [Box(5, 20, 4, 29)]


def test_frames_without_a_face_are_named_and_do_not_count(masks):
    face, none, white = marked(64, 48, (3, 20, 10, 30)), marked(64, 48), np.full((64, 48), 255)
    found, warnings = targets(masks, face, none, white, white, face, none)
    assert [box is None for box in found.boxes] == [False, True, True, True, False, True]
    assert len(warnings) == 1 and warnings[0].startswith("4 of 6 face masks mark no face") and "1-3, 5" in warnings[0]


def test_upstream_counts_255_alone_unscaled_unites_faces_and_takes_white_for_a_face(masks):
    two = marked(64, 48, (3, 9, 10, 12), (30, 33, 20, 40))
    two[50, 2] = 254
    beyond = marked(100, 100, (40, 90, 20, 80))
    found, warnings = targets(masks, two, beyond, np.full((64, 48), 255), upstream=True)
    assert found.boxes == [Box(3, 33, 10, 40), Box(40, 63, 20, 47), Box(0, 63, 0, 47)] and warnings == []


@pytest.mark.parametrize(
    ("face", "message"),
    [
        (marked(64, 48, (3, 9, 3, 9), value=254), "has no pixel of exactly 255, on which the published code fails"),
        (marked(100, 100, (80, 90, 20, 30)), "has a face outside the frame of 48x64 pixels"),
    ],
)
def test_upstream_is_refused_where_the_published_code_fails(masks, face, message):
    with pytest.raises(InputError, match=message):
        targets(masks, face, upstream=True)


def test_a_reference_or_a_video_without_any_face_is_refused(masks):
    with pytest.raises(InputError, match="marks no face"):
        targets(masks, marked(64, 48, (3, 9, 3, 9)), reference=marked(40, 30))
    with pytest.raises(InputError, match="no face mask in"):
        targets(masks, marked(64, 48), np.full((64, 48), 255))


def test_the_references_face_is_cropped_at_its_own_size(masks):
    found, _ = targets(masks, marked(64, 48, (3, 20, 10, 30)), reference=marked(40, 30, (0, 39, 0, 29)))
    assert found.reference.shape == (1, 3, 112, 112) and found.reference.dtype == np.float32
    assert -1 <= found.reference.min() < -0.9 and 0.9 < found.reference.max() <= 1
