"""What the demo shows of its results, where all pictures are known."""

import av
import numpy as np
import pytest
from PIL import Image

from sa.benchmarks import demo
from sa.benchmarks.puppet.cases import TRUTH

COLOURS = {"poses": (0, 0, 0), "plain": (0, 0, 255), "refined": (255, 255, 0), TRUTH: (0, 128, 0)}


@pytest.fixture
def drawn(tmp_path):
    """The overview and the video of a red reference and one colour for each kind of frame."""
    case = tmp_path / "case"
    places = {"poses": case / "poses", TRUTH: case / TRUTH}
    places |= {name: tmp_path / name / "frames" for name in ("plain", "refined")}
    for name, place in places.items():
        place.mkdir(parents=True)
        for frame in range(demo.FRAMES):
            Image.new("RGB", (128, 128), COLOURS[name]).save(place / f"frame_{frame}.png")
    Image.new("RGB", (128, 128), "red").save(case / "reference.png")
    video, overview = tmp_path / "side-by-side.mp4", tmp_path / "overview.png"
    demo.draw(case, tmp_path / "plain", tmp_path / "refined", video, overview)
    return video, overview


def test_the_video_has_reference_pose_result_refined_and_truth_side_by_side(drawn):
    with av.open(str(drawn[0])) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == demo.FRAMES
    height, width, _ = frames[0].shape
    wanted = [(255, 0, 0), *COLOURS.values()]
    for frame in (frames[0], frames[-1]):
        found = [frame[height // 2, width * (2 * column + 1) // 10] for column in range(5)]
        assert np.abs(np.array(found, int) - wanted).max() < 12  # H.264 is not exact


def test_the_overview_has_a_row_of_every_kind_beside_the_reference(drawn):
    with Image.open(drawn[1]) as image:
        pixels = np.asarray(image.convert("RGB"))
    rows, columns = len(COLOURS), len(demo.SHOWN) + 1
    centres = np.array([[pixels[66 + 130 * y, 66 + 130 * x] for x in range(columns)] for y in range(rows)])
    assert centres[0, 0].tolist() == [255, 0, 0] and (centres[1:, 0] == 255).all()
    for row, colour in zip(centres, COLOURS.values(), strict=True):
        assert (row[1:] == colour).all()
