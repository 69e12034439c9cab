"""Fits and evaluates the weak learners of a boosting: stumps on columns sorted once, or any other estimator."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from fastopt._types import Array
from fastopt.ensemble.stump import DecisionStumpClassifier, DecisionStumpRegressor, SortedColumns
from fastopt.validation._samples import take
from fastopt.validation.estimators import check_estimator, example, fit, fresh, predictions

STUMPS = {"classifier": DecisionStumpClassifier, "regressor": DecisionStumpRegressor}


def weak_learner(estimator: Any, kind: str) -> Any:
    """The given estimator, checked; for None a stump of this kind, "classifier" or "regressor"."""
    return STUMPS[kind]() if estimator is None else check_estimator(estimator)


def check_takes_weights(estimator: Any, why: str, name: str = "estimator") -> None:
    """Raise TypeError if fit() of the estimator has no parameter sample_weight."""
    try:
        parameters = inspect.signature(example(estimator).fit).parameters
    except (AttributeError, TypeError, ValueError):
        parameters = {}  # type: ignore[assignment]
    if "sample_weight" not in parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        raise TypeError(f"{name} must have sample_weight in fit(): {why}; {estimator!r:.60} has none")


def class_places(labels: Array, classes: Array) -> tuple[Array, Array]:
    """The index of each label in the sorted classes, and whether it is there."""
    index = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return index, np.asarray(classes[index] == labels)


class Samples:
    """Features that many fitted learners predict from. Stumps get them transposed and unchecked."""

    def __init__(self, X: Any) -> None:
        self.X = X
        self._columns: Array | None = None

    @property
    def columns(self) -> Array:
        """X transposed, (features, n), in C order."""
        if self._columns is None:
            self._columns = np.ascontiguousarray(self.X.T)
        return self._columns

    def labels(self, classifier: Any, classes: Array) -> Array:
        """(n,) indices into classes of what a classifier predicts."""
        if isinstance(classifier, DecisionStumpClassifier) and len(classifier.classes_) == len(classes):
            return classifier.codes(self.columns)
        predicted = predictions(classifier, self.X, self.X.shape[0])
        index, found = class_places(predicted, classes)
        if not found.all():
            raise ValueError(f"estimator predicts {predicted[~found].tolist()[0]!r}, no class of y")
        return index

    def values(self, regressor: Any) -> Array:
        """(n,) numbers that a regressor predicts."""
        if isinstance(regressor, DecisionStumpRegressor):
            return regressor.values(self.columns)
        return predictions(regressor, self.X, self.X.shape[0], numbers=True)


class TrainingSamples(Samples):
    """Features to which one weak learner after another is fitted, with other weights or other targets."""

    def __init__(self, estimator: Any, X: Any) -> None:
        super().__init__(X)
        self.estimator = estimator
        self._sorted = SortedColumns(X) if type(estimator) in STUMPS.values() else None
        if self._sorted is not None:
            self._columns = self._sorted.columns

    def fit_classifier(self, classes: Array, codes: Array, weight: Array, rng: np.random.Generator) -> Any:
        """A new classifier fitted to the classes at the indices `codes`."""
        if self._sorted is not None and isinstance(self.estimator, DecisionStumpClassifier):
            return DecisionStumpClassifier().split(self._sorted, classes, codes, weight)
        return fit(fresh(self.estimator, rng), self.X, classes[codes], {"sample_weight": weight})

    def fit_regressor(self, y: Array, weight: Array, rng: np.random.Generator, rows: Array, weighted: bool) -> Any:
        """A new regressor fitted to these rows, which may repeat; with their weights if `weighted`."""
        if self._sorted is not None and isinstance(self.estimator, DecisionStumpRegressor):
            return DecisionStumpRegressor().split(self._sorted, y, np.bincount(rows, weight[rows], len(y)))
        params = {"sample_weight": weight[rows]} if weighted else {}
        return fit(fresh(self.estimator, rng), take(self.X, rows), y[rows], params)


def mean_importances(estimators: list[Any], weight: Array) -> Array:
    """(features,) the weighted mean of the estimators' feature_importances_; the plain mean if all weights are 0."""
    if not all(hasattr(e, "feature_importances_") for e in estimators):
        raise AttributeError("feature_importances_: the estimators have none")
    return np.average([e.feature_importances_ for e in estimators], axis=0, weights=weight if weight.any() else None)
