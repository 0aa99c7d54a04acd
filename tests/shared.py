"""Names and measures that many tests use."""

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
CASES = ("recipe_basic", "recipe_hjb")
BACKENDS = ("onnxruntime", "openvino", "paddle")  # on CPUs, in float32
PLANS = ("segmented", "whole")


def relative(value: np.ndarray, reference: np.ndarray) -> float:
    """max |value - reference| / max |reference|."""
    assert value.shape == reference.shape
    return float(np.abs(value.astype(np.float64) - reference).max() / np.abs(reference).max())
