"""Rewrites of ONNX graphs, each named after what it does."""
