"""Where windows lie, and which part of a chunk's loss goes through them."""

from types import SimpleNamespace

import numpy as np
import pytest

from sa.runtime.backends.composed.window_gradient import Window
from sa.runtime.contract import TensorSpec
from sa.runtime.refinement.crops import Box
from sa.runtime.refinement.faces import FaceTargets
from sa.runtime.refinement.hjb import VideoLoss
from sa.runtime.refinement.window import MARGIN, ChunkWindows, find_places, place_window

HEIGHT, WIDTH, SIZE = 192, 256, 96


def place(*boxes: Box) -> Window | None:
    return place_window(boxes, SIZE, HEIGHT, WIDTH)


def surrounds(window: Window, box: Box) -> bool:
    """The box and its margin are in the window, but where the frame ends."""
    sides = ((window.top, box.top, box.bottom, HEIGHT), (window.left, box.left, box.right, WIDTH))
    return all(
        start % 8 == 0
        and 0 <= start <= frame - SIZE
        and start <= max(first - MARGIN, 0)
        and start + SIZE >= min(last + 1 + MARGIN, frame)
        for start, first, last, frame in sides
    )


def test_a_window_is_around_the_middle_of_a_face():
    assert place(Box(80, 111, 120, 151)) == Window(48, 88, SIZE)  # middles at 96 and 136


@pytest.mark.parametrize(
    ("box", "window"),
    [
        (Box(0, 20, 0, 20), Window(0, 0, SIZE)),
        (Box(171, 191, 235, 255), Window(96, 160, SIZE)),
        (Box(0, 95 - MARGIN, 0, 95 - MARGIN), Window(0, 0, SIZE)),
        (Box(96 + MARGIN, 191, 160 + MARGIN, 255), Window(96, 160, SIZE)),
        (Box(5, 30, 100, 100), Window(0, 56, SIZE)),
    ],
)
def test_at_the_frames_edge_the_window_ends_with_the_frame(box, window):
    assert place(box) == window
    assert surrounds(window, box)


def test_every_face_that_fits_has_its_margin():
    generator, found = np.random.default_rng(0), 0
    for _ in range(2000):
        top, left = (int(generator.integers(size)) for size in (HEIGHT, WIDTH))
        box = Box(
            top, min(top + int(generator.integers(90)), HEIGHT - 1), left, min(left + int(generator.integers(90)), 255)
        )
        window = place(box)
        possible = [
            Window(y, x, SIZE)
            for y in range(0, HEIGHT - SIZE + 1, 8)
            for x in range(0, WIDTH - SIZE + 1, 8)
            if surrounds(Window(y, x, SIZE), box)
        ]
        assert (window is None) == (not possible)
        if window is not None:
            assert window in possible
            found += 1
    assert 1000 < found < 2000


def test_too_large_or_too_far_apart_is_no_window():
    assert place(Box(40, 40 + SIZE, 100, 110)) is None
    assert place(Box(40, 40 + SIZE - 1, 100, 110)) is None  # it would fit, its margin does not
    assert place(Box(20, 40, 20, 40), Box(30, 50, 200, 220)) is None


def test_one_window_is_around_all_faces_of_a_chunk():
    boxes = [Box(40, 60, 100, 120), Box(60, 90, 110, 130), Box(50, 80, 140, 160)]
    window = place(*boxes)
    assert window is not None and all(surrounds(window, box) for box in boxes)


def manifest(size=SIZE):
    window = None if size is None else SimpleNamespace(size=size)
    shapes = SimpleNamespace(height=HEIGHT, width=WIDTH, decode_chunk=2)
    return SimpleNamespace(shapes=shapes, refinement=SimpleNamespace(window=window))


NEAR, FAR, LARGE = Box(40, 60, 100, 120), Box(40, 60, 230, 250), Box(10, 150, 10, 60)
BOXES = [NEAR, NEAR, None, None, NEAR, None, NEAR, FAR, LARGE, None, FAR]  # the last chunk is shorter


def test_chunks_take_a_window_the_frame_or_nothing():
    places = find_places(BOXES, manifest(), window=True)
    assert set(places.windows) == {0, 4, 10} and places.full == (6, 8)
    assert places.windows[0] == places.windows[4] == place(NEAR) and places.windows[10] == place(FAR)
    for made, window in ((manifest(None), True), (manifest(), False)):
        everywhere = find_places(BOXES, made, window)
        assert not everywhere.windows and everywhere.full == (0, 4, 6, 8, 10)


class Frames:
    """A loss gradient of the whole frame: the loss is the sum of the weights, the gradient 1."""

    def __init__(self):
        self.contract = SimpleNamespace(inputs=[TensorSpec(name="latents", shape=((1, 2), 4, 24, 32))])
        self.starts = []

    def infer(self, inputs):
        self.starts.append(inputs["latents"][0, 0, 0, 0])
        return {"loss": inputs["weights"].sum(keepdims=True), "gradient": np.ones_like(inputs["latents"])}

    def infer_each(self, given):
        return map(self.infer, given)


class Parts:
    """The same of windows, with a gradient of 2."""

    def __init__(self):
        self.norms_of, self.calls = [], []

    def norms(self, latents):
        self.norms_of.append(latents[0, 0, 0, 0])
        return {0: latents}

    def gradient(self, latents, window, norms, face):
        self.calls.append((window, norms[0][0, 0, 0, 0], face))
        return float(face["weights"].sum()), np.full_like(latents, 2)


@pytest.fixture
def loss():
    places = find_places(BOXES, manifest(), window=True)
    engine, parts = Frames(), Parts()
    made = VideoLoss(
        engine, FaceTargets(None, BOXES), np.zeros((1, 8)), HEIGHT, WIDTH, 2, ChunkWindows(parts, places.windows)
    )
    return SimpleNamespace(of=made, frames=engine, parts=parts, places=places)


def numbered(shift=0.0):
    """Latents that hold the number of their frame."""
    return np.broadcast_to(
        np.arange(len(BOXES), dtype=np.float32).reshape(1, -1, 1, 1, 1) + shift, (1, len(BOXES), 4, 24, 32)
    ).copy()


def test_every_chunk_goes_where_its_place_is(loss):
    value, gradient = loss.of(numbered())
    assert value == pytest.approx(1.0)
    by_frame = gradient[0, :, 0, 0, 0].tolist()
    assert by_frame == [2, 2, 0, 0, 2, 2, 1, 1, 1, 1, 2]
    assert loss.frames.starts == [6, 8] and [call[0] for call in loss.parts.calls] == list(loss.places.windows.values())


def test_crops_are_those_of_the_window(loss):
    loss.of(numbered())
    for (window, _, face), start in zip(loss.parts.calls, loss.places.windows, strict=True):
        rows, columns = loss.of.crops(slice(start, start + 2))
        assert face["rows"].shape[1:] == face["columns"].shape[1:] == (112, SIZE)
        np.testing.assert_array_equal(face["rows"], rows[:, :, window.top : window.top + SIZE])
        np.testing.assert_array_equal(face["columns"], columns[:, :, window.left : window.left + SIZE])
        for matrix, whole in ((face["rows"], rows), (face["columns"], columns)):
            np.testing.assert_allclose(matrix.sum(axis=2), whole.sum(axis=2), rtol=1e-6)  # nothing was cut off


def test_norms_are_found_once_in_a_step(loss):
    for shift in (0, 0.25, 0.5):
        loss.of(numbered(shift))
    assert loss.parts.norms_of == [0, 4, 10]
    assert [norms for _, norms, _ in loss.parts.calls] == 3 * [0, 4, 10]
    loss.of.begin_step()
    loss.of(numbered(0.75))
    assert loss.parts.norms_of == [0, 4, 10, 0.75, 4.75, 10.75]
