"""From a photo and a driving video to a case, start to finish."""

import itertools
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import av
import cv2
import insightface
import numpy as np
import onnxruntime
from PIL import Image

from sa.runtime import PROJECT
from sa.runtime.case.audio import AUDIO_FILE, read_audio, write_audio
from sa.runtime.case.case import CASE_FILE
from sa.runtime.case.identity import FILE as IDENTITY_FILE
from sa.runtime.case.images import WHITE
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError
from sa.runtime.output.staging import replace_entry, resumable
from sa.runtime.output.video import encode_mp4
from sa.runtime.prepare.draw.people import number_people
from sa.runtime.prepare.draw.rendering import Renderer
from sa.runtime.prepare.driving_motion import Scenes, make_motion, place_published
from sa.runtime.prepare.estimate.estimator import PoseEstimator, check_device
from sa.runtime.prepare.estimate.face_networks import FaceNetworks, recognise
from sa.runtime.prepare.estimate.models import FACE_DETECTOR, PERSON_DETECTOR, POSE_NETWORK, require_model
from sa.runtime.prepare.given import Given, read_given
from sa.runtime.prepare.input.drawn import drawn_warnings
from sa.runtime.prepare.input.driving import Driving, open_driving
from sa.runtime.prepare.input.framing import Fit
from sa.runtime.prepare.input.keypoints.kept import FILE as KEYPOINTS_FILE
from sa.runtime.prepare.input.keypoints.kept import write_kept
from sa.runtime.prepare.input.photo import read_photo
from sa.runtime.prepare.input.timeline import Selection
from sa.runtime.prepare.motion.coverage import measure_coverage
from sa.runtime.prepare.motion.facing import facing
from sa.runtime.prepare.motion.persons import follow
from sa.runtime.prepare.motion.placing import place
from sa.runtime.prepare.motion.scenes import find_cuts, glance
from sa.runtime.prepare.pose_log import PoseLog
from sa.runtime.prepare.reference import Reference, ReferenceChoice, ReferenceFace, find_face, make_reference
from sa.runtime.prepare.timing import seconds_a_frame, time_of
from sa.runtime.prepare.whole_body import to_pose
from sa.runtime.system import signals
from sa.runtime.system.hashing import digest_of, sha256
from sa.runtime.system.processors import usable_cores

FOLDER_FPS = 8.0  # of the preview, if the driving frames have no rate
PEOPLE_FILE = "persons.png"
MOST_WORKERS = 8  # each holds some frames and a canvas, 150 MB at 4K
FACES_EVERY = 10  # frames; faces are recognised whenever the number of persons changes too


@dataclass(frozen=True)
class Settings:
    """The flags of sa-prepare that affect the result."""

    reference: Path
    driving: Path
    size: tuple[int, int] = (512, 512)  # width and height
    frames: Selection = field(default_factory=Selection)
    person: int | None = None  # to follow: a number in the first frame's order; None: the largest
    everybody: bool = False  # draw all persons, not only the one that is followed
    fps: float | None = None  # to resample a video to, or of a folder's frames
    anchor: str = "none"  # first or hips
    retarget: str = "body"  # or limbs
    fill: bool = True  # short gaps
    smooth: bool = False
    models: Path | None = None
    keypoints: Path | None = None
    reference_keypoints: Path | None = None
    device: str = "cpu"
    upstream: bool = False
    fit: Fit = "crop"  # how the photo becomes an image of that size
    reference_person: int | None = None  # in the photo, from left to right; None: the largest
    identity: bool = True  # False: no embedding, and no recogniser is needed
    background: tuple[int, int, int] = WHITE  # behind a transparent photo


def prepare_case(settings: Settings, out: Path, overwrite: bool, reporter: Reporter) -> dict:
    """Make the case in the folder `out` and return the contents of case.json.

    Resumes the work of an earlier command that was killed or interrupted. InputError for a flag or file that cannot be
    used.
    """
    if out.is_symlink() and out.is_dir():
        out = out.resolve()
    check_output(out, overwrite)
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
            face = find_face(reference, path, networks, upstream, warnings)
            write_reference(result, reference, face)
        warnings += drawn_warnings(driving)
        warn(reporter, warnings)  # before the part that may take hours
        shown = len(warnings)
        with PoseLog(folder / "poses.log") as log:
            estimate_driving(driving, log, given, estimator, None if upstream else networks, reporter)
            taken = driving.selected[: log.frames]  # the end of a file may be missing
            with reporter.stage("motion"):
                followed = follow(log.sightings, find_cuts(log.glances()), settings.person, taken, warnings)
                rate = driving.fps or FOLDER_FPS
                motion = make_motion(followed, settings.fill and not upstream, settings.smooth, rate, not upstream)
                pose = to_pose(motion.keypoints, *log.size)
                if upstream:
                    placed = place_published(pose, reference.pose, log, settings.size)
                else:
                    aspects = log.size[0] / log.size[1], settings.size[0] / settings.size[1]
                    placed = place(pose, reference.pose, *aspects, settings.anchor, settings.retarget == "limbs")
                inside, turned = measure_coverage(placed.pose), facing(placed.pose, reference.pose)
            warnings += placed.warnings + inside.warnings(taken, settings.anchor == "hips") + turned[1]
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
        deliver_case(result, report, out)
    return report


def write_people(path: Path, driving: Driving, log: PoseLog, number: int) -> None:
    """The picture of frame `number` by whose numbers --person chooses."""
    frame = next(driving.frames(skip=number))
    number_people(frame.pixels, next(itertools.islice(log, number, None))).save(path)


def deliver_case(result: Path, report: dict, out: Path) -> None:
    """Write case.json and put the folder `result` in the place of `out`."""
    (result / CASE_FILE).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    with signals.ignored():
        replace_entry(result, out)


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


def check_output(out: Path, overwrite: bool) -> None:
    """InputError if writing to `out` would replace anything. With `overwrite`, an earlier case may be replaced."""
    if out.is_dir():
        if not any(out.iterdir()):
            return
        if not overwrite:
            raise InputError(f"{out} is not empty: give --out a new folder, or --overwrite to replace an earlier case.")
        if not _is_earlier_case(out):
            raise InputError(
                f"{out} holds no earlier case's {CASE_FILE}, so --overwrite leaves it: choose another --out."
            )
    elif out.exists():
        raise InputError(f"{out} is a file: give --out a folder.")


def _is_earlier_case(out: Path) -> bool:
    if not (out / CASE_FILE).is_file():
        return False
    try:
        case = json.loads((out / CASE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(case, dict) and case.get("project") == PROJECT


def make_estimator(settings: Settings, given: Given) -> PoseEstimator | None:
    """The pose estimator, or None if all poses are given; InputError if neither is given."""
    if given.complete:
        return None
    if settings.models is None:
        raise InputError(
            "poses come from networks or from files: give --models DIR, or --keypoints and --reference-keypoints."
            if given.driving is None
            else f"{given.driving.path} has no poses of the reference: give --reference-keypoints, or --models DIR."
        )
    detector, network = (require_model(settings.models, kind) for kind in (PERSON_DETECTOR, POSE_NETWORK))
    return PoseEstimator(detector, network, settings.device, whole_picture=settings.upstream)


def make_face_networks(settings: Settings) -> FaceNetworks | None:
    if settings.models is None:
        return None
    networks = FaceNetworks(settings.models, settings.device, settings.upstream, settings.identity)
    if settings.upstream and not networks.detects:
        require_model(settings.models, FACE_DETECTOR)
    return networks


def find_sources(settings: Settings, driving: Driving, given: Given, models: list[Path]) -> dict:
    """The files that the case is made from, with their SHA-256."""
    sources: dict = {
        "reference": {"path": str(settings.reference), "sha256": sha256(settings.reference)},
        "driving": {"path": str(settings.driving), "sha256": driving.digest()},
    }
    sources |= {name: {"path": str(path), "sha256": digest_of(path)} for name, path in given.files.items()}
    if models:
        sources["models"] = [{"path": str(file), "sha256": sha256(file)} for file in models]
    return sources


def find_versions() -> dict:
    libraries = (av, cv2, insightface, np, onnxruntime)
    return {
        PROJECT: metadata.version(PROJECT),
        "python": platform.python_version(),
        **{library.__name__: library.__version__ for library in libraries},
    }


def parameters_of(settings: Settings) -> dict:
    """The flags for case.json, except files, which are among the sources."""
    a = settings
    return {
        "size": "x".join(map(str, a.size)),
        "frames": asdict(a.frames),
        "person": "all" if a.everybody else "largest" if a.person is None else a.person,
        "fps": a.fps,
        "anchor": a.anchor,
        "retarget": a.retarget,
        "fill": a.fill and not a.upstream,
        "smooth": a.smooth,
        "fit": a.fit,
        "reference_person": "largest" if a.reference_person is None else a.reference_person,
        "identity": None if a.identity else "none",
        "background": "#{:02x}{:02x}{:02x}".format(*a.background),
        "device": a.device,
        "compat": "upstream" if a.upstream else None,
    }


def estimate_driving(
    driving: Driving,
    log: PoseLog,
    given: Given,
    estimator: PoseEstimator | None,
    networks: FaceNetworks | None,
    reporter: Reporter,
) -> None:
    """Append the keypoints of the driving frames that the log lacks; InputError for frames that cannot be used.

    networks: recognise faces now and then, by which persons are told apart.
    """
    before: tuple[int, np.ndarray] | None = None  # number and keypoints of the frame before
    with reporter.stage("poses", len(driving.selected)) as advance:
        for _ in range(log.frames):
            advance()
        for frame in driving.frames(skip=log.frames):
            size = frame.pixels.shape[1::-1]
            if log.frames and size != log.size:
                raise InputError(
                    f"{frame.name} of {driving.path} is {size[0]}x{size[1]}, the frames before are "
                    f"{log.size[0]}x{log.size[1]}: give driving frames of one size."
                )
            if before is not None and before[0] == frame.index:  # the same frame once more
                keypoints = before[1]
            elif given.driving is not None:
                keypoints = given.driving.of_frame(frame.index, size, driving.stored)
            else:
                assert estimator is not None  # see make_estimator
                keypoints = estimator(frame.pixels)
            now_and_then = log.frames % FACES_EVERY == 0 or len(keypoints) != log.persons
            faces = recognise(frame.pixels, keypoints, networks if now_and_then else None)
            log.append(size, keypoints, glance(frame.pixels), faces)
            before = frame.index, keypoints
            advance()
    if not log.frames:
        raise InputError(
            f"--frames {driving.selection} selects none of the {driving.decoded} frames of {driving.path}: give others."
        )
    if given.driving is not None and driving.selection.stop is None:
        given.driving.check_length(driving.decoded, driving.path)
