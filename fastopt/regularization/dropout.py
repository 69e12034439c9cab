"""Dropout in four forms. The mask is a function of (key, element): backward computes it again, nothing stores it.

Layers with the same integer seed have the same masks. For independent layers pass one numpy.random.Generator to all.
"""

from __future__ import annotations

import math

import numpy as np

from fastopt._checks import flag, integer, one_of
from fastopt._native import layers as layer_kernels
from fastopt._types import Array, Rng
from fastopt.regularization.layer import Layout, RandomLayer, choose_key, layout_of, probability, unchanged


def _threshold(p: float) -> int:
    """An element is dropped if its random 32-bit word is below this threshold, 0 … 2³²."""
    return round(p * 2**32)


def dropout(
    x: Array,
    p: float = 0.5,
    *,
    rng: Rng = None,
    key: int | None = None,
    training: bool = True,
    out: Array | None = None,
    name: str = "x",
) -> Array:
    """Set elements to 0 with probability p and divide the others by 1 − p.

        y = 0 where u < p, else x / (1 − p),  u uniform

    Backward is the same call on the gradient with the same key.

    Parameters
    ----------
    x : float32, C order, any shape.
    p : in [0, 1], rounded to a multiple of 2⁻³²: 1 − 1e-11 is 1. A dropped element becomes 0 even if it was NaN.
    rng : None, a seed or a Generator; one key is drawn from it.
    key : instead of rng, the key itself (see draw_key): an int in [0, 2⁶⁴). The mask of element i in memory is a
        function of (key, i).
    training : False returns x.
    out : an array like x for the result; it may be x. Without out, and if nothing can be dropped, x itself is returned.
    name : what error messages call x.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).

    >>> from fastopt.regularization import dropout, draw_key
    >>> key = draw_key(0)
    >>> y = dropout(np.ones(8, np.float32), 0.5, key=key)
    >>> y
    array([2., 2., 2., 2., 0., 2., 0., 2.], dtype=float32)
    >>> grad = dropout(np.full(8, 0.1, np.float32), 0.5, key=key)  # backward
    >>> bool(np.all((grad > 0) == (y > 0)))
    True
    """
    threshold = _threshold(probability("p", p))
    if not flag("training", training) or threshold == 0:
        return unchanged(x, out, name)
    names = (name, "out", "")
    if threshold == 2**32:
        y = layer_kernels.each("copy", x, out, names=names)
        y.fill(0.0)
        return y
    # near 1 the rounding of p changes the scale
    scale, key = 1.0 / (1.0 - p) if p < 0.99 else 2**32 / (2**32 - threshold), choose_key(rng, key)
    return layer_kernels.each("drop", x, out, a=scale, threshold=threshold, key=key, names=names)


def dropout_bits(size: int, p: float, key: int) -> Array:
    """The packed mask of dropout(x, p, key=key) with x.size = size: bit i % 8 of byte i // 8 is 1 if element i is kept.

    >>> from fastopt.regularization import dropout_bits
    >>> np.unpackbits(dropout_bits(8, 0.5, key=7), bitorder="little")
    array([1, 0, 0, 0, 0, 0, 1, 0], dtype=uint8)
    """
    size, threshold = integer("size", size), _threshold(probability("p", p))
    if threshold in (0, 2**32):
        return np.packbits(np.full(size, threshold == 0), bitorder="little")
    return layer_kernels.drop_bits(size, threshold, choose_key(None, key))


class _DropoutLayer(RandomLayer):
    """A random layer with a probability p."""

    def __init__(self, p: float, rng: Rng) -> None:
        super().__init__(rng)
        self.p = probability("p", p)
        self._active = _threshold(self.p) > 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p:g})"


class Dropout(_DropoutLayer):
    """Dropout of single elements, as in torch.nn.Dropout; see `dropout`.

    Layers with the same integer seed draw the same random numbers. For independent layers pass one Generator to all:
    `rng = numpy.random.default_rng(0)`.

    >>> from fastopt.regularization import Dropout
    >>> layer = Dropout(0.25, rng=0)
    >>> y = layer.forward(np.ones((2, 3), np.float32))
    >>> bool(np.array_equal(layer.backward(np.ones((2, 3), np.float32)), y))
    True
    >>> layer.eval().forward(np.ones(2, np.float32))
    array([1., 1.], dtype=float32)
    """

    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        super().__init__(p, rng)

    def _apply(self, x: Array, key: int, out: Array | None, name: str) -> Array:
        return dropout(x, self.p, key=key, out=out, name=name)

    def mask(self, size: int) -> Array:
        """The mask of the last forward as packed bits; see `dropout_bits`."""
        return dropout_bits(size, 0.0 if self.key is None else self.p, self.key or 0)


class SpatialDropout(_DropoutLayer):
    """Dropout of whole channels, as in torch.nn.Dropout2d: x is (N, C, ...), or (N, ..., C) with channels_last.

    Layers with the same integer seed share their random numbers; see `Dropout`.

    Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.

    >>> from fastopt.regularization import SpatialDropout
    >>> SpatialDropout(0.5, rng=5).forward(np.ones((1, 4, 2), np.float32))[0]
    array([[2., 2.],
           [0., 0.],
           [0., 0.],
           [2., 2.]], dtype=float32)
    """

    def __init__(self, p: float = 0.5, *, channels_last: bool = False, rng: Rng = None) -> None:
        super().__init__(p, rng)
        self.channels_last = flag("channels_last", channels_last)

    def _apply(self, x: Array, key: int, out: Array | None, name: str) -> Array:
        layout = layout_of(x, self.channels_last, name)
        factors = dropout(np.ones(layout[0] * layout[1], np.float32), self.p, key=key)
        return layer_kernels.scale_channels(x, layout, factors, out, per_outer=True, name=name)


class GaussianDropout(_DropoutLayer):
    """y = x · (1 + √(p/(1 − p)) n), n standard normal, p in [0, 1), as in keras.layers.GaussianDropout.

    Layers with the same integer seed share their random numbers; see `Dropout`.

    Srivastava et al. (2014), section 10.

    >>> from fastopt.regularization import GaussianDropout
    >>> y = GaussianDropout(0.2, rng=0).forward(np.ones(100_000, np.float32))
    >>> round(float(y.std()), 2)
    0.5
    """

    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        super().__init__(p, rng)
        if self.p == 1.0:
            raise ValueError("p must be below 1: the noise of GaussianDropout(1) is infinite")

    def _apply(self, x: Array, key: int, out: Array | None, name: str) -> Array:
        std = math.sqrt(self.p / (1.0 - self.p))
        return layer_kernels.each("times_normal", x, out, a=std, key=key, names=(name, "out", ""))


class StochasticDepth(_DropoutLayer):
    """Drops a whole residual branch, per sample (mode "row") or for the whole batch (mode "batch"), as in torchvision.

    Layers with the same integer seed share their random numbers; see `Dropout`.
    The other branches are divided by 1 − p. Huang et al., "Deep networks with stochastic depth", ECCV 2016.

    >>> from fastopt.regularization import StochasticDepth
    >>> StochasticDepth(0.5, rng=2).forward(np.ones((4, 2), np.float32))
    array([[2., 2.],
           [0., 0.],
           [0., 0.],
           [0., 0.]], dtype=float32)
    """

    def __init__(self, p: float = 0.5, *, mode: str = "row", rng: Rng = None) -> None:
        super().__init__(p, rng)
        self.mode: str = one_of("mode", mode, ("row", "batch"))

    def _apply(self, x: Array, key: int, out: Array | None, name: str) -> Array:
        if not isinstance(x, np.ndarray) or x.ndim == 0:
            raise TypeError(f"{name} must be a float32 numpy.ndarray with samples along its first axis")
        samples = x.shape[0] if self.mode == "row" else 1
        layout: Layout = (1, samples, x.size // max(samples, 1), False)
        factors = dropout(np.ones(samples, np.float32), self.p, key=key)
        return layer_kernels.scale_channels(x, layout, factors, out, name=name)
