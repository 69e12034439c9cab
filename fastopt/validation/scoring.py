"""How good predictions are: scikit-learn's names for scores, a few of them in NumPy. Greater is always better."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt.validation.checks import Array, encode

Scorer = Callable[[Any, Any, Any], float]


def accuracy(y: Array, predicted: Array) -> float:
    """The share that is right."""
    return float(np.mean(y == predicted))


def balanced_accuracy(y: Array, predicted: Array) -> float:
    """The mean over the classes in y of the share that is right."""
    codes, counts = encode("y", y)
    return float(np.mean(np.bincount(codes, weights=y == predicted) / counts))


def mean_squared_error(y: Array, predicted: Array) -> float:
    """mean of (y − ŷ)²"""
    return float(np.mean((y - predicted) ** 2))


def root_mean_squared_error(y: Array, predicted: Array) -> float:
    """√ of the mean of (y − ŷ)², per column of y, averaged over the columns"""
    return float(np.mean(np.sqrt(np.mean((y - predicted) ** 2, axis=0))))


def mean_absolute_error(y: Array, predicted: Array) -> float:
    """mean of |y − ŷ|"""
    return float(np.mean(np.abs(y - predicted)))


def r2(y: Array, predicted: Array) -> float:
    """1 − Σ(y − ŷ)² / Σ(y − ȳ)², averaged over the columns of y; where y is constant, 1 if all is right, else 0"""
    residual = np.sum((y - predicted) ** 2, axis=0)
    total = np.sum((y - np.mean(y, axis=0)) ** 2, axis=0)
    constant = np.where(residual == 0, 1.0, 0.0)
    share = np.divide(residual, total, out=np.ones_like(total, dtype=float), where=total != 0)
    return float(np.mean(np.where(total == 0, constant, 1.0 - share)))


def log_loss(y: Array, probabilities: Array, classes: Array) -> float:
    """mean of −log p(y), p clipped away from 0 and 1 by the machine's epsilon; classes sorted, as columns stand"""
    column = np.searchsorted(classes, y)
    known = column < len(classes)
    column = np.where(known, column, 0)
    known &= classes[column] == y
    p = np.where(known, probabilities[np.arange(len(y)), column], 0.0)
    eps = np.finfo(probabilities.dtype).eps if probabilities.dtype.kind == "f" else np.finfo(float).eps
    return float(-np.mean(np.log(np.clip(p, eps, 1.0 - eps))))


@dataclass(frozen=True)
class OfPredictions:
    """A scorer from a function of (y, predictions). `sign` is −1 for errors."""

    name: str
    metric: Callable[[Array, Array], float]
    sign: float = 1.0
    kind: str = "any"

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        y, predicted = np.asarray(y), np.asarray(estimator.predict(X))
        if predicted.shape != y.shape:
            predicted = predicted.reshape(y.shape) if predicted.size == y.size else predicted
        if self.kind == "numbers":
            y, predicted = y.astype(float), predicted.astype(float)
        return self.sign * self.metric(y, predicted)


@dataclass(frozen=True)
class OfProbabilities:
    """A scorer from predict_proba and classes_."""

    name: str

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        for needed in ("predict_proba", "classes_"):
            if not hasattr(estimator, needed):
                raise TypeError(f"scoring={self.name!r} needs an estimator with {needed}: {estimator!r} has none")
        return -log_loss(np.asarray(y), np.asarray(estimator.predict_proba(X)), np.asarray(estimator.classes_))


@dataclass(frozen=True)
class OfEstimator:
    """The estimator's own score()."""

    name: str = "score"

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        return float(estimator.score(X, y))


SCORERS: dict[str, Scorer] = {
    scorer.name: scorer
    for scorer in (
        OfPredictions("accuracy", accuracy),
        OfPredictions("balanced_accuracy", balanced_accuracy),
        OfPredictions("r2", r2, kind="numbers"),
        OfPredictions("neg_mean_squared_error", mean_squared_error, -1.0, "numbers"),
        OfPredictions("neg_root_mean_squared_error", root_mean_squared_error, -1.0, "numbers"),
        OfPredictions("neg_mean_absolute_error", mean_absolute_error, -1.0, "numbers"),
        OfProbabilities("neg_log_loss"),
    )
}


def scorer_of(name: str) -> Scorer:
    """By scikit-learn's name: those of this file, or scikit-learn's own if it is installed."""
    if name in SCORERS:
        return SCORERS[name]
    if importlib.util.find_spec("sklearn") is None:
        raise ValueError(f"scoring={name!r} is not among {', '.join(SCORERS)}; others need scikit-learn")
    from sklearn.metrics import get_scorer, get_scorer_names

    if name not in get_scorer_names():
        raise ValueError(f"scoring={name!r} is neither among {', '.join(SCORERS)} nor known to scikit-learn")
    return get_scorer(name)  # type: ignore[no-any-return]


def scorers_of(scoring: Any, estimator: Any) -> dict[str, Scorer]:
    """By name: from None (the estimator's own), a name, a function, a list of names, or a dict of either."""
    if scoring is None:
        if not hasattr(estimator, "score"):
            raise ValueError(
                f"scoring is None, and the estimator has no score(): name one, such as {', '.join(SCORERS)}"
            )
        return {"score": OfEstimator()}
    if isinstance(scoring, str):
        return {scoring: scorer_of(scoring)}
    if callable(scoring):
        return {getattr(scoring, "__name__", "score"): scoring}
    if isinstance(scoring, Mapping):
        pairs = dict(scoring)
    elif isinstance(scoring, Iterable):
        pairs = {name: name for name in scoring}
    else:
        raise TypeError(f"scoring must be a name, a function of (estimator, X, y), a list or a dict, got {scoring!r}")
    if not pairs:
        raise ValueError("scoring is empty")
    for name, s in pairs.items():
        if not isinstance(s, str) and not callable(s):
            raise TypeError(f"scoring[{name!r}] must be a name or a function of (estimator, X, y), got {s!r}")
    return {str(name): scorer_of(s) if isinstance(s, str) else s for name, s in pairs.items()}


def best_value(name: str) -> float | None:
    """What a perfect prediction scores: 0 for errors, 1 for the shares and coefficients that scikit-learn names."""
    if name.startswith("neg_"):
        return 0.0
    known = ("accuracy", "balanced_accuracy", "r2", "score", "roc_auc", "average_precision", "explained_variance")
    return 1.0 if name in known or name.startswith(("f1", "precision", "recall", "jaccard")) else None


def score(scorers: Mapping[str, Scorer], estimator: Any, X: Any, y: Any) -> dict[str, float]:
    """Every score; a TypeError for one that is no number."""
    values = {}
    for name, scorer in scorers.items():
        value = scorer(estimator, X, y)
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"scoring: {name} must give a number, got {value!r:.80}") from None
    return values
