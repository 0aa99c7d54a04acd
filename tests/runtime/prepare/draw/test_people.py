"""The picture by whose numbers --person chooses."""

import numpy as np
from prepare_data import person

from sa.runtime.prepare.draw.people import COLOURS, number_people


def coloured(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """x0, y0, x1, y1 of what has this colour."""
    rows, columns = np.nonzero((picture == colour).all(axis=-1))
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()])


def test_everybody_gets_a_box_in_a_colour_of_its_own():
    two = np.stack([person(0.5, 20, 60), np.zeros((133, 3)), person(0.5, 700, 60)])
    picture = np.asarray(number_people(np.zeros((512, 1024, 3), np.uint8), two))
    assert picture.shape == (512, 1024, 3)
    for one, colour in zip((two[0], two[2]), COLOURS, strict=False):  # who is missing gets no number
        body = one[:17, :2]
        left, top, right, bottom = coloured(picture, colour)
        assert left <= body[:, 0].min() and right >= body[:, 0].max() - 2
        assert top <= body[:, 1].min() and bottom >= body[:, 1].max() - 2
        assert right - left < 1.4 * np.ptp(body[:, 0]) + 20
