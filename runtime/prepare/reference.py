"""Makes the case's reference from the photo: cuts it to size, marks the face and embeds the identity."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from sa.runtime.case.images import WHITE
from sa.runtime.errors import InputError
from sa.runtime.prepare.draw.face_boxes import draw_mask, face_box
from sa.runtime.prepare.estimate.face_networks import (
    FEATURES,
    Face,
    FaceNetworks,
    five_points,
    published_boxes,
    reference_face,
)
from sa.runtime.prepare.estimate.models import FACE_DETECTOR
from sa.runtime.prepare.input.framing import Fit, Framing, frame_person, frame_whole
from sa.runtime.prepare.motion.facing import from_behind
from sa.runtime.prepare.motion.persons import reference_person
from sa.runtime.prepare.motion.tracking import visible_boxes
from sa.runtime.prepare.whole_body import BODY, FACE, Pose, to_pose
from sa.runtime.refinement.crops import Box

WITHOUT_IDENTITY = "--identity none: no identity.npy was made, so the person's face will not be kept."
DETECTOR, POINTS, ZEROS = "face detector", "the pose's face points", "none: zeros"  # where a face comes from


@dataclass(frozen=True)
class Reference:
    framing: Framing
    picture: Image.Image  # at the output's size
    cut: np.ndarray  # [h, w, 3] uint8 RGB, the same part of the photo in its own resolution
    pose: Pose  # of the chosen person, in shares of the output


@dataclass(frozen=True)
class ReferenceFace:
    mask: np.ndarray | None  # [H, W] uint8 at the output's size, 255 in the face
    embedding: np.ndarray | None  # [512] float32, not normalised
    source: str | None  # where both come from


@dataclass(frozen=True)
class ReferenceChoice:
    """How the reference is made of the photo."""

    size: tuple[int, int]  # width and height of the output
    person: int | None = None  # whom to take, counted from 0 from left to right; None: the largest
    fit: Fit = "crop"
    ground: tuple[int, int, int] = WHITE  # of what is padded
    upstream: bool = False


def make_reference(
    photo: Image.Image, path: Path, keypoints: np.ndarray, choice: ReferenceChoice, warnings: list[str]
) -> Reference:
    """keypoints: [persons, 133, 3] in the photo's pixels. InputError without a person or if the cut would be empty."""
    size = choice.size
    if choice.person is None:
        chosen = reference_person(keypoints, path, choice.upstream, warnings)
    else:
        chosen = _from_left(keypoints, choice.person, path)
    person = keypoints[chosen : chosen + 1]
    if choice.fit == "pad":
        framing = frame_whole(photo.size, size, choice.ground)
    else:
        framing = frame_person(photo.size, size, visible_boxes(person)[0])
    pose = to_pose(framing.keypoints(person), *size)
    body, seen = pose.points[0, BODY], pose.seen[0, BODY]
    outside = int(np.any((body < 0) | (body > 1), axis=1)[seen].sum())
    if outside:
        warnings.append(
            f"{path} is cut to the shape {size[0]}x{size[1]}, which leaves out {outside} of {seen.sum()} visible body "
            "points: keep the whole photo with --fit pad, or choose a --size nearer to its shape, as --size auto does."
        )
    if min(framing.width / size[0], framing.height / size[1]) < 0.5:
        warnings.append(
            f"{path} is enlarged from {framing.width}x{framing.height} to {size[0]}x{size[1]} pixels: "
            "give a photo of higher resolution."
        )
    return Reference(framing, framing.reference(photo), np.asarray(framing.cut(photo)), pose)


def _from_left(keypoints: np.ndarray, number: int, path: Path) -> int:
    """The index of person `number` of those with visible points, from left to right; InputError if it is not there."""
    boxes = visible_boxes(keypoints)
    there = [int(index) for index in np.argsort(boxes[:, 0] + boxes[:, 2]) if not np.isnan(boxes[index, 0])]
    if number >= len(there):
        raise InputError(
            f"--reference-person {number}: {path} shows {len(there)} persons, counted from 0 from left to right."
        )
    return there[number]


def find_face(
    reference: Reference,
    path: Path,
    networks: FaceNetworks | None,
    upstream: bool,
    identity: bool,
    warnings: list[str],
) -> ReferenceFace:
    """The reference's face, from the networks or else from the pose's face points; InputError if both find none.

    identity: whether an embedding is wanted.
    """
    if upstream and networks is not None:
        return _published_face(reference, networks, warnings)
    points, seen = reference.pose.points[0, FACE], reference.pose.seen[0, FACE]
    in_cut = points * reference.cut.shape[1::-1]
    size = reference.picture.size
    if from_behind(reference.pose)[0] == 1:
        return _no_face(path, networks, warnings)
    detected = None
    if networks is not None:
        near = in_cut[seen].mean(axis=0) if seen.any() else None
        detected = reference_face(reference.cut, networks, near)
        if detected is not None and (boxes := published_boxes([_scaled(detected, reference)], *size)):
            return ReferenceFace(
                draw_mask(boxes, *size), _embedding(networks, reference, detected.points, warnings), DETECTOR
            )
    if networks is None:
        return _mask_of_pose(reference, identity, warnings)
    return _face_of_pose(reference, path, networks, in_cut, seen, warnings)


def _no_face(path: Path, networks: FaceNetworks | None, warnings: list[str]) -> ReferenceFace:
    """InputError if an identity is wanted of a person whose face is not seen."""
    if networks is not None and networks.recognises:
        raise InputError(
            f"{path} shows the person from behind, as its pose has shoulders, but neither nose nor eyes: give "
            "--reference a photo whose face is visible, or --identity none."
        )
    return _without_face(path, warnings)


def _without_face(path: Path, warnings: list[str]) -> ReferenceFace:
    warnings.append(f"{path} shows no face: no reference_mask.png and no identity.npy were made.")
    return ReferenceFace(None, None, None)


def _embedding(
    networks: FaceNetworks, reference: Reference, points: np.ndarray, warnings: list[str]
) -> np.ndarray | None:
    """The embedding of the face with these five points, unless none is wanted."""
    if networks.recognises:
        return networks.embedding(reference.cut, points)
    warnings.append(WITHOUT_IDENTITY)
    return None


def _mask_of_pose(reference: Reference, identity: bool, warnings: list[str]) -> ReferenceFace:
    """The face mask from the pose's face points, without any network."""
    box = face_box(reference.pose.points[0], reference.pose.scores[0], *reference.picture.size)
    lacking = (
        "no identity.npy was made, as --models is not given: give it here or to sa-run, or give sa-run --identity."
    )
    warnings.append(lacking if identity else WITHOUT_IDENTITY)
    if box is None:
        warnings.append("no reference_mask.png was made, as the reference's pose has no face points.")
        return ReferenceFace(None, None, None)
    return ReferenceFace(draw_mask([box], *reference.picture.size), None, POINTS)


def _face_of_pose(
    reference: Reference,
    path: Path,
    networks: FaceNetworks,
    in_cut: np.ndarray,
    seen: np.ndarray,
    warnings: list[str],
) -> ReferenceFace:
    """The face from the pose's face points, if no detector found one. in_cut: [68, 2], these points in the cut."""
    size = reference.picture.size
    box = face_box(reference.pose.points[0], reference.pose.scores[0], *size)
    mask = draw_mask([box], *size) if box is not None else None
    five = five_points(in_cut, seen)
    if networks.recognises and (mask is None or five is None):
        found, put = "neither the face detector nor the pose found one", ""
        if not networks.detects:
            found = f"{networks.folder} holds no face detector, and the pose has no face points"
            put = f"put {FACE_DETECTOR.file} there, "
        raise InputError(
            f"{path} shows no face: {found}; {put}give --reference a photo whose face is visible, or --identity none."
        )
    if mask is None or five is None:
        return _without_face(path, warnings)
    why = "found no face" if networks.detects else f"is not in {networks.folder}"
    made = "reference_mask.png and identity.npy were" if networks.recognises else "reference_mask.png was"
    warnings.append(f"the face detector {why}: {made} made from the pose's face points instead.")
    return ReferenceFace(mask, _embedding(networks, reference, five, warnings), POINTS)


def _published_face(reference: Reference, networks: FaceNetworks, warnings: list[str]) -> ReferenceFace:
    """As published: every face in the mask and the largest face's embedding; without a face, white and zeros."""
    size = reference.picture.size
    faces = networks.detect(reference.cut)
    largest = max(faces, key=lambda face: face.area, default=None)
    if largest is None:
        warnings.append(
            "--compat upstream: no face was detected in the reference, so its mask is white and identity.npy is zeros: "
            "the person's face will not be kept; the published code tries facexlib's detector first, which is not here."
        )
        return ReferenceFace(_white(size), np.zeros(FEATURES, np.float32), ZEROS)
    boxes = published_boxes([_scaled(face, reference) for face in faces], *size)
    return ReferenceFace(draw_mask(boxes, *size), networks.embedding(reference.cut, largest.points), DETECTOR)


def _scaled(face: Face, reference: Reference) -> Face:
    """From the cut's pixels to the output's."""
    scale = np.divide(reference.picture.size, reference.cut.shape[1::-1])
    return replace(face, box=face.box * np.tile(scale, 2), points=face.points * scale)


def _white(size: tuple[int, int]) -> np.ndarray:
    return draw_mask([Box(0, size[1] - 1, 0, size[0] - 1)], *size)
