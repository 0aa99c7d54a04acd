"""The orders of points, by the names that the estimators' documentations give them."""

import pytest

from sa.runtime.prepare.input.keypoints.layouts import ABSENT, LAYOUTS

COCO = (
    "nose,left eye,right eye,left ear,right ear,left shoulder,right shoulder,left elbow,right elbow,left wrist,"
    "right wrist,left hip,right hip,left knee,right knee,left ankle,right ankle"
)
COCO_FEET = "left big toe,left small toe,left heel,right big toe,right small toe,right heel"
OPENPOSE_18 = (
    "nose,neck,right shoulder,right elbow,right wrist,left shoulder,left elbow,left wrist,right hip,right knee,"
    "right ankle,left hip,left knee,left ankle,right eye,left eye,right ear,left ear"
)
OPENPOSE_25 = (
    "nose,neck,right shoulder,right elbow,right wrist,left shoulder,left elbow,left wrist,middle of hips,right hip,"
    "right knee,right ankle,left hip,left knee,left ankle,right eye,left eye,right ear,left ear,left big toe,"
    "left small toe,left heel,right big toe,right small toe,right heel"
)
HALPE = (
    f"{COCO},head,neck,middle of hips,left big toe,right big toe,left small toe,right small toe,left heel,right heel"
)
BLAZEPOSE = (
    "nose,inner left eye,left eye,outer left eye,inner right eye,right eye,outer right eye,left ear,right ear,"
    "left of mouth,right of mouth,left shoulder,right shoulder,left elbow,right elbow,left wrist,right wrist,"
    "left little finger,right little finger,left index finger,right index finger,left thumb,right thumb,left hip,"
    "right hip,left knee,right knee,left ankle,right ankle,left heel,right heel,left big toe,right big toe"
)


def parts(faces: int = 68) -> str:
    names = [f"face {i}" for i in range(faces)]
    return ",".join([*names, *(f"{side} hand {i}" for side in ("left", "right") for i in range(21))])


ORDERS = {
    17: COCO,
    18: OPENPOSE_18,
    25: OPENPOSE_25,
    26: HALPE,
    33: BLAZEPOSE,
    133: f"{COCO},{COCO_FEET},{parts()}",
    134: f"{OPENPOSE_18},{COCO_FEET},{parts()}",
    136: f"{HALPE},{parts()}",
}


@pytest.mark.parametrize("count", LAYOUTS)
def test_every_point_is_taken_from_where_its_name_stands(count):
    names, wanted = ORDERS[count].split(","), ORDERS[133].split(",")
    assert len(names) == count and len(wanted) == 133
    taken = [names[source] if source != ABSENT else None for source in LAYOUTS[count]]
    assert taken == [name if name in names else None for name in wanted]
