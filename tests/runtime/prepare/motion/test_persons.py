"""Who is followed."""

import numpy as np
import pytest
from prepare_data import person

from sa.runtime.errors import InputError
from sa.runtime.prepare.motion.persons import follow, lone_bodies
from sa.runtime.prepare.motion.tracking import Tracker, largest, visible_boxes

SIZE = (1024, 512)


def nobody() -> np.ndarray:
    return np.zeros((0, 133, 3))


def people(*of: np.ndarray) -> np.ndarray:
    return np.stack(of)


def test_boxes_hold_the_visible_body_points():
    someone = person()
    someone[3:, 2] = 0.1
    box = visible_boxes(someone[None])[0]
    np.testing.assert_array_equal(box, [*someone[:3, :2].min(axis=0), *someone[:3, :2].max(axis=0)])
    someone[:, 2] = 0.3  # not above it
    assert np.isnan(visible_boxes(someone[None])).all() and largest(visible_boxes(someone[None])) is None


def test_the_largest_is_followed_through_changes_of_order():
    tracker = Tracker(None)
    assert tracker.follow(people(person(0.5), person(0.8, 400))) == 1
    assert tracker.follow(people(person(0.82, 380), person(1.0, 0))) == 0  # by then another is larger
    assert tracker.follow(people(person(1.0, 0), person(0.8, 360))) == 1


def test_a_number_is_followed():
    tracker = Tracker(1)
    assert tracker.follow(people(person())) is None  # not yet so many
    assert tracker.follow(people(person(0.8, 400), person(0.5))) == 1
    assert tracker.follow(people(person(0.5, 10), person(0.8, 400))) == 0


def test_who_is_hidden_is_not_taken_for_another():
    tracker = Tracker(None)
    tracker.follow(people(person(0.8, 400), person(0.5, 0)))
    assert tracker.follow(people(person(0.5, 0))) is None
    assert tracker.follow(nobody()) is None
    assert tracker.follow(people(person(0.5, 0), person(0.8, 420))) == 1


def test_a_single_person_may_jump_anywhere():
    tracker = Tracker(None)
    assert tracker.follow(people(person(0.4, 0))) == 0
    assert tracker.follow(people(person(0.4, 700))) == 0


def test_frames_without_the_person_are_marked():
    frames = [people(person()), nobody(), people(person(1.0, 20))]
    warnings = []
    persons = follow(frames, SIZE, None, warnings)
    assert persons.chosen == [0, None, 0] and not warnings
    assert not persons.scores[1].any() and persons.scores[2].all()
    np.testing.assert_allclose(persons.points[2, 0] * SIZE, frames[2][0, 0, :2])
    assert len(lone_bodies(frames, SIZE)) == 2


def test_several_persons_are_said():
    warnings = []
    follow([people(person(0.8, 400), person(0.5))] * 2 + [people(person(0.5))], SIZE, None, warnings)
    assert warnings == [
        "the driving frames show up to 2 persons: one is followed, last seen in frame 1 of 2; "
        "choose another with --person."
    ]


def test_nobody_to_follow_is_an_error():
    with pytest.raises(InputError, match="no driving frame shows a person"):
        follow([nobody(), nobody()], SIZE, None, [])
    with pytest.raises(InputError, match="--person 2: no driving frame shows so many persons, at most 1"):
        follow([people(person())], SIZE, 2, [])
