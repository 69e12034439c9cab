"""Checks and conversions of samples, labels, times and durations. Scalar arguments are checked by fastopt._checks."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

from fastopt._checks import integer
from fastopt._types import Array


def samples(X: Any, name: str = "X") -> int:
    """The number of samples: rows of an array, a DataFrame or a sparse matrix, or items of a list."""
    shape = getattr(X, "shape", None)
    if isinstance(shape, tuple):
        if not shape:
            raise ValueError(f"{name} has no dimensions: there are no samples")
        return int(shape[0])
    if X is None or isinstance(X, (str, bytes)) or not hasattr(X, "__len__"):
        raise TypeError(f"{name} must hold samples (an array, a DataFrame, a sparse matrix or a list), got {X!r:.60}")
    return len(X)


def same_length(n: int, **arrays: Any) -> None:
    """Raise ValueError unless each array that is not None has n samples."""
    for name, a in arrays.items():
        if a is not None and samples(a, name) != n:
            raise ValueError(f"{name} has {samples(a, name)} samples, X has {n}")


def take(X: Any, index: Array) -> Any:
    """The samples at these positions, in a container of the same kind; None stays None."""
    if X is None:
        return None
    if hasattr(X, "iloc"):  # pandas: select by position, not by label
        return X.iloc[index]
    if hasattr(X, "tocsr"):  # not every SciPy sparse format supports row selection
        return X.tocsr()[index]
    if isinstance(X, (list, tuple)):
        return type(X)(X[i] for i in index)
    return X.take(index) if is_arrow(X) else X[index]


def is_arrow(X: Any) -> bool:
    """Whether X is an Arrow table or array of pyarrow."""
    return type(X).__module__.partition(".")[0] == "pyarrow"


def is_table(X: Any) -> bool:
    """Whether X is a table with columns of several types: of pandas, polars or pyarrow."""
    return hasattr(X, "iloc") or type(X).__module__.partition(".")[0] in ("pyarrow", "polars")


def class_codes(y: Any, n: int) -> Array | None:
    """(n,) the class of each sample as an index, or None if y is not one column of classes.

    A column of shape (n, 1) and a table of one column count as one column. Numbers that are not whole are no classes.
    """
    if y is None or hasattr(y, "tocsr"):
        return None
    a = np.asarray(y)
    a = a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a
    if a.ndim != 1 or a.dtype.kind in "cmM" or (a.dtype.kind == "f" and np.any(a[~np.isnan(a)] % 1 != 0)):
        return None
    return encode("y", column("y", a, n))[0]


class Positions:
    """Positions among n samples in little memory: n bits if they are sorted and distinct, else small integers."""

    def __init__(self, positions: Array, n: int) -> None:
        self.n, self.size = n, len(positions)
        small = positions.astype(np.min_scalar_type(n))
        self.packed = small.nbytes * 8 > n and bool((positions[1:] > positions[:-1]).all())
        if self.packed:
            mask = np.zeros(n, bool)
            mask[positions] = True
            small = np.packbits(mask)
        self.data = small

    def array(self) -> Array:
        """The positions, in their order."""
        return np.flatnonzero(np.unpackbits(self.data, count=self.n)) if self.packed else self.data.astype(np.intp)


def column(name: str, values: Any, n: int, of: str = "X") -> Array:
    """One value per sample as an (n,) array; ValueError if a value is NaN, NaT, None or pandas' NA.

    `of` is the name of the samples in error messages.
    """
    a = np.asarray(values)
    if a.ndim == 2 and a.shape[1] == 1:
        a = a[:, 0]
    if a.ndim != 1:
        raise ValueError(f"{name} must have one value per sample, got shape {a.shape}")
    if len(a) != n:
        raise ValueError(f"{name} has {len(a)} samples, {of} has {n}")
    if a.dtype.kind == "O":  # NaN among objects must be found here: sorting would treat each NaN as another label
        missing = np.array([v is None or type(v).__name__ == "NAType" or bool(v != v) for v in a], bool)
    else:
        missing = a != a if a.dtype.kind in "fcmM" else np.zeros(0, bool)
    if missing.any():
        raise ValueError(f"{name}[{int(missing.argmax())}] is {a[missing.argmax()]}")
    return a


def encode(name: str, values: Array) -> tuple[Array, Array]:
    """(codes, counts): the index of each value among the sorted distinct values, and how often each value occurs.

    Integers in a small range are counted in O(n); anything else is sorted.
    """
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    if values.dtype.kind in "iu" and values.size:
        low, high = int(values.min()), int(values.max())
        if high - low < 4 * values.size + 1024 and high < 2**62:
            shifted = values.astype(np.intp, copy=False)  # widen first: int8 would overflow in 127 - (-128)
            shifted = shifted - low if low else shifted
            counts = np.bincount(shifted)
            if counts.all():
                return shifted, counts
            return (np.cumsum(counts > 0) - 1)[shifted], counts[counts > 0]
    try:
        _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    except TypeError:
        one_of_each = {type(v).__name__: v for v in values.tolist()}
        shown = ", ".join(f"{v!r:.40} ({kind})" for kind, v in list(one_of_each.items())[:3])
        raise TypeError(f"{name} holds values that cannot be sorted: {shown}") from None
    return codes.reshape(-1), counts


def as_times(name: str, values: Any, n: int) -> Array:
    """(n,) datetime64 or numbers, none missing. Times with a time zone are converted to UTC."""
    if getattr(getattr(values, "dtype", None), "tz", None) is not None:
        values = np.asarray(values, dtype="datetime64[ns]")
    a = np.asarray(values)
    if a.dtype == object and a.size and all(isinstance(v, datetime.date) for v in a.flat):
        a = a.astype("datetime64")
    if a.dtype.kind not in "Miuf":
        raise TypeError(f"{name} must hold datetime64 or numbers, got dtype {a.dtype}")
    return column(name, a, n)


def sorted_times(name: str, values: Any, n: int) -> Array:
    """The same as `as_times`; ValueError if a time is earlier than the one before it."""
    a = as_times(name, values, n)
    wrong = np.flatnonzero(a[1:] < a[:-1])
    if wrong.size:
        i = int(wrong[0]) + 1
        raise ValueError(f"{name} must be sorted: {name}[{i}] = {a[i]} comes after {name}[{i - 1}] = {a[i - 1]}")
    return a


def times_of(times: Any, X: Any, n: int, duration: Any = None, what: str = "") -> Array | None:
    """The sorted times of the samples: `times`, or the DatetimeIndex of the DataFrame X, or None.

    ValueError if `duration` is a duration and there are no datetime64 to add it to; `what` names it in the message.
    """
    found = None
    if times is not None:
        found = sorted_times("times", times, n)
    elif getattr(getattr(getattr(X, "index", None), "dtype", None), "kind", "") == "M":
        found = sorted_times("X.index", X.index, n)
    if is_duration(duration) and (found is None or found.dtype.kind != "M"):
        raise ValueError(f"times is None or no datetime64: {what} by duration needs the time of each sample")
    return found


def is_duration(value: Any) -> bool:
    return isinstance(value, (np.timedelta64, datetime.timedelta))


def size(name: str, value: Any, low: int = 1) -> int | np.timedelta64:
    """A number of samples, or a duration (timedelta64, timedelta, pandas.Timedelta); both >= 0, or > 0 with low=1."""
    if not is_duration(value):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be an int (samples) or a timedelta (a duration), got {value!r}")
        return integer(name, value, low)
    duration = np.timedelta64(value)
    if np.isnat(duration):
        raise ValueError(f"{name} is NaT")
    if np.datetime_data(duration.dtype)[0] in ("Y", "M", "generic"):
        raise ValueError(f"{name} must have a fixed length, as days and seconds have, got {value!r}")
    zero = np.timedelta64(0, "s")
    if duration < zero or (low > 0 and duration == zero):
        raise ValueError(f"{name} must be {'longer than 0' if low > 0 else '>= 0'}, got {value!r}")
    return duration
