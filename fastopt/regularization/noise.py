"""Gaussian noise on inputs, weights and gradients. Each random number is a function of (key, element)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fastopt._checks import LARGEST, flag, integer, nonnegative, number
from fastopt._native import layers as layer_kernels
from fastopt._types import Array, Rng
from fastopt.regularization.layer import RandomLayer, as_list, choose_key, draw_key, unchanged


def add_noise(x: Array, std: float, *, rng: Rng = None, key: int | None = None, out: Array | None = None) -> Array:
    """y = x + std · n, n standard normal. Backward is the identity.

    Parameters
    ----------
    x : float32, C order, any shape.
    std : >= 0, in the units of x.
    rng, key : as in `dropout`.
    out : an array like x for the result; it may be x.

    Normals are drawn by the method of Box and Muller (1958), two from two 32-bit words, so that |n| < 6.66.
    Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural Computation 7 (1995).

    >>> from fastopt.regularization import add_noise
    >>> add_noise(np.zeros(3, np.float32), 0.1, rng=0)
    array([-0.03381715, -0.09201784, -0.09832451], dtype=float32)
    """
    std = nonnegative("std", std)
    return layer_kernels.each("add_normal" if std else "copy", x, out, a=std, key=choose_key(rng, key))


def multiply_noise(x: Array, std: float, *, rng: Rng = None, key: int | None = None, out: Array | None = None) -> Array:
    """y = x · (1 + std · n), n standard normal. Backward is the same call on the gradient with the same key.

    The arguments are those of `add_noise`.

    >>> from fastopt.regularization import multiply_noise
    >>> y = multiply_noise(np.full(100_000, 2, np.float32), 0.1, rng=0)
    >>> round(float(y.mean()), 2), round(float(y.std()), 2)
    (2.0, 0.2)
    """
    std = nonnegative("std", std)
    return layer_kernels.each("times_normal" if std else "copy", x, out, a=std, key=choose_key(rng, key))


class GaussianNoise(RandomLayer):
    """Adds noise in training, as keras.layers.GaussianNoise; with multiplicative=True multiplies by 1 + noise.

    Layers with the same integer seed draw the same random numbers. For independent layers pass one Generator to all:
    `rng = numpy.random.default_rng(0)`.
    See `add_noise` and `multiply_noise`. Inference leaves x unchanged.

    >>> from fastopt.regularization import GaussianNoise
    >>> x = np.zeros(3, np.float32)
    >>> layer = GaussianNoise(0.1, rng=0)
    >>> bool((layer.forward(x) == x).any()), bool((layer.eval().forward(x) == x).all())
    (False, True)
    """

    def __init__(self, std: float, *, multiplicative: bool = False, rng: Rng = None) -> None:
        super().__init__(rng)
        self.std = nonnegative("std", std)
        self.multiplicative = flag("multiplicative", multiplicative)

    def _apply(self, x: Array, key: int, out: Array | None, name: str) -> Array:
        if not self.std:
            return layer_kernels.each("copy", x, out, names=(name, "out", ""))
        kernel = "times_normal" if self.multiplicative else "add_normal"
        return layer_kernels.each(kernel, x, out, a=self.std, key=key, names=(name, "out", ""))

    def backward(self, grad: Array, out: Array | None = None) -> Array:
        """The gradient at the input of the last forward: grad itself for additive noise."""
        if self.multiplicative:
            return super().backward(grad, out)
        self._check_grad(grad)
        return unchanged(grad, out, "grad")

    def __repr__(self) -> str:
        return f"GaussianNoise(std={self.std:g}, multiplicative={self.multiplicative})"


def perturbed(params: Array | Iterable[Array], std: float, rng: Rng = None) -> layer_kernels.Perturbed:
    """A context manager: inside the block the parameters hold W + std · n. At its end W is restored bit for bit.

    W is also restored after an exception or Ctrl-C. The object may be used for several blocks: each has new noise, and
    the buffers are allocated once. Parameters are float32 arrays as an optimizer takes them. Tensor i draws from stream
    i of the block's key.

        with perturbed(params, 0.01, rng=0):
            grads = backward(params, batch)   # taken at W + noise
        opt.step(grads)                       # applied at W

    An, "The effects of adding noise during backpropagation training", Neural Computation 8 (1996).

    >>> from fastopt.regularization import perturbed
    >>> w = np.ones(3, np.float32)
    >>> with perturbed(w, 0.1, rng=0):
    ...     moved = w.copy()
    >>> w, bool((moved != w).all())
    (array([1., 1., 1.], dtype=float32), True)
    """
    tensors = as_list(params, "params")
    std = nonnegative("std", std)
    generator = np.random.default_rng(rng)
    return layer_kernels.Perturbed(tensors, std, lambda: draw_key(generator))


class GradientNoise:
    """Gradient noise with decaying variance: σ²ₜ = eta / (1 + t)^gamma, t = 0, 1, … the number of earlier steps.

    It is an option of a step: `opt.step(grads, noise=GradientNoise(0.3, rng=0))`. In the same pass over memory the step
    adds the noise after grad_scale and max_norm, and before clip_value and the penalties; it does not write to the
    gradients. `add_(grads, t)` adds the noise to gradients in place.

    Parameters
    ----------
    eta : >= 0, the variance of the first step. The paper tries 0.01, 0.3 and 1.
    gamma : in [0, 16], the rate of decay; 0.55 in the paper. With 0 the variance stays eta.
    rng : None, a seed or a Generator; each step draws a key from it.

    Neelakantan et al., "Adding gradient noise improves learning for very deep networks", arXiv:1511.06807 (2015).

    >>> import fastopt
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
        self.eta, self.gamma = number("eta", eta, 0.0, LARGEST), number("gamma", gamma, 0.0, 16.0)
        self.rng = np.random.default_rng(rng)

    def std(self, t: int) -> float:
        """The standard deviation σₜ of step t = 0, 1, …"""
        return math.sqrt(self.eta / (1.0 + integer("t", t)) ** self.gamma)

    def draw(self, t: int) -> tuple[float, int]:
        """(standard deviation, new key) of step t."""
        return self.std(t), draw_key(self.rng)

    def __repr__(self) -> str:
        return f"GradientNoise(eta={self.eta:g}, gamma={self.gamma:g})"

    def add_(self, grads: Array | Iterable[Array], t: int) -> None:
        """grads ← grads + σₜ n in place, for all tensors in one parallel region."""
        tensors = as_list(grads, "grads")
        std, key = self.draw(t)
        layer_kernels.each_of("add_normal", tensors, tensors, a=std, key=key, names=("gradient", "gradient", ""))
