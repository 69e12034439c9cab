"""Seven regularization techniques as fast kernels under a thin NumPy API. The public names; needs NumPy alone."""

from fastopt.regularization.common import Layer, draw_key

__all__ = [
    "Layer",
    "draw_key",
]
