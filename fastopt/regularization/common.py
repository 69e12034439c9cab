"""What the layers share: keys from generators, layouts, checks. Knows no technique."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from fastopt.conventions import number

Array: TypeAlias = np.ndarray[Any, Any]
Rng: TypeAlias = int | np.random.Generator | None
#: (outer, channels, inner, channels_last), as the kernels take it
Layout: TypeAlias = tuple[int, int, int, bool]

probability = number(0.0, 1.0)
standard_deviation = number(0.0)


def draw_key(rng: Rng) -> int:
    """One draw from the generator: 64 bits that all random numbers of a call follow from."""
    return int(np.random.default_rng(rng).integers(2**64, dtype=np.uint64))


def key_of(rng: Rng, key: int | None) -> int:
    """The key that is given, else one that is drawn."""
    if key is None:
        return draw_key(rng)
    if rng is not None:
        raise TypeError("give rng or key, not both: the key is what rng would draw")
    return whole("key", key, 0, 2**64 - 1)


def whole(name: str, value: Any, low: int, high: int = 2**62) -> int:
    """An int in [low, high]; TypeError or ValueError otherwise."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if not low <= value <= high:
        raise ValueError(
            f"{name} must be >= {low}, got {value}"
            if high == 2**62
            else f"{name} must be in [{low}, {high}], got {value}"
        )
    return int(value)


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """One of these names."""
    names = tuple(known)
    if value not in names:
        raise ValueError(f"{name} must be {', '.join(map(repr, names[:-1]))} or {names[-1]!r}, got {value!r}")
    return str(value)


def layout_of(x: Any, channels_last: bool, name: str = "x") -> Layout:
    """(N, C), (N, C, ...) or (N, ..., C) as (outer, channels, inner, channels_last); ValueError if there is nothing."""
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
    """One array or an iterable of them, as a list that is not empty."""
    if isinstance(arrays, np.ndarray):
        return [arrays]
    if isinstance(arrays, (str, bytes, dict)) or not isinstance(arrays, Iterable):
        raise TypeError(f"{name} must be a float32 array or a list of them, got {type(arrays).__name__}")
    items = list(arrays)
    if not items:
        raise ValueError(f"{name} is empty")
    return items


def range_of(name: str, value: Any, low: float = -math.inf) -> tuple[float, float]:
    """A pair (a, b), a <= b, or one number x for (−x, x)."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{name} must be a number or a pair, got {value!r}")
        a, b = (float(number(low)(f"{name}[{i}]", v)) for i, v in enumerate(value))
    else:
        b = float(number(0.0)(name, value))
        a = -b
    if a > b:
        raise ValueError(f"{name} must be an interval, got {value!r}")
    return a, b


class Layer:
    """Training or inference: what train() and eval() switch. Layers start in training."""

    training = True
    _ran = False

    def train(self, mode: bool = True) -> Layer:
        self.training = bool(mode)
        return self

    def eval(self) -> Layer:
        return self.train(False)

    def _check_ran(self) -> None:
        if not self._ran:
            raise RuntimeError("backward needs a forward before it")

    forward: Callable[..., Array]

    def __call__(self, x: Array, out: Array | None = None) -> Array:
        return self.forward(x, out=out)
