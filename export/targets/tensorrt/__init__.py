"""Plans for TensorRT and TensorRT for RTX."""
