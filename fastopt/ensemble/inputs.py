"""Checks of the data for ensembles: features, targets, sample weights, feature names. Knows no estimator.

Some messages contain the phrases that scikit-learn's estimator checks require.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fastopt._checks import warn
from fastopt._types import Array
from fastopt.validation._samples import encode, is_table

LARGEST = float(np.finfo(float).max)
LARGEST_EXPONENT = 400  # weights between 2**-400 and 2**400 are not rescaled


def features(
    X: Any, dtype: Any = np.float64, *, sparse: bool = False, finite: bool = True, numeric: bool = True
) -> Any:
    """X as an (n, features) array of this dtype (None: any numeric dtype), or as a CSR matrix if `sparse` allows it.

    With numeric=False a DataFrame is returned unchanged, and arrays of other values keep their values. Raises TypeError
    or ValueError for sparse or complex input, other than two dimensions, no samples, no features, and, with `finite`,
    for NaN and infinity.
    """
    if hasattr(X, "tocsr"):
        if not sparse:
            raise TypeError("X is sparse data, but dense data is required: pass X.toarray()")
        return X.tocsr()
    x = _numbers("X", X, dtype) if numeric else _any_values(X, dtype)
    if len(x.shape) != 2:
        raise ValueError(
            f"X: Expected 2D array, got {len(x.shape)}D array instead (shape {x.shape}). Reshape your data with "
            "X.reshape(-1, 1) if it has one feature, with X.reshape(1, -1) if it is one sample"
        )
    for axis, what in enumerate(("sample(s)", "feature(s)")):
        if x.shape[axis] == 0:
            raise ValueError(f"X: Found array with 0 {what} (shape={x.shape}) while a minimum of 1 is required.")
    if finite and not is_table(x):
        _check_finite("X", x)
    return x


def _any_values(X: Any, dtype: Any) -> Any:
    """A table unchanged; a numeric array in this dtype; any other array or nested list with its own values."""
    if is_table(X):
        return X
    a = _array("X", X)
    if a.dtype.kind in "US" and not hasattr(X, "dtype"):  # NumPy turns the numbers of a mixed list into strings
        return np.asarray(X, dtype=object)
    return a if dtype is None or a.dtype.kind not in "biuf" else np.asarray(a, dtype=dtype)


def _numbers(name: str, values: Any, dtype: Any) -> Array:
    a = _array(name, values)
    if a.dtype.kind not in "biufO":  # NumPy would parse strings, and would read NaT as −9e18
        raise TypeError(f"{name} must hold numbers, got dtype {a.dtype}")
    if dtype is None and a.dtype.kind in "biuf":
        return a
    try:
        return np.asarray(a, dtype=np.float64 if dtype is None else dtype)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must hold numbers: {error}") from None


def _array(name: str, values: Any) -> Array:
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):  # np.asarray would drop the mask
        raise TypeError(f"{name} has masked values: fill them, or drop their samples")
    a = np.asarray(values)
    if a.dtype.kind == "c":
        raise ValueError(f"{name}: Complex data not supported, got dtype {a.dtype}")
    return a


def _check_finite(name: str, a: Array) -> None:
    if a.dtype.kind == "f" and not np.isfinite(a).all():
        index = np.argwhere(~np.isfinite(a))[0].tolist()
        value = a[tuple(index)]
        raise ValueError(f"{name} contains {'NaN' if np.isnan(value) else 'infinity'}: {name}{index} is {value}")


def weights(sample_weight: Any, n: int) -> Array:
    """A new (n,) float64 array, finite, >= 0 and not all 0; ones for None. Very large or small weights are rescaled."""
    if sample_weight is None:
        return np.ones(n)
    w = np.array(_numbers("sample_weight", sample_weight, np.float64))
    if w.shape != (n,):
        raise ValueError(f"sample_weight has shape {w.shape}, X has {n} samples: expected ({n},)")
    _check_finite("sample_weight", w)
    if w.min() < 0:
        raise ValueError(f"sample_weight must be >= 0, got sample_weight[{int(w.argmin())}] = {w.min()}")
    if not w.any():
        raise ValueError("sample_weight is zero for every sample")
    exponent = int(np.frexp(w.max())[1])  # only ratios of weights matter, and sums must not overflow or underflow
    return np.ldexp(w, -exponent) if abs(exponent) > LARGEST_EXPONENT else w


def numbers(y: Any, n: int, several: bool = False) -> Array:
    """A new (n,) float64 array, or (n, targets) if `several` allows it. ValueError if sums over n could overflow."""
    a = np.array(_numbers("y", _targets(y, n, several), np.float64))
    _check_finite("y", a)
    if np.abs(a).max() > LARGEST / (4 * n):
        index = np.unravel_index(np.abs(a).argmax(), a.shape)
        where = ", ".join(map(str, index))
        raise ValueError(f"y[{where}] = {a[index]} is too large: sums over {n} samples overflow")
    return a


def labels(y: Any, n: int, weight: Array, least: int = 2) -> tuple[Array, Array]:
    """(sorted classes, the index of each sample's class as int32).

    Raises ValueError for fractions, NaN and NaT, and if fewer than `least` classes have a positive total weight.
    """
    a = _targets(y, n)
    if a.dtype.kind == "O" and all(isinstance(v, (int, float, np.number)) for v in a):
        a = np.asarray(a.tolist())  # not converted to float64, in which different integers above 2**53 can be equal
    if a.dtype.kind == "f":
        _check_finite("y", a)
        if (a != np.floor(a)).any():
            raise ValueError(f"Unknown label type: continuous. y must hold classes, got {a[a != np.floor(a)][0]}")
    if a.dtype.kind in "mM" and np.isnat(a).any():
        raise ValueError(f"y[{int(np.isnat(a).argmax())}] is NaT")
    codes, counts = encode("y", a)
    first = np.empty(len(counts), np.intp)
    first[codes[::-1]] = np.arange(n)[::-1]
    used = int((np.bincount(codes, weight) > 0).sum())
    if used < least:
        raise ValueError(f"y has {used} class with any weight, a classifier needs at least {least}")
    return a[first], codes.astype(np.int32)


def _targets(y: Any, n: int, several: bool = False) -> Array:
    if y is None:
        raise ValueError("this estimator requires y to be passed, but the target y is None")
    if hasattr(y, "tocsr"):
        raise TypeError("y is sparse data, but dense data is required: pass y.toarray()")
    a = _array("y", y)
    if a.ndim == 2 and a.shape[1] == 1:
        exceptions = sys.modules.get("sklearn.exceptions")
        category = UserWarning if exceptions is None else exceptions.DataConversionWarning
        warn("A column-vector y was passed when a 1d array was expected: y.ravel() is used", category)
        a = a[:, 0]
    if a.ndim != 1 and not (several and a.ndim == 2 and a.shape[1]):
        hint = ": fit one model to each of its columns" if a.ndim == 2 and a.shape[1] else ""
        raise ValueError(f"y should be a 1d array, got shape {a.shape}{hint}")
    if len(a) != n:
        raise ValueError(f"y has {len(a)} samples, X has {n}: inconsistent numbers of samples")
    return a


def feature_names(X: Any) -> Array | None:
    """The column names of a DataFrame if all of them are strings, else None."""
    columns = getattr(X, "column_names", getattr(X, "columns", None))  # of pyarrow, or of pandas and polars
    if columns is None:
        return None
    names = np.asarray(columns, dtype=object)
    return names if len(names) and all(isinstance(name, str) for name in names) else None


def check_names(fitted: Array | None, names: Array | None, estimator: str) -> None:
    """Raise ValueError if the names of X, or their order, differ from those in fit; warn if only one has names."""
    if fitted is None or names is None:
        if names is not None:
            warn(f"X has feature names, but {estimator} was fitted without feature names")
        elif fitted is not None:
            warn(f"X does not have valid feature names, but {estimator} was fitted with feature names")
        return
    if fitted.tolist() == names.tolist():
        return
    message = "The feature names should match those that were passed during fit.\n"
    unseen, missing = sorted(set(names) - set(fitted)), sorted(set(fitted) - set(names))
    for head, some in (("unseen at fit time", unseen), ("seen at fit time, yet now missing", missing)):
        if some:
            message += f"Feature names {head}:\n" + "".join(f"- {n}\n" for n in some[:5]) + "- ...\n" * (len(some) > 5)
    if not unseen and not missing:
        message += "Feature names must be in the same order as they were in fit.\n"
    raise ValueError(message)
