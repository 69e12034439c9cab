"""Dropout in its four forms. The mask is a function of (key, element), drawn again in backward and never stored."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from fastopt._native import layers as layer_kernels
from fastopt.conventions import flag
from fastopt.regularization.common import Array, Layer, Layout, Rng, draw_key, key_of, layout_of, probability, whole


def _threshold(p: float) -> int:
    """A word below it drops its element."""
    return min(round(p * 2**32), 2**32 - 1)


def _same(x: Array, out: Array | None, name: str) -> Array:
    """x itself, or a copy in out."""
    return x if out is None else layer_kernels.each("copy", x, out, names=(name, "out", ""))


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
    p : in [0, 1], in steps of 2⁻³². A dropped element is 0 whatever it was, NaN too. p = 0 gives x, p = 1 zeros.
    rng : None, a seed or a Generator, from which one key is drawn; or
    key : the key itself (draw_key(rng)), an int in [0, 2⁶⁴). Element i of the array in memory depends on (key, i).
    training : False gives x.
    out : an array like x for the result; it may be x. Without it, and where nothing is dropped, x itself is returned.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).

    >>> import numpy as np
    >>> from fastopt.regularization import dropout, draw_key
    >>> key = draw_key(0)
    >>> y = dropout(np.ones(8, np.float32), 0.5, key=key)
    >>> y
    array([2., 2., 2., 2., 0., 2., 0., 2.], dtype=float32)
    >>> grad = dropout(np.full(8, 0.1, np.float32), 0.5, key=key)  # backward
    >>> bool(np.all((grad > 0) == (y > 0)))
    True
    """
    p = probability("p", p)
    if not flag("training", training) or p == 0.0:
        return _same(x, out, name)
    if p == 1.0:
        y = layer_kernels.each("copy", x, out, names=(name, "out", ""))
        y.fill(0.0)
        return y
    scale = 1.0 / (1.0 - p)
    return layer_kernels.each(
        "drop", x, out, a=scale, threshold=_threshold(p), key=key_of(rng, key), names=(name, "out", "")
    )


def dropout_bits(size: int, p: float, key: int) -> Array:
    """The mask of dropout(x, p, key=key) with x.size = size, packed: bit i % 8 of byte i // 8 is 1 where i is kept.

    >>> import numpy as np
    >>> from fastopt.regularization import dropout_bits
    >>> np.unpackbits(dropout_bits(8, 0.5, key=7), bitorder="little")
    array([1, 0, 0, 0, 0, 0, 1, 0], dtype=uint8)
    """
    size, p = whole("size", size, 0), probability("p", p)
    if p in (0.0, 1.0):
        bits = np.full(size, p == 0.0)
        return np.packbits(bits, bitorder="little")
    return layer_kernels.drop_bits(size, _threshold(p), key_of(None, key))


class _RandomLayer(Layer, ABC):
    """A layer that draws a key in each forward of its training and keeps it for backward."""

    def __init__(self, p: float, rng: Rng) -> None:
        self.p = probability("p", p)
        self.rng = np.random.default_rng(rng)
        self.key: int | None = None

    def forward(self, x: Array, out: Array | None = None) -> Array:
        """The layer's output; in training a new mask each time."""
        key = draw_key(self.rng) if self.training and self.p > 0.0 else None
        y = _same(x, out, "x") if key is None else self._apply(x, key, out, "x")
        self.key, self._ran = key, True
        return y

    def backward(self, grad: Array, out: Array | None = None) -> Array:
        """The gradient at the input of the last forward, whose mask is drawn again; out may be grad."""
        self._check_ran()
        return _same(grad, out, "grad") if self.key is None else self._apply(grad, self.key, out, "grad")

    @abstractmethod
    def _apply(self, x: Array, key: int, out: Array | None, name: str) -> Array:
        """x, called `name` in messages, under the mask of this key."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p:g})"


class Dropout(_RandomLayer):
    """Dropout element by element (torch.nn.Dropout); see `dropout`.

    >>> import numpy as np
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
        """The last mask as packed bits; see `dropout_bits`."""
        return dropout_bits(size, 0.0 if self.key is None else self.p, self.key or 0)


class SpatialDropout(_RandomLayer):
    """Dropout of whole channels of a sample (torch.nn.Dropout2d): (N, C, ...), or (N, ..., C) with channels_last.

    Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.

    >>> import numpy as np
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


class GaussianDropout(_RandomLayer):
    """y = x · (1 + √(p/(1 − p)) n), n standard normal (keras.layers.GaussianDropout): p in [0, 1).

    Srivastava et al. (2014), section 10.

    >>> import numpy as np
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


class StochasticDepth(_RandomLayer):
    """A residual branch dropped as a whole, per sample, or for the batch (torchvision's modes "row" and "batch").

    Huang et al., "Deep networks with stochastic depth", ECCV 2016; inverted, as dropout is.

    >>> import numpy as np
    >>> from fastopt.regularization import StochasticDepth
    >>> StochasticDepth(0.5, rng=2).forward(np.ones((4, 2), np.float32))
    array([[2., 2.],
           [0., 0.],
           [0., 0.],
           [0., 0.]], dtype=float32)
    """

    def __init__(self, p: float = 0.5, *, mode: str = "row", rng: Rng = None) -> None:
        super().__init__(p, rng)
        if mode not in ("row", "batch"):
            raise ValueError(f"mode must be 'row' or 'batch', got {mode!r}")
        self.mode = mode

    def _apply(self, x: Array, key: int, out: Array | None, name: str) -> Array:
        if not isinstance(x, np.ndarray) or x.ndim == 0:
            raise TypeError(f"{name} must be a float32 numpy.ndarray with samples along its first axis")
        samples = x.shape[0] if self.mode == "row" else 1
        layout: Layout = (1, samples, x.size // max(samples, 1), False)
        factors = dropout(np.ones(samples, np.float32), self.p, key=key)
        return layer_kernels.scale_channels(x, layout, factors, out, name=name)
