"""Chooses the reference's person, and follows one person through the driving frames."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.prepare.motion.linking import Link, chain, largest_at_first
from sa.runtime.prepare.motion.tracking import Track, Tracker, largest, visible_boxes
from sa.runtime.prepare.whole_body import BODY, KEYPOINTS, to_pose

NAMED_AT_MOST = 8  # frames in a warning


@dataclass(frozen=True)
class DrivingPersons:
    """The person that is followed."""

    chosen: list[int | None]  # per frame, the person's index
    keypoints: np.ndarray  # [frames, 133, 3] of the person, in pixels of the frames; zeros where it is not seen
    cuts: list[int]  # frames that begin another scene
    unsure: list[int]  # frames from which on it may be another person
    crowd: int | None  # the first frame that shows several persons, by whose order they are numbered


@dataclass(frozen=True)
class _Sighted:
    """What one pass over the frames finds."""

    tracks: list[Track]
    owners: list[list[int | None]]  # per frame and person, the number of its track

    def there(self, frame: int) -> list[int]:
        """The persons with a visible body point."""
        return [person for person, owner in enumerate(self.owners[frame]) if owner is not None]

    @property
    def most(self) -> int:
        return max((len(self.there(frame)) for frame in range(len(self.owners))), default=0)


def reference_person(keypoints: np.ndarray, path: Path, upstream: bool, warnings: list[str]) -> int:
    """The index of the reference among keypoints [persons, 133, 3]; InputError if there is nobody.

    It is the largest person or, if `upstream`, the first, which is the most certain.
    """
    boxes = visible_boxes(keypoints)
    found = 0 if upstream else largest(boxes) or 0
    there = int((~np.isnan(boxes[:, 0])).sum())
    if not there or np.isnan(boxes[found, 0]):
        raise InputError(
            f"{path} shows no person: no body point was found in it; give --reference a photo of a person, "
            "best from head to foot."
        )
    if there > 1:
        which = "most certain" if upstream else "largest"
        warnings.append(f"{path} shows {there} persons: the {which} is taken; choose another with --reference-person.")
    return found


def follow(
    sightings: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]],
    cuts: Sequence[int],
    person: int | None,
    sources: Sequence[int],
    warnings: list[str],
    published: bool = False,
) -> DrivingPersons:
    """Follow one person through all frames.

    sightings: gives every frame's keypoints [persons, 133, 3] and face embeddings [persons, 512], twice; cuts: frames
    that begin another scene; person: a number in the order of the first frame that shows several persons, None for the
    largest; sources: the frames' numbers in the source, which warnings name; published: everybody is drawn, so that
    nobody can be chosen. InputError if no frame shows a person, or none shows a person number `person`.
    """
    sighted = _sight(sightings(), cuts)
    if not sighted.tracks:
        raise InputError("no driving frame shows a person: give --driving a video of a person, best from head to foot.")
    crowd = next((frame for frame in range(len(sighted.owners)) if len(sighted.there(frame)) > 1), None)
    start = _start(sighted, person, crowd)
    alone = [len(sighted.there(frame)) == 1 for frame in range(len(sighted.owners))]
    links = chain(sighted.tracks, sighted.tracks[start], cuts, alone)
    whose = {link.track.number for link in links}
    chosen = [next((i for i, owner in enumerate(owners) if owner in whose), None) for owners in sighted.owners]
    keypoints = np.zeros((len(chosen), KEYPOINTS, 3))
    for frame, ((persons, _), found) in enumerate(zip(sightings(), chosen, strict=True)):
        if found is not None:
            keypoints[frame] = persons[found]
    unsure = sorted({frame for link in links for frame in (*_began(link), *link.track.unclear)})
    followed = DrivingPersons(chosen, keypoints, list(cuts), unsure, crowd)
    warnings += _warnings(followed, sighted.most, sources, published)
    return followed


def _sight(frames: Iterable[tuple[np.ndarray, np.ndarray]], cuts: Sequence[int]) -> _Sighted:
    tracker = Tracker()
    sighted = _Sighted(tracker.tracks, [])
    for frame, (keypoints, faces) in enumerate(frames):
        sighted.owners.append(tracker.follow(keypoints, faces, frame in cuts))
    return sighted


def _start(sighted: _Sighted, person: int | None, crowd: int | None) -> int:
    """The number of the track of the wanted person; InputError if there is none."""
    if person is None:
        return largest_at_first(sighted.tracks).number
    for frame in range(crowd or 0, len(sighted.owners)):
        there = sighted.there(frame)
        if person < len(there) and (owner := sighted.owners[frame][there[person]]) is not None:
            return owner
    raise InputError(
        f"--person {person}: no driving frame shows so many persons, at most {sighted.most}, counted from 0."
    )


def _began(link: Link) -> list[int]:
    return [] if link.sure else [link.track.first]


def _warnings(followed: DrivingPersons, most: int, sources: Sequence[int], published: bool) -> list[str]:
    sentences = []
    if followed.cuts:
        one = len(followed.cuts) == 1
        sentences.append(
            f"the driving frames have {'a scene cut' if one else f'{len(followed.cuts)} scene cuts'}, at frame "
            f"{name_frames(followed.cuts, sources)}: take one scene with --frames {sources[0]}:"
            f"{sources[followed.cuts[0]]} if the others do not belong to it."
        )
    if published:
        if most > 1:
            sentences.append(
                f"the driving frames show up to {most} persons: all are drawn, as published; leave out --compat "
                "upstream to follow one."
            )
        return sentences
    if most > 1:
        last = max(frame for frame, found in enumerate(followed.chosen) if found is not None)
        sentences.append(
            f"the driving frames show up to {most} persons: one is followed, last seen in frame {sources[last]} of "
            f"{sources[-1]}; choose another with --person, by the numbers in persons.png."
        )
    if followed.unsure:
        sentences.append(
            f"the person who is followed may be another from frame {name_frames(followed.unsure, sources)} on: look at "
            "preview.mp4, and choose with --person or cut with --frames."
        )
    return sentences


def name_frames(frames: Sequence[int], sources: Sequence[int]) -> str:
    """Frames in words, by their numbers in the source: the first of them, and how many more there are."""
    named = ", ".join(str(sources[frame]) for frame in frames[:NAMED_AT_MOST])
    more = len(frames) - NAMED_AT_MOST
    return f"{named} and {more} more" if more > 0 else named


def lone_bodies(frames: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """[n, 18, 2] body points in shares of the picture, from frames with exactly one person, seen or not."""
    bodies = [to_pose(keypoints, *size).points[0, BODY] for keypoints in frames if len(keypoints) == 1]
    return np.reshape(bodies, (-1, 18, 2))
