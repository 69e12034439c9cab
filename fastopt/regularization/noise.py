"""Gaussian noise on inputs, on weights and on gradients. Each number follows from (key, element)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fastopt._native import layers as layer_kernels
from fastopt.conventions import flag, number
from fastopt.regularization.common import (
    Array,
    Layer,
    Rng,
    as_list,
    draw_key,
    key_of,
    standard_deviation,
    whole,
)


def add_noise(x: Array, std: float, *, rng: Rng = None, key: int | None = None, out: Array | None = None) -> Array:
    """y = x + std · n, n standard normal. Backward is the identity.

    Parameters
    ----------
    x : float32, C order, any shape.
    std : >= 0, in the units of x.
    rng, key : as in `dropout`.
    out : an array like x for the result; it may be x.

    Normals are Box and Muller's (1958), from two 32-bit words each pair: none beyond 6.66 standard deviations.
    Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural Computation 7 (1995).

    >>> import numpy as np
    >>> from fastopt.regularization import add_noise
    >>> add_noise(np.zeros(3, np.float32), 0.1, rng=0)
    array([-0.03381715, -0.09201784, -0.09832451], dtype=float32)
    """
    std = standard_deviation("std", std)
    return layer_kernels.each("add_normal" if std else "copy", x, out, a=std, key=key_of(rng, key))


def multiply_noise(x: Array, std: float, *, rng: Rng = None, key: int | None = None, out: Array | None = None) -> Array:
    """y = x · (1 + std · n), n standard normal. Backward is the same call on the gradient with the same key.

    Arguments as those of `add_noise`.

    >>> import numpy as np
    >>> from fastopt.regularization import multiply_noise
    >>> y = multiply_noise(np.full(100_000, 2, np.float32), 0.1, rng=0)
    >>> round(float(y.mean()), 2), round(float(y.std()), 2)
    (2.0, 0.2)
    """
    std = standard_deviation("std", std)
    return layer_kernels.each("times_normal" if std else "copy", x, out, a=std, key=key_of(rng, key))


class GaussianNoise(Layer):
    """Adds noise in training, none in inference (keras.layers.GaussianNoise); see `add_noise`, or with
    multiplicative=True `multiply_noise`.

    >>> import numpy as np
    >>> from fastopt.regularization import GaussianNoise
    >>> x = np.zeros(3, np.float32)
    >>> layer = GaussianNoise(0.1, rng=0)
    >>> bool((layer.forward(x) == x).any()), bool((layer.eval().forward(x) == x).all())
    (False, True)
    """

    def __init__(self, std: float, *, multiplicative: bool = False, rng: Rng = None) -> None:
        self.std = standard_deviation("std", std)
        self.multiplicative = flag("multiplicative", multiplicative)
        self.rng = np.random.default_rng(rng)
        self.key: int | None = None

    def forward(self, x: Array, out: Array | None = None) -> Array:
        """x with noise in training; x itself, or a copy in out, in inference."""
        if not self.training:
            self.key, self._ran = None, True
            return x if out is None else layer_kernels.each("copy", x, out)
        key = draw_key(self.rng)
        y = (multiply_noise if self.multiplicative else add_noise)(x, self.std, key=key, out=out)
        self.key, self._ran = key, True
        return y

    def backward(self, grad: Array, out: Array | None = None) -> Array:
        """The gradient at the input of the last forward."""
        self._check_ran()
        if self.multiplicative and self.key is not None:
            return multiply_noise(grad, self.std, key=self.key, out=out)
        return grad if out is None else layer_kernels.each("copy", grad, out, names=("grad", "out", ""))

    def __repr__(self) -> str:
        return f"GaussianNoise(std={self.std:g}, multiplicative={self.multiplicative})"


def perturbed(params: Array | Iterable[Array], std: float, rng: Rng = None) -> layer_kernels.Perturbed:
    """A block in which the parameters hold W + std · n; however it is left, W is back bit for bit.

    The object may be entered again: new noise each time, in buffers allocated once. Parameters are float32 arrays as an
    optimizer takes them; tensor i draws from stream i of the block's key.

        with perturbed(params, 0.01, rng=0):
            grads = backward(params, batch)   # taken at W + noise
        opt.step(grads)                       # applied at W

    An, "The effects of adding noise during backpropagation training", Neural Computation 8 (1996).

    >>> import numpy as np
    >>> from fastopt.regularization import perturbed
    >>> w = np.ones(3, np.float32)
    >>> with perturbed(w, 0.1, rng=0):
    ...     moved = w.copy()
    >>> w, bool((moved != w).all())
    (array([1., 1., 1.], dtype=float32), True)
    """
    tensors = as_list(params, "params")
    std = standard_deviation("std", std)
    generator = np.random.default_rng(rng)
    return layer_kernels.Perturbed(tensors, std, lambda: draw_key(generator))


class GradientNoise:
    """Gradient noise whose variance decays: σ²ₜ = eta / (1 + t)^gamma, t = 0, 1, … the steps done before.

    An option of a step: `opt.step(grads, noise=GradientNoise(0.3, rng=0))`. The noise is added after grad_scale and
    the norm's clipping and before clip_value and the penalties, in the same pass; the gradients are not written.
    `add_(grads, t)` adds it to gradients in place.

    Parameters
    ----------
    eta : >= 0, the first step's variance. The paper tries 0.01, 0.3 and 1.
    gamma : >= 0, the rate of decay; the paper's 0.55. With 0 the variance stays eta.
    rng : None, a seed or a Generator; each step draws a key from it.

    Neelakantan et al., "Adding gradient noise improves learning for very deep networks", arXiv:1511.06807 (2015).

    >>> import numpy as np, fastopt
    >>> from fastopt.regularization import GradientNoise
    >>> noise = GradientNoise(eta=0.3, rng=0)
    >>> round(noise.std(0) ** 2, 3), round(noise.std(99) ** 2, 3)
    (0.3, 0.024)
    >>> w = np.zeros(4, np.float32)
    >>> fastopt.SGD(w, lr=1.0).step(np.zeros(4, np.float32), noise=noise)
    >>> bool((w != 0).all())
    True
    """

    def __init__(self, eta: float = 0.3, gamma: float = 0.55, *, rng: Rng = None) -> None:
        self.eta = float(number(0.0)("eta", eta))
        self.gamma = float(number(0.0)("gamma", gamma))
        self.rng = np.random.default_rng(rng)

    def std(self, t: int) -> float:
        """The standard deviation of the step after t others."""
        return math.sqrt(self.eta / (1.0 + whole("t", t, 0)) ** self.gamma)

    def draw(self, t: int) -> tuple[float, int]:
        """Standard deviation and key of a step."""
        return self.std(t), draw_key(self.rng)

    def __repr__(self) -> str:
        return f"GradientNoise(eta={self.eta:g}, gamma={self.gamma:g})"

    def add_(self, grads: Array | Iterable[Array], t: int) -> None:
        """grads ← grads + σₜ n in place, all tensors in one parallel region."""
        tensors = as_list(grads, "grads")
        std, key = self.draw(t)
        layer_kernels.each_of("add_normal", tensors, tensors, a=std, key=key, names=("gradient", "gradient", ""))
