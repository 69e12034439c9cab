"""What ensembles are fitted on: rows, targets, weights, names of features. Errors in scikit-learn's words where its own
checks look for them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fastopt.validation.checks import Array, encode, warn

LARGEST = float(np.finfo(float).max)
MODERATE = 400  # weights up to two to this many are left as they are


def rows(X: Any, dtype: Any = np.float64, sparse: bool = False, finite: bool = True, numbers: bool = True) -> Any:
    """X as a (n, features) array of this dtype (None: of numbers, whichever), finite; or as CSR where that passes.
    Where it need not hold numbers, a DataFrame stays one, and other values are what they were.

    TypeError or ValueError for sparse input, complex numbers, other dimensions, no rows, no features, NaN or infinity.
    """
    if hasattr(X, "tocsr"):
        if not sparse:
            raise TypeError("X is sparse data, but dense data is required: pass X.toarray()")
        return X.tocsr()
    x = _numbers("X", X, dtype) if numbers else _values(X, dtype)
    if x.ndim != 2:
        raise ValueError(
            f"X: Expected 2D array, got {x.ndim}D array instead (shape {x.shape}). Reshape your data with "
            "X.reshape(-1, 1) if it has one feature, with X.reshape(1, -1) if it is one sample"
        )
    for axis, what in enumerate(("sample(s)", "feature(s)")):
        if x.shape[axis] == 0:
            raise ValueError(f"X: Found array with 0 {what} (shape={x.shape}) while a minimum of 1 is required.")
    if finite and not hasattr(x, "iloc"):
        _finite("X", x)
    return x


def _values(X: Any, dtype: Any) -> Any:
    """A DataFrame as it is; anything else as an array: numbers of this dtype, and lists of several kinds unchanged."""
    if hasattr(X, "iloc"):
        return X
    a = _array("X", X)
    if a.dtype.kind in "US" and not hasattr(X, "dtype"):  # NumPy makes strings of numbers that stand beside strings
        return np.asarray(X, dtype=object)
    return a if dtype is None or a.dtype.kind not in "biuf" else np.asarray(a, dtype=dtype)


def _numbers(name: str, values: Any, dtype: Any) -> Array:
    a = _array(name, values)
    if a.dtype.kind not in "biufO":  # NumPy would read strings as numbers, and NaT as −9e18
        raise TypeError(f"{name} must hold numbers, got dtype {a.dtype}")
    if dtype is None and a.dtype.kind in "biuf":
        return a
    try:
        return np.asarray(a, dtype=np.float64 if dtype is None else dtype)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{name} must hold numbers: {error}") from None


def _array(name: str, values: Any) -> Array:
    """As an array; complex numbers and masked ones, which NumPy would unmask, are refused."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise TypeError(f"{name} has masked values: fill them, or drop their samples")
    a = np.asarray(values)
    if a.dtype.kind == "c":
        raise ValueError(f"{name}: Complex data not supported, got dtype {a.dtype}")
    return a


def _finite(name: str, a: Array) -> None:
    if a.dtype.kind == "f" and not np.isfinite(a).all():
        bad = np.argwhere(~np.isfinite(a))[0].tolist()
        value = a[tuple(bad)]
        raise ValueError(f"{name} contains {'NaN' if np.isnan(value) else 'infinity'}: {name}{bad} is {value}")


def weights(sample_weight: Any, n: int) -> Array:
    """(n,) float64 of its own, finite, >= 0, not all 0; ones for None."""
    if sample_weight is None:
        return np.ones(n)
    w = np.array(_numbers("sample_weight", sample_weight, np.float64))
    if w.shape != (n,):
        raise ValueError(f"sample_weight has shape {w.shape}, X has {n} samples: expected ({n},)")
    _finite("sample_weight", w)
    if w.min() < 0:
        raise ValueError(f"sample_weight must be >= 0, got sample_weight[{int(w.argmin())}] = {w.min()}")
    if not w.any():
        raise ValueError("sample_weight is zero for every sample")
    exponent = int(np.frexp(w.max())[1])  # only ratios matter: sums of very large or small ones lose nothing
    return np.ldexp(w, -exponent) if abs(exponent) > MODERATE else w


def numbers(y: Any, n: int, several: bool = False) -> Array:
    """(n,) float64, finite, and so are their sums and differences; or (n, targets) where there may be several."""
    a = np.array(_numbers("y", _column(y, n, several), np.float64))
    _finite("y", a)
    if np.abs(a).max() > LARGEST / (4 * n):
        at = np.unravel_index(np.abs(a).argmax(), a.shape)
        where = ", ".join(map(str, at))
        raise ValueError(f"y[{where}] = {a[at]} is too large: sums over {n} samples overflow")
    return a


def labels(y: Any, n: int, weight: Array, least: int = 2) -> tuple[Array, Array]:
    """The sorted classes and each sample's place among them, int32.

    ValueError if y holds numbers that are no whole ones, or fewer than `least` classes with any weight.
    """
    a = _column(y, n)
    if a.dtype.kind == "O" and all(isinstance(v, (int, float, np.number)) for v in a):
        a = np.asarray(a.tolist())  # whole numbers stay whole: as floats large ones would become equal
    if a.dtype.kind == "f":
        _finite("y", a)
        if (a != np.floor(a)).any():
            raise ValueError(f"Unknown label type: continuous. y must hold classes, got {a[a != np.floor(a)][0]}")
    if a.dtype.kind in "mM" and np.isnat(a).any():
        raise ValueError(f"y[{int(np.isnat(a).argmax())}] is NaT")
    codes, counts = encode("y", a)
    first = np.empty(len(counts), np.intp)
    first[codes[::-1]] = np.arange(n)[::-1]
    used = int((np.bincount(codes, weight) > 0).sum())
    if used < least:
        raise ValueError(
            f"y has {used} class with any weight: there is nothing to tell apart, at least {least} are needed"
        )
    return a[first], codes.astype(np.int32)


def _column(y: Any, n: int, several: bool = False) -> Array:
    if y is None:
        raise ValueError("this estimator requires y to be passed, but the target y is None")
    if hasattr(y, "tocsr"):
        raise TypeError("y is sparse data, but dense data is required: pass y.toarray()")
    a = _array("y", y)
    if a.ndim == 2 and a.shape[1] == 1:
        loaded = sys.modules.get("sklearn.exceptions")
        kind = UserWarning if loaded is None else loaded.DataConversionWarning
        warn("A column-vector y was passed when a 1d array was expected: y.ravel() is used", kind)
        a = a[:, 0]
    if a.ndim != 1 and not (several and a.ndim == 2 and a.shape[1]):
        hint = ": fit one model to each of its columns" if a.ndim == 2 and a.shape[1] else ""
        raise ValueError(f"y should be a 1d array, got shape {a.shape}{hint}")
    if len(a) != n:
        raise ValueError(f"y has {len(a)} samples, X has {n}: inconsistent numbers of samples")
    return a


def names_of(X: Any) -> Array | None:
    """The names of a DataFrame's columns if all are strings."""
    columns = getattr(X, "columns", None)
    if columns is None:
        return None
    names = np.asarray(columns, dtype=object)
    return names if len(names) and all(isinstance(name, str) for name in names) else None


def check_names(fitted: Array | None, names: Array | None, estimator: str) -> None:
    """Features are called as they were in fit, and stand in the same order."""
    if fitted is None and names is not None:
        warn(f"X has feature names, but {estimator} was fitted without feature names")
    elif fitted is not None and names is None:
        warn(f"X does not have valid feature names, but {estimator} was fitted with feature names")
    elif fitted is not None and names is not None and fitted.tolist() != names.tolist():
        message = "The feature names should match those that were passed during fit.\n"
        message += _listed("Feature names unseen at fit time:\n", sorted(set(names) - set(fitted)))
        message += _listed("Feature names seen at fit time, yet now missing:\n", sorted(set(fitted) - set(names)))
        if set(fitted) == set(names):
            message += "Feature names must be in the same order as they were in fit.\n"
        raise ValueError(message)


def _listed(head: str, names: list[str]) -> str:
    shown = [f"- {name}\n" for name in names[:5]] + ["- ...\n"] * (len(names) > 5)
    return head + "".join(shown) if names else ""
