"""The networks that a case needs, and the keypoints of all driving frames, from them or as they are given."""

import numpy as np

from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError
from sa.runtime.prepare.estimate.estimator import PoseEstimator
from sa.runtime.prepare.estimate.face_networks import FaceNetworks, recognise
from sa.runtime.prepare.estimate.models import FACE_DETECTOR, find_pose_models, require_model
from sa.runtime.prepare.given import Given
from sa.runtime.prepare.input.driving import Driving
from sa.runtime.prepare.motion.scenes import glance
from sa.runtime.prepare.pose_log import PoseLog
from sa.runtime.prepare.settings import Settings

FACES_EVERY = 10  # frames; faces are recognised whenever the number of persons changes too


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
    detector, network = find_pose_models(settings.models)
    return PoseEstimator(detector, network, settings.device, whole_picture=settings.upstream)


def make_face_networks(settings: Settings) -> FaceNetworks | None:
    if settings.models is None:
        return None
    networks = FaceNetworks(settings.models, settings.device, settings.upstream, settings.identity)
    if settings.upstream and not networks.detects:
        require_model(settings.models, FACE_DETECTOR)
    return networks


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
        frames = driving.decoded if driving.timeline is None else len(driving.timeline.times)
        raise InputError(
            f"--frames {driving.selection} selects none of the {frames} frames of {driving.path}: give others."
        )
    if given.driving is not None and driving.selection.stop is None:
        given.driving.check_length(driving.decoded, driving.path)
