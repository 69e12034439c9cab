"""Out-of-fold predictions: those of all splits in one array, with the columns of all classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._types import Array

if TYPE_CHECKING:
    from fastopt.validation.cross_validation import Scores, Setup

BY_CLASS = ("predict_proba", "predict_log_proba", "decision_function")


def out_of_fold(fits: Sequence[Scores], s: Setup, method: str, often: Array) -> Any:
    """The predictions for every sample, the mean if several models predict it; a list with an array per output if the
    method gives a list."""
    tests = [test.array() for _, test in s.splits]
    by_class = method in BY_CLASS and s.classifier and s.y is not None
    y = np.asarray(s.y).reshape(s.n, -1) if by_class else np.empty((s.n, 1))
    if not isinstance(fits[0].predictions, list):
        parts = [np.asarray(f.predictions) for f in fits]
        if by_class and (y.shape[1] == 1 or fits[0].classes is not None):
            classes = np.unique(y)
            seen = [
                f.classes if f.classes is not None else np.unique(y[t.array()])
                for f, (t, _) in zip(fits, s.splits, strict=True)
            ]
            parts = [aligned(p, c, classes, method) for p, c in zip(parts, seen, strict=True)]
        return _assembled(parts, tests, s.n, often)
    outputs = []
    for k in range(len(fits[0].predictions)):
        parts = [np.asarray(f.predictions[k]) for f in fits]
        if by_class:
            parts = [aligned(p, f.classes[k], np.unique(y[:, k]), method) for p, f in zip(parts, fits, strict=True)]
        outputs.append(_assembled(parts, tests, s.n, often))
    return outputs


def aligned(values: Array, seen: Any, classes: Array, method: str) -> Array:
    """Add the columns of classes that the training set lacked: 0 for probabilities, else the most negative number."""
    seen = np.asarray(seen)
    if np.array_equal(seen, classes):
        return values
    if values.ndim != 2 or values.shape[1] != len(seen) or not np.isin(seen, classes).all():
        raise ValueError(
            f"predictions={method!r} has shape {values.shape}, but the training set had the classes {seen.tolist()} "
            f"of {classes.tolist()}: choose a stratified cv"
        )
    fill = 0 if method == "predict_proba" else np.finfo(values.dtype).min
    whole = np.full((len(values), len(classes)), fill, values.dtype)
    whole[:, np.searchsorted(classes, seen)] = values
    return whole


def _assembled(parts: Sequence[Array], tests: Sequence[Array], n: int, often: Array) -> Array:
    kind, shape = np.result_type(*parts), (n, *parts[0].shape[1:])
    if any(p.dtype.kind not in "biufc" for p in parts):
        found: Array = np.full(shape, None, dtype=object)
        for test, p in zip(tests, parts, strict=True):
            found[test] = p
        return found.astype(kind) if often.all() else found
    once = often.min() == 1 == often.max()
    found = np.zeros(shape, kind if once else float)
    for test, p in zip(tests, parts, strict=True):
        found[test] = p if once else found[test] + p
    often = often.reshape(-1, *[1] * (found.ndim - 1))
    return found if once else np.where(often > 0, found / np.maximum(often, 1), np.nan)
