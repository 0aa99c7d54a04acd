"""--poses-ready: a case of a photo and poses that are drawn already. Nothing is estimated, aligned or drawn."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sa.runtime import PROJECT
from sa.runtime.case.case import open_pose
from sa.runtime.case.images import WHITE
from sa.runtime.case.meaning import PoseCheck
from sa.runtime.case.numbering import numbered_images
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError
from sa.runtime.output.staging import resumable
from sa.runtime.output.video import frame_path
from sa.runtime.prepare.delivery import deliver_case, place_for_case
from sa.runtime.prepare.estimate.estimator import check_device
from sa.runtime.prepare.estimate.face_networks import FaceNetworks
from sa.runtime.prepare.input.framing import Framing
from sa.runtime.prepare.input.photo import read_photo
from sa.runtime.prepare.preparation import warn, write_reference
from sa.runtime.prepare.record import find_versions
from sa.runtime.prepare.reference import Reference, find_face
from sa.runtime.prepare.whole_body import KEYPOINTS, Pose
from sa.runtime.system.hashing import digest_of, sha256

SHAPE = 0.02  # how far the photo's aspect may be from the poses'


@dataclass(frozen=True)
class ReadySettings:
    reference: Path
    poses: Path
    models: Path | None = None
    identity: bool = True
    background: tuple[int, int, int] = WHITE
    device: str = "cpu"


def prepare_ready(settings: ReadySettings, out: Path, overwrite: bool, reporter: Reporter) -> dict:
    """Make the case in the folder `out` and return the contents of case.json; InputError for what does not fit."""
    out = place_for_case(out, overwrite, (settings.reference, settings.poses, settings.models))
    check_device(settings.device)
    warnings: list[str] = []
    photo = read_photo(settings.reference, settings.background, False, warnings)
    poses = numbered_images(settings.poses, "poses frame_0.png, frame_1.png, ...")
    with reporter.stage("checking poses"):
        size = _common_size(list(poses.values()), warnings)
    _require_shape(settings, photo.size, size)
    networks = None
    if settings.models is not None:
        networks = FaceNetworks(settings.models, settings.device, identity=settings.identity)
        warnings += networks.warnings
    sources = {
        "reference": {"path": str(settings.reference), "sha256": sha256(settings.reference)},
        "poses": {"path": str(settings.poses), "sha256": digest_of(settings.poses)},
    }
    origin = {"versions": find_versions(), "parameters": {"identity": settings.identity}, "sources": sources}
    with resumable(out, origin) as folder:
        result = folder / "case"
        (result / "poses").mkdir(parents=True, exist_ok=True)
        framing = Framing(0, 0, *photo.size, size)
        nobody = Pose(np.zeros((1, KEYPOINTS + 1, 2)), np.zeros((1, KEYPOINTS + 1)))
        reference = Reference(framing, framing.reference(photo), np.asarray(photo), nobody)
        face = find_face(reference, settings.reference, networks, False, settings.identity, warnings)
        write_reference(result, reference, face)
        names = {}
        for number, pose in enumerate(poses.values()):
            target = frame_path(result / "poses", number)
            names[target.name] = pose.name
            open_pose(pose).save(target)
        warnings.append("no faces/ were made, as the poses' points are not known: sa-run --refine needs them.")
        warn(reporter, warnings)
        report = {
            "project": PROJECT,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **origin,
            "frames": len(names),
            "fps": None,
            "reference": {"photo_size": photo.size, "face_from": face.source},
            "names": names,
            "warnings": warnings,
        }
        deliver_case(result, report, out, overwrite)
    return report


def _common_size(poses: list[Path], warnings: list[str]) -> tuple[int, int]:
    """Width and height of all poses; InputError for poses of several sizes."""
    check, size = PoseCheck(), None
    for path in poses:
        pose = open_pose(path)
        check.add(pose, str(path))
        if size is not None and pose.size != size:
            raise InputError(
                f"{path} is {pose.width}x{pose.height}, the poses before are {size[0]}x{size[1]}: give poses of one "
                "size."
            )
        size = pose.size
    assert size is not None  # see numbered_images
    warnings += check.warnings()
    return size


def _require_shape(settings: ReadySettings, photo: tuple[int, int], size: tuple[int, int]) -> None:
    if abs(photo[0] / photo[1] * size[1] / size[0] - 1) > SHAPE:
        raise InputError(
            f"{settings.reference} is {photo[0]}x{photo[1]}, but the poses are {size[0]}x{size[1]}, of another shape: "
            "cut the photo to the part that the poses were drawn for."
        )
