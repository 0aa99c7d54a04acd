"""From a photo and a driving video to a case, start to finish."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from sa.runtime import PROJECT
from sa.runtime.case.audio import AUDIO_FILE, read_audio, write_audio
from sa.runtime.case.identity import FILE as IDENTITY_FILE
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError
from sa.runtime.output.staging import resumable
from sa.runtime.output.video import encode_mp4
from sa.runtime.prepare.delivery import deliver_case, place_for_case
from sa.runtime.prepare.draw.people import number_people
from sa.runtime.prepare.draw.rendering import Renderer
from sa.runtime.prepare.driving_motion import Scenes, make_motion, place_published
from sa.runtime.prepare.driving_poses import estimate_driving, make_estimator, make_face_networks
from sa.runtime.prepare.estimate.estimator import check_device
from sa.runtime.prepare.given import read_given
from sa.runtime.prepare.input.drawn import drawn_warnings
from sa.runtime.prepare.input.driving import Driving, open_driving
from sa.runtime.prepare.input.keypoints.kept import FILE as KEYPOINTS_FILE
from sa.runtime.prepare.input.keypoints.kept import write_kept
from sa.runtime.prepare.input.photo import read_photo
from sa.runtime.prepare.motion.coverage import measure_coverage
from sa.runtime.prepare.motion.facing import facing
from sa.runtime.prepare.motion.persons import follow
from sa.runtime.prepare.motion.placing import place
from sa.runtime.prepare.motion.scenes import find_cuts
from sa.runtime.prepare.pose_log import PoseLog
from sa.runtime.prepare.record import find_sources, find_versions, seconds_a_frame, time_of
from sa.runtime.prepare.reference import Reference, ReferenceChoice, ReferenceFace, find_face, make_reference
from sa.runtime.prepare.settings import Settings, parameters_of
from sa.runtime.prepare.whole_body import to_pose
from sa.runtime.system.processors import usable_cores

FOLDER_FPS = 8.0  # of the preview, if the driving frames have no rate
PEOPLE_FILE = "persons.png"
MOST_WORKERS = 8  # each holds some frames and a canvas, 150 MB at 4K


def prepare_case(settings: Settings, out: Path, overwrite: bool, reporter: Reporter) -> dict:
    """Make the case in the folder `out` and return the contents of case.json.

    Resumes the work of an earlier command that was killed or interrupted. InputError for a flag or file that cannot be
    used.
    """
    sources = (settings.reference, settings.driving, settings.keypoints, settings.reference_keypoints, settings.models)
    out = place_for_case(out, overwrite, sources)
    check_device(settings.device)
    warnings: list[str] = []
    photo = read_photo(settings.reference, settings.background, settings.upstream, warnings)
    driving = open_driving(settings.driving, settings.frames, settings.fps, keep_rate=settings.upstream)
    given = read_given(settings.keypoints, settings.reference_keypoints, settings.reference, driving.digest, warnings)
    with reporter.stage("loading networks"):
        estimator = make_estimator(settings, given)
        networks = make_face_networks(settings)
    warnings += [] if networks is None else networks.warnings
    with reporter.stage("hashing sources"):
        models = [model.path for of in (estimator, networks) if of is not None for model in of.models]
        origin = {
            "versions": find_versions(),
            "parameters": parameters_of(settings),
            "sources": find_sources(settings, driving, given, models),
        }
    with resumable(out, origin) as folder:
        result = folder / "case"
        result.mkdir(exist_ok=True)
        with reporter.stage("reference"):
            if given.reference is not None:
                persons = given.reference.of(photo.size)
            else:
                assert estimator is not None  # see make_estimator
                persons = estimator(np.asarray(photo))
            path, upstream = settings.reference, settings.upstream
            choice = ReferenceChoice(
                settings.size, settings.reference_person, settings.fit, settings.background, upstream
            )
            reference = make_reference(photo, path, persons, choice, warnings)
            face = find_face(reference, path, networks, upstream, settings.identity, warnings)
            write_reference(result, reference, face)
        warnings += drawn_warnings(driving)
        warn(reporter, warnings)  # before the part that may take hours
        shown = len(warnings)
        with PoseLog(folder / "poses.log") as log:
            estimate_driving(driving, log, given, estimator, None if upstream else networks, reporter)
            taken = driving.selected[: log.frames]  # the end of a file may be missing
            with reporter.stage("motion"):
                cuts = find_cuts(log.glances())
                followed = follow(log.sightings, cuts, settings.person, taken, warnings, published=upstream)
                rate = driving.fps or FOLDER_FPS
                motion = make_motion(followed, settings.fill and not upstream, settings.smooth, rate, not upstream)
                pose = to_pose(motion.keypoints, *log.size)
                if upstream:
                    placed = place_published(pose, reference.pose, log, settings.size)
                else:
                    aspects = log.size[0] / log.size[1], settings.size[0] / settings.size[1]
                    placed = place(pose, reference.pose, *aspects, settings.anchor, settings.retarget == "limbs")
                inside, turned = measure_coverage(placed.pose), facing(placed.pose, reference.pose)
            warnings += placed.warnings + inside.warnings(taken, settings.anchor != "hips" and not upstream) + turned[1]
            if followed.crowd is not None and not upstream:
                write_people(result / PEOPLE_FILE, driving, log, followed.crowd)
            masks = not upstream or networks is not None
            detector = networks if upstream else None
            renderer = Renderer(result, reference.picture, upstream, detector, masks, min(usable_cores(), MOST_WORKERS))
            scenes = Scenes(driving, log, followed, motion.there, placed, inside, settings.everybody, upstream)
            with reporter.stage("drawing", log.frames) as advance:

                def previews() -> Iterator[Image.Image]:
                    for picture in renderer.render(scenes):
                        yield picture
                        advance()

                encode_mp4(result / "preview.mp4", previews(), rate)
            with reporter.stage("keeping keypoints"):
                write_kept(result / KEYPOINTS_FILE, log, list(taken), log.size, persons, photo.size)
            with reporter.stage("audio"):
                audible = copy_audio(driving, result / AUDIO_FILE, log.frames, warnings)
        warnings += given.warnings(photo.size, log.size) + driving.warnings + renderer.warnings()
        warn(reporter, warnings[shown:])
        framing = reference.framing
        report = {
            "project": PROJECT,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **origin,
            "frames": log.frames,
            "fps": driving.fps,
            "time": time_of(driving.timeline, taken),
            "audio": AUDIO_FILE if audible else None,
            "reference": {
                "photo_size": photo.size,
                "cut": [framing.left, framing.top, framing.left + framing.width, framing.top + framing.height],
                "padding": list(framing.padding(photo.size)),
                "face_from": face.source,
            },
            "alignment": {
                "method": "published" if upstream else "robust",
                "scale": placed.alignment.scale.tolist(),
                "offset": placed.alignment.offset.tolist(),
                "quality": asdict(placed.quality),
            },
            "motion": {
                "scene_cuts": followed.cuts,
                "may_be_another_from": followed.unsure,
                **turned[0],
                **motion.report,
            },
            "inside": inside.report(placed.pose),
            "frames_without_person": [number for number, there in enumerate(motion.there) if not there],
            "frames_without_face": renderer.without_face,
            "frames_black": renderer.black,
            "names": renderer.names,
            "warnings": warnings,
            "seconds": {name: round(value, 3) for name, value in reporter.seconds.items()},
            "seconds_a_frame": seconds_a_frame(reporter.seconds, renderer.seconds, log.frames),
        }
        deliver_case(result, report, out, overwrite)
    return report


def write_people(path: Path, driving: Driving, log: PoseLog, number: int) -> None:
    """The picture of frame `number` by whose numbers --person chooses."""
    frame = next(driving.frames(skip=number))
    number_people(frame.pixels, next(itertools.islice(log, number, None))).save(path)


def warn(reporter: Reporter, warnings: list[str]) -> None:
    for warning in warnings:
        reporter.warn(warning)


def write_reference(folder: Path, reference: Reference, face: ReferenceFace) -> None:
    reference.picture.save(folder / "reference.png")
    if face.mask is not None:
        Image.fromarray(face.mask).save(folder / "reference_mask.png")
    if face.embedding is not None:
        np.save(folder / IDENTITY_FILE, face.embedding)


def copy_audio(driving: Driving, path: Path, frames: int, warnings: list[str]) -> bool:
    """Write the driving video's audio, cut to the selected frames. False, and no file, if there is none to use."""
    if driving.audio_from is None or driving.fps is None:
        return False
    try:
        return write_audio(path, read_audio(driving.path, driving.audio_from, frames / driving.fps, only_flac=False))
    except InputError as error:
        path.unlink(missing_ok=True)
        warnings.append(f"the case gets no audio: {error}")
        return False
