"""What the tests of sa-prepare share: the golden data, a person that moves, and networks that always see the same."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from shared import GOLDEN

from sa.runtime.prepare.whole_body import FACE, LEFT_HAND, RIGHT_HAND, Pose

PREPARE = GOLDEN / "prepare"
DRAWN = [*range(18), *range(24, 134)]  # of the 134 points, those that the recorded poses have


def golden_file(name: str) -> dict[str, np.ndarray]:
    with np.load(PREPARE / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files}


def golden_picture(name: str) -> np.ndarray:
    with Image.open(PREPARE / f"{name}.png") as image:
        return np.asarray(image.convert("RGB"))


def recorded_pose(arrays: dict[str, np.ndarray], prefix: str) -> Pose:
    """A pose as the published code keeps it: all left hands, then all right hands."""
    persons = len(arrays[f"{prefix}score"])
    points, scores = np.zeros((persons, 134, 2)), np.zeros((persons, 134))
    points[:, :18], scores[:, :18] = arrays[f"{prefix}candidate"].reshape(persons, 18, 2), arrays[f"{prefix}score"]
    points[:, FACE], scores[:, FACE] = arrays[f"{prefix}faces"], arrays[f"{prefix}faces_score"]
    for hand, rows in ((LEFT_HAND, slice(None, persons)), (RIGHT_HAND, slice(persons, None))):
        points[:, hand], scores[:, hand] = arrays[f"{prefix}hands"][rows], arrays[f"{prefix}hands_score"][rows]
    return Pose(points, scores)


def recorded_keypoints(case: str) -> tuple[np.ndarray, tuple[int, int]]:
    """[persons, 133, 3] of a drawn case, and its picture's width and height."""
    arrays = golden_file("draw_poses")
    keypoints = np.concatenate([arrays[f"{case}/kpts133"], arrays[f"{case}/scores133"][..., None]], axis=-1)
    height, width = arrays[f"{case}/HW"].tolist()
    return keypoints, (width, height)


def person(scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """[133, 3]: someone who stands in a picture of 512x512 pixels, all points seen, made larger and then moved."""
    keypoints = recorded_keypoints("p1_full_512")[0][0]
    keypoints[:, :2] = keypoints[:, :2] * scale + (x, y)
    keypoints[:, 2] = 0.9
    return keypoints


def picture_file(path: Path, width: int, height: int, seed: int = 0) -> Path:
    """A picture of coarse noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def video_file(
    path: Path, pictures: list[np.ndarray], times: list[float], container_options: dict | None = None, **codec: str
) -> Path:
    """An H.264 video; picture i is shown from times[i] seconds on, which count in thousandths."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10", **codec})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts = round(1000 * time)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_keypoints(path: Path, driving: list[np.ndarray], reference: np.ndarray | None) -> Path:
    """One person in every picture."""
    arrays = {"driving": np.stack(driving)[:, None]}
    if reference is not None:
        arrays["reference"] = reference[None]
    np.savez(path, **arrays)
    return path


def constant_network(path: Path, takes: list, gives: list[np.ndarray]) -> Path:
    """An ONNX file that answers every picture with the same arrays."""
    nodes = [
        helper.make_node("ReduceSum", ["picture"], ["sum"], "sum", keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["zero"], "nothing"),
    ]
    constants, outputs = [numpy_helper.from_array(np.float32(0), "nothing")], []
    for i, value in enumerate(gives):
        constants.append(numpy_helper.from_array(value.astype(np.float32), f"constant_{i}"))
        nodes.append(helper.make_node("Add", [f"constant_{i}", "zero"], [f"output_{i}"], f"output_{i}"))
        outputs.append(helper.make_tensor_value_info(f"output_{i}", TensorProto.FLOAT, value.shape))
    return _save(path, takes, nodes, outputs, constants)


def pose_networks(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """yolox_l.onnx and dw-ll_ucoco_384.onnx, which always give these answers."""
    constant_network(folder / "DWPose" / "yolox_l.onnx", [1, 3, 640, 640], [arrays["det_raw"]])
    answers = [arrays["simcc_x"], arrays["simcc_y"]]
    constant_network(folder / "DWPose" / "dw-ll_ucoco_384.onnx", ["batch", 3, 384, 288], answers)
    return folder


def face_detector(folder: Path, points: np.ndarray | None) -> Path:
    """scrfd_10g_bnkps.onnx that sees one face, whose five points [5, 2] are given in pixels of its 640x640, or none."""
    answers: list[list[np.ndarray]] = [[], [], []]
    for stride in (8, 16, 32):
        rows = 2 * (640 // stride) ** 2
        score, box, five = (np.zeros((rows, columns), np.float32) for columns in (1, 4, 10))
        if points is not None and stride == 16:
            column, row = (points.mean(axis=0) // stride).astype(int)
            anchor = 2 * (row * (640 // stride) + column)
            centre = np.array([column, row]) * stride
            (left, top), (right, bottom) = points.min(axis=0) - 10, points.max(axis=0) + 10
            score[anchor] = 0.9
            box[anchor] = np.array([centre[0] - left, centre[1] - top, right - centre[0], bottom - centre[1]]) / stride
            five[anchor] = ((points - centre) / stride).ravel()
        for answer, value in zip(answers, (score, box, five), strict=True):
            answer.append(value)
    path = folder / "antelopev2" / "scrfd_10g_bnkps.onnx"
    return constant_network(path, [1, 3, "height", "width"], [value for column in answers for value in column])


def face_recogniser(folder: Path, name: str = "glintr100.onnx") -> Path:
    """An ONNX file that makes 512 features of 112x112 pixels: a fixed random projection of their local means."""
    weights = np.random.default_rng(0).normal(0, 0.05, (3 * 16 * 16, 512)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["picture"], ["means"], "means", kernel_shape=[7, 7], strides=[7, 7]),
        helper.make_node("Flatten", ["means"], ["row"], "row"),
        helper.make_node("MatMul", ["row", "weights"], ["features"], "features"),
    ]
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 512])
    constants = [numpy_helper.from_array(weights, "weights")]
    return _save(folder / "antelopev2" / name, ["batch", 3, 112, 112], nodes, [output], constants)


def _save(path: Path, takes: list, nodes: list, outputs: list, constants: list) -> Path:
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, takes)
    graph = helper.make_graph(nodes, "network", [picture], outputs, constants)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
