"""Who is followed, and what is said of it."""

from collections.abc import Callable

import numpy as np
import pytest
from prepare_data import person

from sa.runtime.errors import InputError
from sa.runtime.prepare.motion.persons import follow, lone_bodies
from sa.runtime.prepare.motion.tracking import EXPIRY, largest, visible_boxes

SIZE = (1024, 512)
ANNA, BERTA = np.eye(2, 512)  # embeddings of two faces


def nobody() -> np.ndarray:
    return np.zeros((0, 133, 3))


def people(*of: np.ndarray) -> np.ndarray:
    return np.stack(of)


def sightings(frames: list[np.ndarray], faces: dict[tuple[int, int], np.ndarray] | None = None) -> Callable:
    """The frames' persons; faces: of (frame, person)."""

    def gives():
        for number, keypoints in enumerate(frames):
            known = np.full((len(keypoints), 512), np.nan, np.float32)
            for (frame, one), face in (faces or {}).items():
                if frame == number:
                    known[one] = face
            yield keypoints, known

    return gives


def followed(frames: list[np.ndarray], number: int | None = None, cuts: tuple[int, ...] = (), faces=None):
    """The persons' indices, the frames from which it may be another, and the warnings."""
    warnings: list[str] = []
    found = follow(sightings(frames, faces), cuts, number, range(len(frames)), warnings)
    return found.chosen, found.unsure, warnings


def test_boxes_hold_the_visible_body_points():
    someone = person()
    someone[3:, 2] = 0.1
    box = visible_boxes(someone[None])[0]
    np.testing.assert_array_equal(box, [*someone[:3, :2].min(axis=0), *someone[:3, :2].max(axis=0)])
    someone[:, 2] = 0.3  # not above it
    assert np.isnan(visible_boxes(someone[None])).all() and largest(visible_boxes(someone[None])) is None


def test_the_largest_is_followed_through_changes_of_order():
    frames = [
        people(person(0.5), person(0.8, 400)),
        people(person(0.82, 380), person(0.7, 0)),
        people(person(0.9, 0), person(0.8, 360)),  # by then another is larger
    ]
    assert followed(frames)[:2] == ([1, 0, 1], [])


def test_a_number_is_followed_in_the_order_of_the_first_frame_with_several():
    frames = [
        people(person(0.5, 5)),
        people(person(0.8, 400), person(0.5, 10)),
        people(person(0.5, 15), person(0.8, 400)),
    ]
    assert followed(frames, 0)[0] == [None, 0, 1]
    assert followed(frames, 1)[0] == [0, 1, 0]


def test_who_is_hidden_is_not_taken_for_another():
    both, one = people(person(0.8, 400), person(0.5, 0)), people(person(0.5, 0))
    chosen, unsure, _ = followed([both, one, nobody(), people(person(0.5, 0), person(0.8, 420))])
    assert chosen == [0, None, None, 1] and not unsure


def test_two_who_pass_each_other_keep_their_numbers():
    """Their boxes are equal half way; the detector's order changes there."""
    frames = []
    for step in range(21):
        pair = [person(0.4, 20 * step), person(0.42, 400 - 20 * step)]
        frames.append(people(*(pair if step < 10 else pair[::-1])))
    assert followed(frames)[0] == [1] * 10 + [0] * 11


def test_a_stranger_who_walks_by_the_place_of_who_left_is_not_followed():
    """A person leaves to the left; another one, who was there all the time, passes there much later."""
    frames = [people(person(0.5, 100 - 10 * step), person(0.3, 700)) for step in range(10)]
    frames += [people(person(0.3, 700 - 10 * step)) for step in range(70)]
    chosen, unsure, warnings = followed(frames)
    assert chosen == [0] * 10 + [None] * 70 and not unsure
    assert warnings == [
        "the driving frames show up to 2 persons: one is followed, last seen in frame 9 of 79; choose another with "
        "--person, by the numbers in persons.png."
    ]


def test_a_single_person_may_jump_anywhere_and_it_is_said():
    chosen, unsure, warnings = followed([people(person(0.4, 0))] * 6 + [people(person(0.4, 700))] * 6)
    assert chosen == [0] * 12 and unsure == [6]
    assert warnings == [
        "the person who is followed may be another from frame 6 on: look at preview.mp4, and choose with --person or "
        "cut with --frames."
    ]


def test_a_ghost_in_one_frame_decides_nothing():
    """The estimator sees a second person in the first frame; then the dancer jumps and is alone."""
    frames = [people(person(0.3, 0), person(0.9, 300))] + [people(person(0.3, 2 * i)) for i in range(1, 8)]
    frames += [people(person(0.3, 800))] * 20
    chosen, unsure, _ = followed(frames)
    assert chosen == [0] * 28 and unsure == [8]


def test_a_dancer_who_is_missed_in_the_first_frame_is_the_largest_all_the_same():
    frames = [people(person(0.3, 800))] + [people(person(0.3, 800), person(0.8, 100 + i)) for i in range(8)]
    assert followed(frames)[0] == [None] + [1] * 8


def test_who_returns_after_long_is_followed_again_if_near():
    gone = [people(person(0.3, 800))] * (EXPIRY + 5)
    before = [people(person(0.5, 100), person(0.3, 800))] * 6
    near, far = ([people(person(0.3, 800), person(0.5, x))] * 6 for x in (140, 500))
    assert followed([*before, *gone, *near])[:2] == ([0] * 6 + [None] * len(gone) + [1] * 6, [6 + len(gone)])
    assert followed([*before, *gone, *far])[:2] == ([0] * 6 + [None] * (len(gone) + 6), [])


def test_after_a_cut_the_largest_is_followed_and_both_are_said():
    frames = [people(person(0.8, 200), person(0.4, 800))] * 6 + [people(person(0.4, 250), person(0.8, 700))] * 6
    chosen, unsure, warnings = followed(frames, cuts=(6,))
    assert chosen == [0] * 6 + [1] * 6 and unsure == [6]
    assert warnings[0] == (
        "the driving frames have a scene cut, at frame 6: take one scene with --frames 0:6 if the others do not belong "
        "to it."
    )
    assert "may be another from frame 6 on" in warnings[-1]


def test_a_face_says_who_goes_on():
    frames = [people(person(0.8, 200), person(0.4, 800))] * 6 + [people(person(0.4, 250), person(0.8, 700))] * 6
    faces = {(0, 0): ANNA, (0, 1): BERTA, (6, 0): ANNA, (6, 1): BERTA}
    assert followed(frames, cuts=(6,), faces=faces)[:2] == ([0] * 12, [])
    assert followed(frames, 1, cuts=(6,), faces=faces)[:2] == ([1] * 12, [])
    alone = [people(person(0.4, 0))] * 6 + [people(person(0.4, 700))] * 6
    assert followed(alone, faces={(0, 0): ANNA, (6, 0): BERTA})[0] == [0] * 6 + [None] * 6
    assert followed(alone, faces={(0, 0): ANNA, (6, 0): ANNA})[:2] == ([0] * 12, [])


def test_two_at_the_same_place_are_said():
    frames = [people(person(0.5, 170), person(0.5, 230))] + [people(person(0.5, 199), person(0.5, 201))] * 2
    assert followed(frames)[1] == [1, 2]


def test_frames_without_the_person_are_marked():
    frames = [people(person()), nobody(), people(person(1.0, 20))]
    warnings: list[str] = []
    persons = follow(sightings(frames), (), None, range(3), warnings)
    assert persons.chosen == [0, None, 0] and not warnings and persons.crowd is None
    assert not persons.keypoints[1].any()
    np.testing.assert_array_equal(persons.keypoints[2], frames[2][0])
    assert len(lone_bodies(frames, SIZE)) == 2


def test_frames_are_named_by_their_numbers_in_the_source():
    frames = [people(person(0.4, 0))] * 6 + [people(person(0.4, 700))] * 6
    warnings: list[str] = []
    follow(sightings(frames), (6,), None, range(100, 124, 2), warnings)
    assert "at frame 112: take one scene with --frames 100:112" in warnings[0] and "from frame 112 on" in warnings[1]


def test_nobody_to_follow_is_an_error():
    with pytest.raises(InputError, match="no driving frame shows a person"):
        followed([nobody(), nobody()])
    with pytest.raises(InputError, match="--person 2: no driving frame shows so many persons, at most 1"):
        followed([people(person())], 2)
