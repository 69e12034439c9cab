"""What the functions of this package accept: counts, samples, times, groups. Every error names its argument."""

from __future__ import annotations

import datetime
import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Rng = int | np.random.Generator | np.random.SeedSequence | None


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning that points at the line outside of this package that led to it, and is told from those of others."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "fastopt":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def count(name: str, value: Any, low: int = 1) -> int:
    """An int that is at least `low`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be >= {low}, got {value}")
    return int(value)


def number(name: str, value: Any, low: float, high: float) -> float:
    """A number strictly between `low` and `high`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not low < value < high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}, both excluded, got {value!r}")
    return float(value)


def share(name: str, value: Any) -> float:
    """A part of a whole: in (0, 1]."""
    if number(name, value, -math.inf, math.inf) <= 0 or value > 1:
        raise ValueError(f"{name} must be greater than 0 and at most 1, got {value!r}")
    return float(value)


def one_of(name: str, value: Any, known: Any) -> Any:
    """One of the known values."""
    if not any(value is k or (isinstance(value, str) and value == k) for k in known):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
    return value


def rng_like(name: str, value: Any, kinds: str = "a Generator or a SeedSequence of numpy.random") -> Any:
    """None, a seed >= 0, a numpy.random.Generator or a SeedSequence, unchanged."""
    if value is None or isinstance(value, (np.random.Generator, np.random.SeedSequence)):
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be None, an int >= 0, {kinds}, got {value!r:.60}")
    return count(name, value, low=0)


def samples(X: Any, name: str = "X") -> int:
    """How many there are: rows of an array, a DataFrame or a sparse matrix, items of a list."""
    shape = getattr(X, "shape", None)
    if isinstance(shape, tuple):
        if not shape:
            raise ValueError(f"{name} has no dimensions: there are no samples")
        return int(shape[0])
    if X is None or isinstance(X, (str, bytes)) or not hasattr(X, "__len__"):
        raise TypeError(f"{name} must hold samples (an array, a DataFrame, a sparse matrix or a list), got {X!r:.60}")
    return len(X)


def same_length(n: int, **arrays: Any) -> None:
    """Each of these that is given has n samples, as X has."""
    for name, a in arrays.items():
        if a is not None and samples(a, name) != n:
            raise ValueError(f"{name} has {samples(a, name)} samples, X has {n}")


def take(X: Any, index: Array) -> Any:
    """The samples at these positions, as a container of the same kind; None stays None."""
    if X is None:
        return None
    if hasattr(X, "iloc"):  # pandas: by position, whatever its labels are
        return X.iloc[index]
    if hasattr(X, "tocsr"):  # of SciPy's sparse formats only some have rows that can be chosen
        return X.tocsr()[index]
    if isinstance(X, (list, tuple)):
        return [X[i] for i in index]
    return X[index]


def column(name: str, values: Any, n: int, of: str = "X") -> Array:
    """One value per sample of X (or what it is called), as a 1-d array without NaN, None or pandas' NA."""
    a = np.asarray(values)
    if a.ndim == 2 and a.shape[1] == 1:
        a = a[:, 0]
    if a.ndim != 1:
        raise ValueError(f"{name} must have one value per sample, got shape {a.shape}")
    if len(a) != n:
        raise ValueError(f"{name} has {len(a)} samples, {of} has {n}")
    missing = _missing(a)
    if missing.any():
        raise ValueError(f"{name}[{int(missing.argmax())}] is {a[missing.argmax()]}")
    return a


def _missing(a: Array) -> Array:
    """Where a has no value. Among objects NaN must be found, too: sorting does not, and equal ones end up apart."""
    if a.dtype.kind in "fc":
        return np.isnan(a)
    if a.dtype.kind in "mM":
        return np.isnat(a)
    if a.dtype.kind != "O":
        return np.zeros(0, bool)
    return np.array([v is None or type(v).__name__ == "NAType" or bool(v != v) for v in a], bool)


def encode(name: str, values: Array) -> tuple[Array, Array]:
    """Codes 0 … k−1 in the order of the sorted values, and how many samples each has. O(n) for compact integers."""
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    if values.dtype.kind in "iu" and values.size:
        low, high = int(values.min()), int(values.max())
        if high - low < 4 * values.size + 1024 and high < 2**62:
            shifted = values.astype(np.intp, copy=False)  # in int8 127 − (−128) would be −1
            shifted = shifted - low if low else shifted
            counts = np.bincount(shifted)
            if counts.all():
                return shifted, counts
            table = np.cumsum(counts > 0) - 1
            return table[shifted], counts[counts > 0]
    try:
        _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    except TypeError:
        one_of_each = {type(v).__name__: v for v in values.tolist()}
        shown = ", ".join(f"{v!r:.40} ({kind})" for kind, v in list(one_of_each.items())[:3])
        raise TypeError(f"{name} holds values that cannot be sorted: {shown}") from None
    return codes.reshape(-1), counts


def as_times(name: str, values: Any, n: int) -> Array:
    """datetime64 or numbers, one per sample, none missing."""
    if getattr(getattr(values, "dtype", None), "tz", None) is not None:
        values = np.asarray(values, dtype="datetime64[ns]")  # pandas with a time zone: the same instants in UTC
    a = np.asarray(values)
    if a.dtype == object and a.size and all(isinstance(v, datetime.date) for v in a.flat):
        a = a.astype("datetime64")
    if a.dtype.kind not in "Miuf":
        raise TypeError(f"{name} must hold datetime64 or numbers, got dtype {a.dtype}")
    return column(name, a, n)


def sorted_times(name: str, values: Any, n: int) -> Array:
    """The same, never decreasing."""
    a = as_times(name, values, n)
    wrong = np.flatnonzero(a[1:] < a[:-1])
    if wrong.size:
        i = int(wrong[0]) + 1
        raise ValueError(f"{name} must be sorted: {name}[{i}] = {a[i]} comes after {name}[{i - 1}] = {a[i - 1]}")
    return a


def times_of(times: Any, X: Any, n: int) -> Array | None:
    """The times given, or else the DatetimeIndex of a DataFrame; None if there are none."""
    if times is not None:
        return sorted_times("times", times, n)
    index = getattr(X, "index", None)
    if getattr(getattr(index, "dtype", None), "kind", "") == "M":
        return sorted_times("X.index", index, n)
    return None


def is_duration(value: Any) -> bool:
    return isinstance(value, (np.timedelta64, datetime.timedelta))


def size(name: str, value: Any, low: int = 1) -> int | np.timedelta64:
    """A count of samples, or a duration (timedelta64, timedelta, pandas.Timedelta) that is longer than 0."""
    if not is_duration(value):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be an int (samples) or a timedelta (a duration), got {value!r}")
        return count(name, value, low)
    duration = np.timedelta64(value)
    if np.isnat(duration):
        raise ValueError(f"{name} is NaT")
    if np.datetime_data(duration.dtype)[0] in ("Y", "M", "generic"):
        raise ValueError(f"{name} must have a fixed length, as days and seconds have, got {value!r}")
    if duration < np.timedelta64(0, "s") or (low > 0 and duration == np.timedelta64(0, "s")):
        raise ValueError(f"{name} must be {'longer than 0' if low > 0 else '>= 0'}, got {value!r}")
    return duration


def optional(check: Callable[..., Any], name: str, value: Any, **options: Any) -> Any:
    """The same check, or None."""
    return None if value is None else check(name, value, **options)
