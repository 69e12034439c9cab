"""Samples as training takes them: sparse rows in order, weights over their mean, equal ones as one. No network here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import _check_sample_weight

from fastopt.mlp.network import Array


def canonical(x: Any) -> Any:
    """Sparse rows with sorted indices and no duplicates; where they are not so, in a copy: the caller's stay."""
    if isinstance(x, np.ndarray) or x.has_canonical_format:
        return x
    own = x.copy()
    own.sum_duplicates()
    return own


def weights_of(sample_weight: Any, class_weight: Any, classes: Array | None, x: Any, target: Array) -> Array | None:
    """Sample weights times class weights, of which only ratios matter; None if there are neither.

    "balanced" is Σw / (K Σ_c w) for each of the K classes c, so that a sample of weight 2 is the sample twice.
    """
    if sample_weight is None and class_weight is None:
        return None
    w = _scaled(_check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True))
    if class_weight is not None and classes is not None:
        w = w * _scaled(_per_class(class_weight, classes, target, w))[target]
    if not w.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return np.asarray(_scaled(w))


def _per_class(class_weight: Any, classes: Array, target: Array, w: Array) -> Array:
    if isinstance(class_weight, str) and class_weight == "balanced":
        each = np.bincount(target, w, len(classes))
        even: Array = np.divide(each.sum(), len(classes) * each, out=np.zeros(len(classes)), where=each > 0.0)
        return even
    given = np.asarray(compute_class_weight(class_weight, classes=classes, y=classes[target]))
    if not (np.isfinite(given).all() and (given >= 0.0).all()):
        raise ValueError(f"class_weight must be finite and >= 0, got {class_weight!r}")
    return given


def _scaled(w: Array) -> Array:
    """By a power of two, so that no sum or product overflows and every ratio stays to the last bit."""
    _, exponent = np.frexp(w.max(initial=0.0))
    scaled: Array = np.ldexp(w, -exponent)
    return scaled


def over_mean(w: Array | None) -> Array | None:
    """Weights with the mean 1, in float32."""
    return None if w is None else np.ascontiguousarray(w / w.mean(), np.float32)


def merged(x: Any, y: Array, w: Array | None) -> tuple[Any, Array, Array | None]:
    """Samples that are trained on as one batch, in an order of their own: equal ones are one with their weights' sum.

    The gradient is the same, and weights have to the last bit the effect of samples repeated or left out.
    """
    index: dict[bytes, int] = {}
    total: dict[bytes, float] = {}
    for i, (row, b) in enumerate(zip(_rows(x), y, strict=True)):
        weight = 1.0 if w is None else float(w[i])
        if weight > 0.0:
            key = b.tobytes() + row
            index.setdefault(key, i)
            total[key] = total.get(key, 0.0) + weight
    keys = sorted(index)
    chosen = [index[key] for key in keys]
    sums = np.array([total[key] for key in keys])
    equal = bool((sums == sums[0]).all())
    return x[chosen], y[chosen], None if equal else sums


def _rows(x: Any) -> Iterator[bytes]:
    """Each sample as bytes that tell it from others."""
    if isinstance(x, np.ndarray):
        yield from (row.tobytes() for row in x)
        return
    for start, end in zip(x.indptr[:-1], x.indptr[1:], strict=True):
        yield x.indices[start:end].tobytes() + x.data[start:end].tobytes()
