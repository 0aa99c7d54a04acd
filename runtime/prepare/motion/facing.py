"""Whether a person is seen from the front or from behind, by the scores of the face."""

import numpy as np

from sa.runtime.prepare.whole_body import BODY, VISIBLE, Pose

SHOULDERS = [2, 5]
NOSE_AND_EYES = [0, 14, 15]
OFTEN = 0.3  # of the frames


def from_behind(pose: Pose) -> np.ndarray:
    """[persons] float64: 1 seen from behind, 0 from the front, NaN if the shoulders are not seen.

    From behind, the shoulders are seen, but neither nose nor eyes. The face's 68 points do not count: networks see them
    in hair.
    """
    body = pose.scores[:, BODY] > VISIBLE
    no_face = ~body[:, NOSE_AND_EYES].any(axis=1)
    return np.where(body[:, SHOULDERS].all(axis=1), no_face.astype(np.float64), np.nan)


def facing(pose: Pose, reference: Pose) -> tuple[dict, list[str]]:
    """For case.json: who is seen from behind, and the share of frames; and a warning if reference and driving differ.

    pose: one person's, with its frames as persons; reference: one person.
    """
    behind, of_reference = from_behind(pose), float(from_behind(reference)[0])
    known = behind[~np.isnan(behind)]
    share = float(known.mean()) if len(known) else None
    report = {
        "reference_from_behind": None if np.isnan(of_reference) else bool(of_reference),
        "frames_from_behind": None if share is None else round(share, 4),
    }
    if share is None or np.isnan(of_reference):
        return report, []
    if not of_reference and share >= OFTEN:
        return report, [
            f"the driving person is seen from behind in {share:.0%} of the frames, but the reference from the front: "
            "the reference does not show the back, which is made up; choose a driving video from the front, or cut "
            "with --frames."
        ]
    if of_reference and share <= 1 - OFTEN:
        return report, [
            f"the reference is seen from behind, but the driving person from the front in {1 - share:.0%} of the "
            "frames: the reference does not show the face, which is made up; choose a reference from the front."
        ]
    return report, []
