"""Fused kernels, one folder each: the definition in NumPy, the Triton source, its test and its benchmark side by side.

`python -m sa.kernels` turns the sources into PTX and cubins; that needs no GPU.
"""
