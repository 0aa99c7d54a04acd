"""Fused kernels, a folder each: the definition in NumPy, the Triton source, the TensorRT plugin and the benchmark.

`python -m sa.kernels` compiles the sources to PTX and cubins; that needs no GPU.
"""
