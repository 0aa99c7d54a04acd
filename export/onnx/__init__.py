"""ONNX graphs: edges, arithmetic, memory, and their making by paddle2onnx."""
