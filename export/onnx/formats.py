"""The number formats that engines compute in: how ONNX names and stores them, and which numbers they hold."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from sa.runtime.contract import Precision


@dataclass(frozen=True)
class Format:
    name: Precision
    element: int  # ONNX's element type
    size: int  # bytes of a number
    largest: float
    smallest_normal: float

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Float32 values as they are stored in files, little-endian, rounded to the nearest."""
        values = np.asarray(values, "<f4", order="C")
        if self.name == "bf16":
            return _upper_halves(values)
        return values.astype("<f2") if self.name == "fp16" else values

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """What is stored of float32 values, in float32."""
        stored = self.encode(values)
        return (stored.astype("<u4") << 16).view("<f4") if self.name == "bf16" else stored.astype("<f4")

    def tensor(self, values: np.ndarray) -> TensorProto:
        """Float32 values as a tensor of this format."""
        return TensorProto(data_type=self.element, dims=values.shape, raw_data=self.encode(values).tobytes())


def _upper_halves(values: np.ndarray) -> np.ndarray:
    """bfloat16 is the upper half of float32, which NumPy does not know: its bits, rounded half to even."""
    bits = values.view("<u4")
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(values), bits >> 16 | 0x40, rounded).astype("<u2")


FORMATS = {
    one.name: one
    for one in (
        Format("fp32", TensorProto.FLOAT, 4, float(np.finfo(np.float32).max), 2.0**-126),
        Format("fp16", TensorProto.FLOAT16, 2, 65504.0, 2.0**-14),
        Format("bf16", TensorProto.BFLOAT16, 2, 2.0**127 * (2 - 2.0**-7), 2.0**-126),
    )
}
