"""Scores of predictions by scikit-learn's names; greater is always better.

accuracy, r2 and neg_mean_squared_error need NumPy alone. All other names need scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._optional import require
from fastopt._types import Array

Scorer = Callable[[Any, Any, Any], float]


def accuracy(y: Array, predicted: Array) -> float:
    """The share of predictions that are right."""
    return float(np.mean(y == predicted))


def mean_squared_error(y: Array, predicted: Array) -> float:
    """mean of (y − ŷ)²"""
    return float(np.mean((y - predicted) ** 2))


def r2(y: Array, predicted: Array) -> float:
    """1 − Σ(y − ŷ)² / Σ(y − ȳ)², averaged over the columns of y. A constant column counts 1 if it is predicted
    exactly, otherwise 0."""
    residual = np.sum((y - predicted) ** 2, axis=0)
    total = np.sum((y - np.mean(y, axis=0)) ** 2, axis=0)
    constant = np.where(residual == 0, 1.0, 0.0)
    ratio = np.divide(residual, total, out=np.ones_like(total, dtype=float), where=total != 0)
    return float(np.mean(np.where(total == 0, constant, 1.0 - ratio)))


@dataclass(frozen=True)
class MetricScorer:
    """A score from a metric of (y, predictions). `metric` is a function, or the name of one in sklearn.metrics.

    scikit-learn's own scorers refuse estimators without its tags; this one takes any with predict.
    """

    name: str
    metric: Callable[[Array, Array], float] | str
    sign: float = 1.0  # -1 for errors
    numeric: bool = True

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        y, predicted = np.asarray(y), np.asarray(estimator.predict(X))
        if predicted.shape != y.shape and predicted.size == y.size:
            predicted = predicted.reshape(y.shape)
        if self.numeric:
            y, predicted = y.astype(float), predicted.astype(float)
        metric = self.metric
        if isinstance(metric, str):
            metric = getattr(require("sklearn.metrics", f"scoring={self.name!r}", "sklearn"), metric)
        return float(self.sign * metric(y, predicted))


def _log_loss(estimator: Any, X: Any, y: Any) -> float:
    """−log loss; probabilities are columns in the order of the estimator's classes_."""
    for needed in ("predict_proba", "classes_"):
        if not hasattr(estimator, needed):
            raise TypeError(f"scoring='neg_log_loss' needs an estimator with {needed}: {estimator!r} has none")
    metrics = require("sklearn.metrics", "scoring='neg_log_loss'", "sklearn")
    return -float(metrics.log_loss(y, estimator.predict_proba(X), labels=estimator.classes_))


def _own_score(estimator: Any, X: Any, y: Any) -> float:
    return float(estimator.score(X, y))


SCORERS: dict[str, Scorer] = {
    "accuracy": MetricScorer("accuracy", accuracy, numeric=False),
    "balanced_accuracy": MetricScorer("balanced_accuracy", "balanced_accuracy_score", numeric=False),
    "r2": MetricScorer("r2", r2),
    "neg_mean_squared_error": MetricScorer("neg_mean_squared_error", mean_squared_error, -1.0),
    "neg_root_mean_squared_error": MetricScorer("neg_root_mean_squared_error", "root_mean_squared_error", -1.0),
    "neg_mean_absolute_error": MetricScorer("neg_mean_absolute_error", "mean_absolute_error", -1.0),
    "neg_log_loss": _log_loss,
}


def scorer_of(name: str) -> Scorer:
    """The scorer with scikit-learn's name: from SCORERS, otherwise from scikit-learn."""
    if name in SCORERS:
        return SCORERS[name]
    try:
        metrics = require("sklearn.metrics", f"scoring={name!r}", "sklearn")
    except ImportError as error:
        raise ImportError(f"{error}; without it there are {', '.join(SCORERS)}") from None
    if name not in metrics.get_scorer_names():
        raise ValueError(f"scoring={name!r} is no score of scikit-learn; some are {', '.join(SCORERS)}")
    return metrics.get_scorer(name)  # type: ignore[no-any-return]


def scorers_of(scoring: Any, estimator: Any) -> dict[str, Scorer]:
    """Scorers by name, from None (the estimator's score()), a name, a function, a list of names, or a dict."""
    if scoring is None:
        if not hasattr(estimator, "score"):
            raise ValueError(f"scoring is None, and the estimator has no score(): name one of {', '.join(SCORERS)}")
        return {"score": _own_score}
    if isinstance(scoring, str):
        return {scoring: scorer_of(scoring)}
    if callable(scoring):
        return {getattr(scoring, "__name__", "score"): scoring}
    if not isinstance(scoring, Iterable):
        raise TypeError(f"scoring must be a name, a function of (estimator, X, y), a list or a dict, got {scoring!r}")
    pairs = dict(scoring) if isinstance(scoring, Mapping) else {name: name for name in scoring}
    if not pairs:
        raise ValueError("scoring is empty")
    for name, s in pairs.items():
        if not isinstance(s, str) and not callable(s):
            raise TypeError(f"scoring[{name!r}] must be a name or a function of (estimator, X, y), got {s!r}")
    return {str(name): scorer_of(s) if isinstance(s, str) else s for name, s in pairs.items()}


def best_value(name: str) -> float | None:
    """The score of perfect predictions: 0 for errors, 1 for most shares and coefficients, None if it is not known."""
    if name.startswith("neg_"):
        return 0.0
    known = ("accuracy", "balanced_accuracy", "r2", "score", "roc_auc", "average_precision", "explained_variance")
    return 1.0 if name in known or name.startswith(("f1", "precision", "recall", "jaccard")) else None


def score(scorers: Mapping[str, Scorer], estimator: Any, X: Any, y: Any) -> dict[str, float]:
    """Every score by name; TypeError if a scorer gives no number."""
    values = {}
    for name, scorer in scorers.items():
        value = scorer(estimator, X, y)
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"scoring: {name} must give a number, got {value!r:.80}") from None
    return values
