"""Rewrites of ONNX graphs, one per file, named after what they do."""
