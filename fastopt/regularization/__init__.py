"""Seven regularization techniques as fast kernels under a thin NumPy API. The public names; needs NumPy alone."""

from fastopt.regularization.common import Layer, draw_key
from fastopt.regularization.dropout import (
    Dropout,
    GaussianDropout,
    SpatialDropout,
    StochasticDepth,
    dropout,
    dropout_bits,
)

__all__ = [
    "Dropout",
    "GaussianDropout",
    "Layer",
    "SpatialDropout",
    "StochasticDepth",
    "draw_key",
    "dropout",
    "dropout_bits",
]
