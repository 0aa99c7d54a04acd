"""GroupNorm over the frames of a clip, and SiLU, on tensors whose first axis is frames."""
