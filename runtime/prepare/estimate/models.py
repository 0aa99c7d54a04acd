"""Finds the networks in --models by their published names or their signatures, and checks their signatures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from sa.runtime.errors import InputError
from sa.runtime.prepare.whole_body import KEYPOINTS
from sa.runtime.system.hashing import sha256
from sa.runtime.system.regular_files import require_regular

PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"]}
Size = int | str | None  # ONNX Runtime gives a name or None for a dynamic size


@dataclass(frozen=True)
class Signature:
    inputs: list[list[Size]]
    outputs: list[list[Size]]

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width of the input, which are fixed in all person detectors and pose networks that fit."""
        height, width = self.inputs[0][2:]
        assert isinstance(height, int) and isinstance(width, int)
        return height, width

    def __str__(self) -> str:
        def shapes(of: list[list[Size]]) -> str:
            return ", ".join(f"[{', '.join(str(size or '?') for size in shape)}]" for shape in of[:3]) + (
                f" and {len(of) - 3} more" if len(of) > 3 else ""
            )

        return f"{shapes(self.inputs)} to {shapes(self.outputs)}"


@dataclass(frozen=True)
class Model:
    path: Path
    signature: Signature


@dataclass(frozen=True)
class Kind:
    """A kind of network: its purpose, its published file name, and how to recognise its signature."""

    what: str
    file: str
    expected: str
    where: str
    fits: Callable[[Signature], bool]
    without: str = ""  # how to go without it


def _is(size: Size, *values: int) -> bool:
    return not isinstance(size, int) or size in values


def _takes_pictures(signature: Signature) -> bool:
    return len(signature.inputs) == 1 and len(signature.inputs[0]) == 4 and _is(signature.inputs[0][1], 3)


def _detects_persons(signature: Signature) -> bool:
    if not _takes_pictures(signature) or not signature.outputs or len(signature.outputs[0]) != 3:
        return False
    height, width = signature.inputs[0][2:]
    boxes, columns = signature.outputs[0][1:]
    if not isinstance(height, int) or not isinstance(width, int) or not isinstance(columns, int):
        return False
    cells = sum((height // stride) * (width // stride) for stride in (8, 16, 32))
    return columns == 5 or (columns > 5 and _is(boxes, cells))


def _estimates_poses(signature: Signature) -> bool:
    if not _takes_pictures(signature) or [len(shape) for shape in signature.outputs] != [3, 3]:
        return False
    height, width = signature.inputs[0][2:]
    return (
        isinstance(height, int)
        and isinstance(width, int)
        and all(_is(shape[1], KEYPOINTS) for shape in signature.outputs)
        and all(_is(shape[2], 2 * side) for shape, side in zip(signature.outputs, (width, height), strict=True))
    )


def _detects_faces(signature: Signature) -> bool:
    columns = [shape[-1] for shape in signature.outputs if shape]
    return _takes_pictures(signature) and len(columns) == 9 and all(map(_is, columns, [1] * 3 + [4] * 3 + [10] * 3))


def _recognises_faces(signature: Signature) -> bool:
    if not _takes_pictures(signature) or len(signature.outputs) != 1:
        return False
    height, width = signature.inputs[0][2:]
    return height == width == 112 and len(signature.outputs[0]) == 2 and _is(signature.outputs[0][1], 512)


_DWPOSE = "it lies in DWPose/ of StableAnimator's published weights"
_ANTELOPE = "it is part of insightface's model pack antelopev2"
PERSON_DETECTOR = Kind(
    "person detector",
    "yolox_l.onnx",
    "YOLOX, [1, 3, 640, 640] to [1, 8400, 85]",
    _DWPOSE,
    _detects_persons,
)
POSE_NETWORK = Kind(
    "pose network",
    "dw-ll_ucoco_384.onnx",
    "133 points by SimCC, [1, 3, 384, 288] to [1, 133, 576], [1, 133, 768]",
    f"{_DWPOSE}; any RTMPose or RTMW of 133 points will do",
    _estimates_poses,
)
FACE_DETECTOR = Kind(
    "face detector",
    "scrfd_10g_bnkps.onnx",
    "SCRFD with five points per face, 9 outputs",
    _ANTELOPE,
    _detects_faces,
)
FACE_RECOGNISER = Kind(
    "face recogniser",
    "glintr100.onnx",
    "ArcFace, [1, 3, 112, 112] to [1, 512]",
    _ANTELOPE,
    _recognises_faces,
    "; or go without, by --identity none",
)
# The face encoder was trained on the embeddings of one recogniser. Those of another mean nothing to it.
GLINTR100 = "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf"  # SHA-256
OTHER_RECOGNISERS = {
    "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43": "w600k_r50 of insightface's buffalo_l",
}
_PUBLISHED = {kind.file for kind in (PERSON_DETECTOR, POSE_NETWORK, FACE_DETECTOR, FACE_RECOGNISER)}


def require_model(folder: Path, kind: Kind) -> Model:
    """The network of this kind below `folder`; InputError if there is none."""
    if (model := find_model(folder, kind)) is not None:
        return model
    raise InputError(
        f"{folder} holds no {kind.what}: expected {kind.file} or another ONNX file that is one "
        f"({kind.expected}); {kind.where}{kind.without}."
    )


def find_pose_models(folder: Path) -> tuple[Model, Model]:
    """The person detector and the pose network; InputError if one is missing."""
    return require_model(folder, PERSON_DETECTOR), require_model(folder, POSE_NETWORK)


def onnx_files(folder: Path) -> list[Path]:
    """The ONNX files below `folder`, the nearest first; InputError for a link that leads nowhere."""
    files = sorted(folder.rglob("*.onnx"), key=lambda file: (len(file.parts), file))
    if broken := next((file for file in files if not file.exists()), None):
        raise InputError(f"{broken} is a link to a file that is not there: put the file in its place, or remove it.")
    return [file for file in files if not file.is_dir()]


def find_model(folder: Path, kind: Kind) -> Model | None:
    """The network of this kind below `folder`, or None; InputError for one that is not what its name says.

    A file with the published name is preferred. Otherwise the signatures of all other ONNX files decide.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give --models the folder with the networks' ONNX files.")
    files = onnx_files(folder)
    for file in files:
        if file.name == kind.file:
            return Model(file, _checked(file, kind))
    fitting = []
    for file in files:
        if file.name not in _PUBLISHED:
            found = read_signature(file)
            if isinstance(found, Signature) and kind.fits(found):
                fitting.append(Model(file, found))
    if len(fitting) > 1:
        names = ", ".join(str(model.path.relative_to(folder)) for model in fitting)
        raise InputError(f"{folder} holds several networks that could be the {kind.what}: {names}; keep one of them.")
    return fitting[0] if fitting else None


def recogniser_warnings(model: Model, kind: Kind) -> list[str]:
    """A warning unless it is the recogniser that StableAnimator was trained with; InputError for a known other one."""
    digest = sha256(model.path)
    if digest in OTHER_RECOGNISERS:
        raise InputError(
            f"{model.path} is {OTHER_RECOGNISERS[digest]}, but the face encoder knows glintr100's embeddings alone: "
            f"put {kind.file} there, {kind.where}{kind.without}."
        )
    if digest == GLINTR100:
        return []
    return [
        f"{model.path} is not glintr100 as published: the face encoder knows its embeddings alone, those of another "
        "recogniser give another face."
    ]


def _checked(file: Path, kind: Kind) -> Signature:
    found = read_signature(file)
    if not isinstance(found, Signature):
        raise InputError(f"{file} cannot be loaded as an ONNX file ({found}): get it again; {kind.where}.")
    if not kind.fits(found):
        raise InputError(f"{file} is no {kind.what}: expected {kind.expected}, found {found}; {kind.where}.")
    return found


def new_session(file: Path, device: str) -> onnxruntime.InferenceSession:
    """Load a checked network on "cpu" or "cuda". Only errors are logged."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file, options, providers=PROVIDERS[device])


def read_signature(file: Path) -> Signature | str:
    """The network's signature, or the reason why ONNX Runtime cannot load it."""
    require_regular(file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a dozen types without a common base
        return " ".join(str(error).split())[:200]
    return Signature([list(i.shape) for i in session.get_inputs()], [list(o.shape) for o in session.get_outputs()])
