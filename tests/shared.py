"""Names and measures that many tests use."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
CASES = ("recipe_basic", "recipe_hjb")
BACKENDS = ("onnxruntime", "openvino", "paddle")  # on CPUs, in float32
PLANS = ("segmented", "whole")


def golden_case(case: str) -> SimpleNamespace:
    """Its parameters, expected arrays (float64 runs stored as float32) and input folder."""
    folder = GOLDEN / case
    with np.load(folder / "expected.npz") as archive:
        expected = {name: archive[name] for name in archive.files}
    return SimpleNamespace(
        name=case,
        parameters=SimpleNamespace(**json.loads((folder / "case.json").read_text())),
        expected=expected,
        inputs=folder / "inputs",
    )


def relative(value: np.ndarray, reference: np.ndarray) -> float:
    """max |value - reference| / max |reference|."""
    assert value.shape == reference.shape
    return float(np.abs(value.astype(np.float64) - reference).max() / np.abs(reference).max())


def id_attention_weights() -> dict[str, np.ndarray]:
    """The weights of golden/units/id_attn2_c320.npz, float32.

    To save space they are kept to 16 bits of mantissa, as [3, ...]: the bytes of a float32 from the highest on. The
    outputs in the other file were made with all 24; that changes them by 1.1e-5 of the largest, and tests ask for 1e-4.
    """
    with np.load(GOLDEN / "units" / "id_attn2_c320_weights.npz") as stored:
        planes = {name.removesuffix("/bytes"): stored[name].astype(np.uint32) for name in stored.files}
    return {name: (a << 24 | b << 16 | c << 8).view(np.float32) for name, (a, b, c) in planes.items()}
