"""Scores by scikit-learn's names; greater is always better.

scikit-learn's scorers compute them. accuracy, r2 and neg_mean_squared_error of an estimator that is not scikit-learn's
need NumPy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fastopt._checks import warn
from fastopt._optional import require
from fastopt._types import Array
from fastopt.validation.estimators import is_classifier

Scorer = Callable[[Any, Any, Any], Any]


def accuracy(y: Array, predicted: Array, weight: Array | None = None) -> float:
    """The weighted share of predictions that are right."""
    if y.ndim > 1:  # scikit-learn knows which label matrices have an accuracy
        metrics = require("sklearn.metrics", f"the accuracy of y with shape {y.shape}", "sklearn")
        return float(metrics.accuracy_score(y, predicted, sample_weight=weight))
    return float(np.average(y == predicted, weights=weight))


def mean_squared_error(y: Array, predicted: Array) -> float:
    """mean of (y − ŷ)²"""
    return float(np.mean((y.astype(float) - predicted.astype(float)) ** 2))


def r2(y: Array, predicted: Array, weight: Array | None = None) -> float:
    """1 − Σw(y − ŷ)² / Σw(y − ȳ)², averaged over the columns of y. A constant column counts 1 if it is predicted
    exactly, otherwise 0. NaN, with a warning, for fewer than two samples."""
    if len(y) < 2:
        warn(f"r2 is not defined for {len(y)} sample(s): it is NaN")
        return float("nan")
    y, predicted = y.astype(float), predicted.astype(float)
    root = 1.0 if weight is None else np.sqrt(weight).reshape(-1, *[1] * (y.ndim - 1))
    mean = np.average(y, axis=0, weights=weight)
    residual = np.sum((root * (y - predicted)) ** 2, axis=0)  # (√w d)²: w d² would overflow where w is 0
    total = np.sum((root * (y - mean)) ** 2, axis=0)
    constant = np.where(residual == 0, 1.0, 0.0)
    ratio = np.divide(residual, total, out=np.ones_like(total, dtype=float), where=total != 0)
    return float(np.mean(np.where(total == 0, constant, 1.0 - ratio)))


METRICS: dict[str, Callable[[Array, Array], float]] = {
    "accuracy": accuracy,
    "r2": r2,
    "neg_mean_squared_error": lambda y, predicted: -mean_squared_error(y, predicted),
}


class Tagged:
    """An estimator without scikit-learn's tags, together with the tags that scikit-learn's scorers ask for."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def __getattr__(self, name: str) -> Any:
        return getattr(self.made, name)

    def __sklearn_tags__(self) -> Any:
        utils = require("sklearn.utils", "this scoring", "sklearn")
        known = is_classifier(self.made) and hasattr(self.made, "classes_")  # classifiers are asked for classes_
        kind = "classifier" if known else "regressor"
        return utils.Tags(estimator_type=kind, target_tags=utils.TargetTags(required=True))


def scorer_of(name: str, estimator: Any) -> Scorer:
    """The scorer with scikit-learn's name, for an estimator with or without scikit-learn's tags."""
    foreign = not hasattr(estimator, "__sklearn_tags__")
    if foreign and name in METRICS:
        return lambda made, X, y: METRICS[name](*_arrays(y, made.predict(X)))
    try:
        metrics = require("sklearn.metrics", f"scoring={name!r}", "sklearn")
    except ImportError as error:
        raise ImportError(f"{error}; without it there are {', '.join(METRICS)}") from None
    try:
        scorer: Scorer = metrics.get_scorer(name)
    except ValueError:
        raise ValueError(f"scoring={name!r} is no score of scikit-learn; some are {', '.join(METRICS)}") from None
    return (lambda made, X, y: scorer(Tagged(made), X, y)) if foreign else scorer


def _arrays(y: Any, predicted: Any) -> tuple[Array, Array]:
    """Targets and predictions as arrays of one shape; a single column becomes one dimension."""
    y, predicted = np.asarray(y), np.asarray(predicted)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if predicted.size != y.size:
        raise ValueError(f"y has shape {y.shape}, the estimator predicts {predicted.shape}")
    return y, predicted.reshape(y.shape)


def scorers_of(scoring: Any, estimator: Any) -> dict[str, Scorer]:
    """Scorers by name, from None (the estimator's score()), a name, a function, a list of names, or a dict."""
    if scoring is None:
        if not hasattr(estimator, "score"):
            raise ValueError(f"scoring is None, and the estimator has no score(): name one of {', '.join(METRICS)}")
        return {"score": lambda made, X, y: made.score(X, y)}
    if isinstance(scoring, str) or callable(scoring):
        scoring = {scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score"): scoring}
    if not isinstance(scoring, Iterable):
        raise TypeError(f"scoring must be a name, a function of (estimator, X, y), a list or a dict, got {scoring!r}")
    pairs = dict(scoring) if isinstance(scoring, Mapping) else {name: name for name in scoring}
    if not pairs:
        raise ValueError("scoring is empty")
    for name, s in pairs.items():
        if not isinstance(s, str) and not callable(s):
            raise TypeError(f"scoring[{name!r}] must be a name or a function of (estimator, X, y), got {s!r}")
    return {str(name): scorer_of(s, estimator) if isinstance(s, str) else s for name, s in pairs.items()}


def best_value(name: str) -> float | None:
    """The score of perfect predictions: 0 for errors, 1 for most shares and coefficients, None if it is not known."""
    if name.startswith("neg_"):
        return 0.0
    known = ("accuracy", "balanced_accuracy", "r2", "score", "roc_auc", "average_precision", "explained_variance")
    return 1.0 if name in known or name.startswith(("f1", "precision", "recall", "jaccard")) else None


def score(scorer: Scorer, name: str, estimator: Any, X: Any, y: Any) -> dict[str, float]:
    """The number of a scorer by its name, or all numbers that it returns as a dict; TypeError for other values."""
    found = scorer(estimator, X, y)
    values = {}
    for key, value in (found if isinstance(found, Mapping) else {name: found}).items():
        try:
            values[str(key)] = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"scoring: {key} must give a number, got {value!r:.80}") from None
    return values
