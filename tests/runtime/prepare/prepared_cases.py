"""A photo and driving frames of drawn noise with a person's keypoints, and sa-prepare on them."""

import json
from pathlib import Path

import numpy as np
from command_lines import replaced
from PIL import Image
from prepare_data import (
    face_detector,
    face_recogniser,
    golden_file,
    pose_networks,
)

from sa.runtime.prepare.cli import main

FRAMES = 6
FILES = {"reference.png", "poses", "faces", "reference_mask.png", "case.json", "keypoints.npz", "preview.mp4"}


def arguments(place: Path, *further: object) -> list[str]:
    files = ["--reference", f"{place}/photo.png", "--driving", f"{place}/frames", "--out", f"{place}/case"]
    return [*files, "--keypoints", f"{place}/poses.npz", "--size", "64x64", *map(str, further)]


def prepared(place: Path, *further: object) -> dict:
    anew = list(map(str, further))
    assert main([*replaced(arguments(place, "--quiet"), anew), *anew]) == 0
    return json.loads((place / "case" / "case.json").read_text())


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def contents(folder: Path) -> dict[str, bytes]:
    """All but case.json, which has times."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.[pn][np][gy]")}


def with_networks(place: Path, *, face: bool = True) -> list[str]:
    """The golden chain's picture as photo and driving frames, networks that see its person, and a face."""
    arrays = golden_file("chain")
    for name in ("photo.png", "frames/f0.png", "frames/f1.png"):
        Image.fromarray(arrays["image"]).save(place / name)
    for i in range(2, FRAMES):
        (place / "frames" / f"f{i}.png").unlink(missing_ok=True)
    models = pose_networks(place / "models", arrays)
    face_recogniser(models)
    points = np.array([[300.0, 200], [340, 200], [320, 220], [305, 245], [335, 245]])
    face_detector(models, points if face else None)
    flags = {"--reference": "photo.png", "--driving": "frames", "--out": "case", "--models": "models"}
    return [word for flag, name in flags.items() for word in (flag, f"{place}/{name}")] + [
        "--size",
        "192x256",
        "--quiet",
    ]


def not_glintr(place: Path) -> str:
    """What is said of the stand-in for the recogniser."""
    return (
        f"{place}/models/antelopev2/glintr100.onnx is not glintr100 as published: the face encoder knows its "
        "embeddings alone, those of another recogniser give another face."
    )
