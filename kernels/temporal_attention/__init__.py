"""Self-attention over the frames of every pixel, on tensors whose first axis is frames."""
