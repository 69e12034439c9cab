"""Prepares X, y and sample_weight for the training: checks, weights, held-out part, merging of equal samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastopt._checks import number
from fastopt._types import Array
from fastopt.mlp.settings import TrainingSettings

MOST_MERGED = 4096  # only this many samples are searched for equal ones


class Samples(NamedTuple):
    """x : float32 (n, features) or CSR. y : int64 (n,) or float32 (n, outputs). weight : float64 (n,) or None."""

    x: Any
    y: Array
    weight: Array | None


class Prepared(NamedTuple):
    """x, y : for the training. weight : float32, with mean 1. held_out : for validation. n : before merging."""

    x: Any
    y: Array
    weight: Array | None
    held_out: Samples | None
    n: int


def prepare(
    estimator: Any,
    s: TrainingSettings,
    X: Any,
    y: Any,
    sample_weight: Any,
    X_val: Any,
    y_val: Any,
    rng: np.random.Generator,
    *,
    reset: bool,
) -> Prepared:
    """Check, weight, split and merge the samples of a fit. reset: X defines the number of features."""
    given = weighted(estimator, check_samples(estimator, X, y, reset=reset), sample_weight)
    given, held_out = split(estimator, s, given, X_val, y_val, rng)
    check_fits(estimator, s, given, held_out)
    n = given.x.shape[0]
    if not (s.changes_samples or estimator.dropout or estimator.batch_norm):
        given = merged(given, s)
    w = given.weight
    weight = None if w is None else np.ascontiguousarray(w / w.mean(), np.float32)
    return Prepared(given.x, given.y, weight, held_out, n)


def check_samples(estimator: Any, X: Any, y: Any, *, reset: bool) -> Samples:
    """Run scikit-learn's checks and encode the targets."""
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None.")
    numbers = not estimator._classes
    options: dict[str, Any] = {"accept_sparse": "csr", "dtype": np.float32, "order": "C", "reset": reset}
    X, y = validate_data(estimator, X, y, multi_output=numbers, y_numeric=numbers, **options)
    if not isinstance(X, np.ndarray) and not X.has_canonical_format:
        X = X.copy()  # sum_duplicates must not change the caller's matrix
        X.sum_duplicates()
    return Samples(X, estimator._encode(y, reset), None)


def weighted(estimator: Any, samples: Samples, sample_weight: Any) -> Samples:
    """Samples with sample weights times class weights, scaled by a power of two; without weights if neither is given.

    "balanced" is Σw / (K Σ_c w) for each class c of K, so that a sample of weight 2 counts as two samples.
    """
    class_weight = getattr(estimator, "class_weight", None)
    if sample_weight is None and class_weight is None:
        return samples
    w = _scaled(_check_sample_weight(sample_weight, samples.x, dtype=np.float64, ensure_non_negative=True))
    if class_weight is not None:
        w = w * _scaled(_per_class(class_weight, estimator.classes_, samples.y, w))[samples.y]
    if not w.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return samples._replace(weight=_scaled(w))


def _per_class(class_weight: Any, classes: Array, target: Array, w: Array) -> Array:
    if isinstance(class_weight, str) and class_weight == "balanced":
        sums = np.bincount(target, w, len(classes))
        even: Array = np.divide(sums.sum(), len(classes) * sums, out=np.zeros(len(classes)), where=sums > 0.0)
        return even
    given = np.asarray(compute_class_weight(class_weight, classes=classes, y=classes[target]))
    if not (np.isfinite(given).all() and (given >= 0.0).all()):
        raise ValueError(f"class_weight must be finite and >= 0, got {class_weight!r}")
    return given


def _scaled(w: Array) -> Array:
    """Scaled by a power of two: no sum or product overflows, and every ratio keeps all of its bits."""
    _, exponent = np.frexp(w.max(initial=0.0))
    scaled: Array = np.ldexp(w, -exponent)
    return scaled


def split(
    estimator: Any, s: TrainingSettings, samples: Samples, X_val: Any, y_val: Any, rng: np.random.Generator
) -> tuple[Samples, Samples | None]:
    """(training samples, validation samples). The latter are X_val, or a part of X for early stopping, or None."""
    if (X_val is None) != (y_val is None):
        raise ValueError("X_val and y_val must be given together")
    if X_val is not None:
        held_out = check_samples(estimator, X_val, y_val, reset=False)
        if held_out.y.shape[1:] != samples.y.shape[1:]:
            raise ValueError(f"y_val has {held_out.y.shape[1]} outputs, y has {samples.y.shape[1]}")
        return samples, held_out
    if not s.early_stopping:
        return samples, None
    share = number("validation_fraction", estimator.validation_fraction, 0.0, 1.0, above=True, below=True)
    stratify = samples.y if estimator._classes else None
    index, seed = np.arange(samples.x.shape[0]), int(rng.integers(2**31))
    x, y, w = samples
    parts = [
        Samples(x[rows], y[rows], None if w is None else w[rows])
        for rows in train_test_split(index, test_size=share, random_state=seed, stratify=stratify)
    ]
    if w is not None and not all(part.weight is not None and part.weight.any() for part in parts):
        raise ValueError("early_stopping holds a part of X out, and all samples with a weight fell on one side")
    return parts[0], parts[1]


def check_fits(estimator: Any, s: TrainingSettings, samples: Samples, held_out: Samples | None) -> None:
    """Raise a ValueError for settings that these samples do not allow."""
    rows, features = samples.x.shape
    for name in ("input_noise", "mixup", "cutmix", "augment"):
        if not isinstance(samples.x, np.ndarray) and getattr(s, name):
            raise ValueError(f"{name} would make a sparse X dense: pass X.toarray()")
    if s.sample_shape is not None and int(np.prod(s.sample_shape)) != features:
        raise ValueError(
            f"sample_shape={s.sample_shape} has {np.prod(s.sample_shape)} elements, X has {features} features"
        )
    if estimator.batch_norm and rows < 2:
        raise ValueError(f"batch_norm needs at least two samples, got n_samples = {rows}")
    by_score = getattr(s.early_stopping, "mode", "min") == "max"
    if held_out is not None and by_score and not estimator._classes and len(held_out.y) < 2:
        raise ValueError("early_stopping with mode='max' is by R², which needs at least two validation samples, got 1")


def merged(samples: Samples, s: TrainingSettings) -> Samples:
    """Samples of a single batch in a fixed order, equal ones as one sample with the sum of their weights.

    The gradient is the same, and a weight of k has exactly the effect of k equal samples.
    """
    x, y, w = samples
    if x.shape[0] > min(s.batch_size or MOST_MERGED, MOST_MERGED):
        return samples
    first: dict[bytes, int] = {}
    total: dict[bytes, float] = {}
    for i, (row, target) in enumerate(zip(_rows(x), y, strict=True)):
        weight = 1.0 if w is None else float(w[i])
        if weight > 0.0:
            key = target.tobytes() + row
            first.setdefault(key, i)
            total[key] = total.get(key, 0.0) + weight
    keys = sorted(first)
    chosen = [first[key] for key in keys]
    sums = np.array([total[key] for key in keys])
    equal = bool((sums == sums[0]).all())
    return Samples(x[chosen], y[chosen], None if equal else sums)


def _rows(x: Any) -> Iterator[bytes]:
    """The bytes of each sample; equal only for equal samples."""
    if isinstance(x, np.ndarray):
        yield from (row.tobytes() for row in x)
        return
    for start, end in zip(x.indptr[:-1], x.indptr[1:], strict=True):
        yield x.indices[start:end].tobytes() + x.data[start:end].tobytes()
