"""The base classes of layers, keys of random streams, memory layouts. Knows no technique."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Self, TypeAlias

import numpy as np

from fastopt._checks import Sendable, integer, number
from fastopt._native import layers as layer_kernels
from fastopt._types import Array, Rng

#: (outer, channels, inner, channels_last), as the kernels take it
Layout: TypeAlias = tuple[int, int, int, bool]


def probability(name: str, value: Any) -> float:
    """A number in [0, 1]."""
    return number(name, value, 0.0, 1.0)


def draw_key(rng: Rng) -> int:
    """Draw a key of 64 bits from the generator. All random numbers of one call are a function of its key."""
    return int(np.random.default_rng(rng).integers(2**64, dtype=np.uint64))


def choose_key(rng: Rng, key: int | None) -> int:
    """The given key, or a new one drawn from rng."""
    if key is None:
        return draw_key(rng)
    if rng is not None:
        raise TypeError("give rng or key, not both: rng would only draw a key")
    return integer("key", key, 0, 2**64 - 1)


def layout_of(x: Any, channels_last: bool, name: str = "x") -> Layout:
    """The layout of (N, C), (N, C, ...) or, with channels_last, (N, ..., C). Raises ValueError if x is empty."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be a float32 numpy.ndarray, got {type(x).__name__}")
    if x.ndim < 2:
        raise ValueError(f"{name} must have at least two dimensions (samples and channels), got shape {x.shape}")
    if x.size == 0:
        raise ValueError(f"{name} is empty: its shape is {x.shape}")
    channels = x.shape[-1] if channels_last else x.shape[1]
    inner = x.size // (x.shape[0] * channels)
    return x.shape[0], channels, inner, channels_last or inner == 1


def as_list(arrays: Any, name: str) -> list[Array]:
    """One array, or an iterable of arrays, as a list. Raises ValueError if it is empty."""
    if isinstance(arrays, np.ndarray):
        return [arrays]
    if isinstance(arrays, (str, bytes, dict)) or not isinstance(arrays, Iterable):
        raise TypeError(f"{name} must be a float32 array or a list of them, got {type(arrays).__name__}")
    items = list(arrays)
    if not items:
        raise ValueError(f"{name} is empty")
    return items


def unchanged(x: Array, out: Array | None, name: str) -> Array:
    """x itself, or a copy of it in out."""
    return x if out is None else layer_kernels.each("copy", x, out, names=(name, "out", ""))


def all_or_nothing(
    owner: Any, call: Callable[[], Array], rng: np.random.Generator | None = None, arrays: Iterable[Array] = ()
) -> Array:
    """Call; after an error or Ctrl-C restore the owner's attributes, the generator's state and the arrays' values."""
    attributes, state = dict(vars(owner)), {} if rng is None else rng.bit_generator.state
    values = [(a, a.copy()) for a in arrays]
    try:
        return call()
    except BaseException:
        owner.__dict__ = attributes
        if rng is not None:
            rng.bit_generator.state = state
        for a, value in values:
            a[...] = value
        raise


class Layer(Sendable):
    """A layer in training or inference mode, switched by train() and eval(). Layers start in training mode."""

    training = True
    _input: tuple[Any, Any] | None = None  # shape and dtype of the last forward's x

    def train(self, mode: bool = True) -> Self:
        """Switch to training, or with mode=False to inference."""
        self.training = bool(mode)
        return self

    def eval(self) -> Self:
        """Switch to inference."""
        return self.train(False)

    def _check_grad(self, grad: Array) -> None:
        if self._input is None:
            raise RuntimeError("backward needs a forward before it")
        if not isinstance(grad, np.ndarray) or (grad.shape, grad.dtype) != self._input:
            got = f"{grad.dtype} of shape {grad.shape}" if isinstance(grad, np.ndarray) else type(grad).__name__
            shape, dtype = self._input
            raise ValueError(f"grad must be {dtype} of shape {shape} like the x of the last forward, got {got}")

    forward: Callable[..., Array]

    def __call__(self, x: Array, out: Array | None = None) -> Array:
        return self.forward(x, out=out)


class RandomLayer(Layer, ABC):
    """A layer that draws a key in each training forward, and uses the same key in backward.

    Layers with the same integer seed draw the same keys. For independent layers pass one Generator to all of them.
    """

    _active = True  # False: the layer never changes anything, and needs no key

    def __init__(self, rng: Rng) -> None:
        self.rng = np.random.default_rng(rng)
        self.key: int | None = None

    def forward(self, x: Array, out: Array | None = None) -> Array:
        """The layer's output. Each call in training draws new random numbers; inference returns x."""
        if not isinstance(x, np.ndarray):
            raise TypeError(f"x must be a float32 numpy.ndarray, got {type(x).__name__}")
        return all_or_nothing(self, lambda: self._draw_and_apply(x, out), self.rng)

    def _draw_and_apply(self, x: Array, out: Array | None) -> Array:
        key = draw_key(self.rng) if self.training and self._active else None
        y = unchanged(x, out, "x") if key is None else self._apply(x, key, out, "x")
        self.key, self._input = key, (x.shape, x.dtype)
        return y

    def backward(self, grad: Array, out: Array | None = None) -> Array:
        """The gradient at the input of the last forward, with the same random numbers; out may be grad."""
        self._check_grad(grad)
        return unchanged(grad, out, "grad") if self.key is None else self._apply(grad, self.key, out, "grad")

    @abstractmethod
    def _apply(self, x: Array, key: int, out: Array | None, name: str) -> Array:
        """The transform of x under this key. Error messages call x by `name`."""
