"""sa-bench motion: what sa-prepare makes of drawn people whose truth is known, as tables for docs/motion.md."""

from dataclasses import dataclass

import numpy as np

from sa.benchmarks.fixtures.moving_people import DrawnScene, sprint, squat, street
from sa.runtime.prepare.draw.drawing import draw_pose
from sa.runtime.prepare.driving_motion import Motion, make_motion
from sa.runtime.prepare.motion.coverage import measure_coverage
from sa.runtime.prepare.motion.persons import DrivingPersons, follow
from sa.runtime.prepare.motion.placing import Placed, place
from sa.runtime.prepare.whole_body import BODY, LEFT_HAND, Pose, to_pose

SEEDS = range(20)
OUTPUT = 512  # pixels along a side
FPS = 25.0
ANKLES = (10, 13)  # of the drawn body points


@dataclass(frozen=True)
class Prepared:
    scene: DrawnScene
    followed: DrivingPersons
    motion: Motion
    placed: Placed
    reference: Pose

    @property
    def warnings(self) -> list[str]:
        frames = range(len(self.scene.frames))
        return self.placed.warnings + measure_coverage(self.placed.pose).warnings(frames, movable=True)

    @property
    def identities(self) -> list[int | None]:
        """Who is followed, per frame."""
        found = zip(self.scene.whose, self.followed.chosen, strict=True)
        return [None if person is None else whose[person] for whose, person in found]

    @property
    def meant(self) -> int:
        """Who is followed at first: the largest person then."""
        return next(one for one in self.identities if one is not None)

    @property
    def strangers(self) -> int:
        """Frames in which somebody else is followed."""
        return sum(one not in (None, self.meant) for one in self.identities)

    @property
    def lost(self) -> int:
        """Frames without a pose though the estimator sees the person."""
        there = zip(self.scene.whose, self.motion.there, strict=True)
        return sum(self.meant in whose and not found for whose, found in there)

    @property
    def black(self) -> int:
        """Pose images that show nothing."""
        return sum(
            not draw_pose(self.placed.pose.of([frame] if there else []), OUTPUT, OUTPUT).any()
            for frame, there in enumerate(self.motion.there)
        )

    @property
    def true_share(self) -> float:
        """Of the person's body points, how many are inside the output where the poses are drawn."""
        assert self.scene.truth is not None
        truth = _placed_like(self, self.scene.truth)
        shown = truth.points[self.motion.there][:, BODY]
        return float(((shown >= 0) & (shown < 1)).all(axis=-1).mean())

    @property
    def told_share(self) -> float:
        share = measure_coverage(self.placed.pose).over_all(self.placed.pose)["body"]
        assert share is not None  # people are drawn
        return share

    @property
    def _beside(self) -> np.ndarray:
        """[frames, 18, 2] in pixels from the same angles in the reference's body to the drawn body points."""
        assert self.scene.wanted is not None
        wanted = to_pose(_all_seen(self.scene.wanted), OUTPUT, OUTPUT)
        return (self.placed.pose.points[:, BODY] - wanted.points[:, BODY]) * OUTPUT

    @property
    def feet_off(self) -> float:
        """Median distance of the ankles in rows."""
        return float(np.median(np.abs(self._beside[:, ANKLES, 1])))

    @property
    def body_off(self) -> float:
        """Median distance of the body points."""
        return float(np.median(np.linalg.norm(self._beside, axis=-1)))

    @property
    def without_hand(self) -> int:
        return int((~self.placed.pose.seen[:, LEFT_HAND].any(axis=1)).sum())

    @property
    def points_off(self) -> float:
        """Root mean square distance of the body points from the truth, in thousandths of the picture's height."""
        assert self.scene.truth is not None
        found = self.motion.keypoints[:, :17, :2] - self.scene.truth[:, :17]
        return float(np.sqrt(np.mean(found**2)) / self.scene.size[1] * 1000)


def prepared(
    scene: DrawnScene, anchor: str = "none", limbs: bool = False, fill: bool = True, smooth: bool = False
) -> Prepared:
    """What sa-prepare makes of the scene."""
    nobody_known = [np.full((len(persons), 512), np.nan) for persons in scene.frames]
    followed = follow(
        lambda: zip(scene.frames, nobody_known, strict=True), (), None, range(len(scene.frames)), warnings=[]
    )
    motion = make_motion(followed, fill, smooth, FPS, clip=True)
    reference = to_pose(scene.reference[None], OUTPUT, OUTPUT)
    pose = to_pose(motion.keypoints, *scene.size)
    placed = place(pose, reference, scene.size[0] / scene.size[1], 1.0, anchor, limbs)
    return Prepared(scene, followed, motion, placed, reference)


def _placed_like(prepared: Prepared, truth: np.ndarray) -> Pose:
    """The true points [frames, 133, 2], placed as the estimated ones are."""
    plain = to_pose(_all_seen(truth), *prepared.scene.size)
    placed = prepared.placed
    return Pose(plain.points * placed.alignment.scale + placed.offsets[:, None], plain.scores)


def _all_seen(points: np.ndarray) -> np.ndarray:
    return np.dstack([points, np.ones((*points.shape[:2], 1))])


def measure_motion() -> None:
    """Print the tables."""
    streets = [prepared(street(seed)) for seed in SEEDS]
    frames = sum(len(one.scene.frames) for one in streets)
    seen = sum(one.meant in whose for one in streets for whose in one.scene.whose)
    print(f"| {len(SEEDS)} streets, {frames} frames, the person seen in {seen} of them | |\n| --- | --- |")
    print(f"| frames in which a stranger is followed | {sum(one.strangers for one in streets)} |")
    print(f"| frames that show the person, without a pose | {sum(one.lost for one in streets)} |")
    print("\n| a sprint, 120 frames | | `--anchor hips` |\n| --- | --- | --- |")
    run, held = prepared(sprint(0)), prepared(sprint(0), anchor="hips")
    print(f"| black pose images | {run.black} | {held.black} |")
    print(f"| body points inside, in truth | {run.true_share:.1%} | {held.true_share:.1%} |")
    print(f"| body points inside, as told | {run.told_share:.1%} | {held.told_share:.1%} |")
    print("\n| squats on short legs, 75 frames | | `--retarget limbs` | `--smooth` |\n| --- | --- | --- | --- |")
    ways = [prepared(squat(0)), prepared(squat(0), limbs=True), prepared(squat(0), smooth=True)]
    for words, name, digits in (
        ("feet beside the truth, rows of 512", "feet_off", 1),
        ("body points beside the truth, pixels", "body_off", 1),
        ("frames without the left hand", "without_hand", 0),
        ("error of the points, thousandths of the height", "points_off", 2),
    ):
        print(f"| {words} | {' | '.join(f'{getattr(way, name):.{digits}f}' for way in ways)} |")
