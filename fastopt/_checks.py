"""Checks of arguments: numbers, counts, flags, choices, random generators. Knows no optimizer and no data.

Every check takes the argument's name and its value, and returns the value converted. It raises a TypeError for a value
of the wrong kind and a ValueError for one out of range; the message names the argument, the range and the value.
"""

from __future__ import annotations

import math
import numbers
import operator
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

LARGEST = 3.4028234663852886e38  # the largest float32: the kernels use hyper-parameters as float32
SMALLEST = 2.0**-126  # the smallest float32 of full precision

Check = Callable[[str, Any], Any]


def number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    infinite: bool = False,
) -> float:
    """A finite float with low <= value <= high. `above` excludes low, `below` excludes high, `infinite` permits inf."""
    if type(value) is not float and (isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        x = float(value)
    except OverflowError:  # an int that is too large for a float
        x = math.nan
    inside = (low < x if above else low <= x) and (x < high if below else x <= high)
    if not inside or (math.isinf(x) and not infinite):  # NaN is in no range
        raise ValueError(f"{name} must be {interval(low, high, above, below, infinite)}, got {value!r}")
    return x


def interval(low: float, high: float, above: bool, below: bool, infinite: bool) -> str:
    """A range as text for a message: "in [0, 1)", "> 0 and finite", "finite"."""
    if math.isinf(high) and not infinite:
        return "finite" if math.isinf(low) else f"{'>' if above else '>='} {low:g} and finite"
    return f"in {'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"


def as_float32(name: str, value: Any, low: float = -LARGEST, high: float = LARGEST, **bounds: bool) -> float:
    """A number within these bounds that float32 holds to full precision: 0, or of a magnitude from 1.2e-38."""
    x = number(name, value, low, high, **bounds)
    if 0.0 < abs(x) < SMALLEST:
        zero = "" if bounds.get("above") else "0 or "
        raise ValueError(f"{name} must be {zero}at least {SMALLEST:.3g}, the smallest normal float32, got {value!r}")
    return x


nonnegative = partial(as_float32, low=0.0)
positive = partial(as_float32, low=0.0, above=True)


def integer(name: str, value: Any, low: int = 0, high: int | None = None) -> int:
    """An int with low <= value, and value <= high if high is given. NumPy integers are accepted, bools are not."""
    try:
        x = int(operator.index(value))  # of an array, too, if it has one element and no dimension
    except TypeError:
        x = None
    if x is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if x < low or (high is not None and x > high):
        raise ValueError(f"{name} must be {f'>= {low}' if high is None else f'in [{low}, {high}]'}, got {value}")
    return x


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def one_of(name: str, value: Any, known: Iterable[Any]) -> Any:
    """One of the known values; strings are compared by value, other objects by identity."""
    options = list(known)
    if not any(value is k or (isinstance(value, str) and value == k) for k in options):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")
    return value


def optional(check: Callable[..., Any], name: str, value: Any, *bounds: Any, **options: Any) -> Any:
    """None, or a value that passes this check."""
    return None if value is None else check(name, value, *bounds, **options)


def pair(name: str, value: Any, check: Check) -> tuple[Any, Any]:
    """A pair of values that both pass this check."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name} must be a pair of numbers, got {value!r}")
    return check(f"{name}[0]", value[0]), check(f"{name}[1]", value[1])


def rng_like(name: str, value: Any, kinds: str = "a Generator or a SeedSequence of numpy.random") -> Any:
    """None, a seed >= 0, a numpy.random.Generator or a SeedSequence, unchanged."""
    if value is None or isinstance(value, (np.random.Generator, np.random.SeedSequence)):
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be None, an int >= 0, {kinds}, got {value!r:.60}")
    return integer(name, value)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn with the file and line of the caller: the first frame outside this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "fastopt":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def writable(x: Any) -> Any:
    """x, also in a list or tuple, but copies of arrays that cannot be written, as joblib and pickle 5 give them."""
    if type(x) in (list, tuple):
        return type(x)(writable(item) for item in x)
    return np.array(x, order="K") if isinstance(x, np.ndarray) and not x.flags.behaved else x


class Sendable:
    """An object that writes to its arrays, also after it came from another process."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, writable(value))
