"""What a boosting learns from in every round: stumps on columns sorted once, or any estimator on the rows."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from fastopt.ensemble.stump import DecisionStumpClassifier, DecisionStumpRegressor, Sorted
from fastopt.validation.checks import Array, count, number, one_of, take
from fastopt.validation.estimators import check_estimator, example, fit, fresh, predictions

STUMPS = {"classifier": DecisionStumpClassifier, "regressor": DecisionStumpRegressor}


def weak_learner(estimator: Any, kind: str) -> Any:
    """What is to be copied: the estimator, checked, or a stump for None."""
    return STUMPS[kind]() if estimator is None else check_estimator(estimator)


def takes_weights(estimator: Any) -> bool:
    """Whether fit() has a parameter sample_weight."""
    try:
        parameters = inspect.signature(example(estimator).fit).parameters
    except (AttributeError, TypeError, ValueError):
        return False
    return "sample_weight" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def check_takes_weights(estimator: Any, why: str, name: str = "estimator") -> None:
    if not takes_weights(estimator):
        raise TypeError(f"{name} must have sample_weight in fit(): {why}; {estimator!r:.60} has not")


def positive(name: str, value: Any) -> float:
    return number(name, value, 0, np.inf)


def kept(model: Any, features: int, classes: Array | None = None) -> list[Any]:
    """The estimators that a warm start goes on from; ValueError if there are to be fewer now, or of other features or
    classes."""
    n = count("n_estimators", model.n_estimators)
    one_of("warm_start", model.warm_start, (True, False))
    old = list(getattr(model, "estimators_", [])) if model.warm_start else []
    if n < len(old):
        raise ValueError(f"n_estimators={n} must be at least the {len(old)} that warm_start goes on from")
    if old and features != model.n_features_in_:
        raise ValueError(f"X has {features} features, warm_start goes on from {model.n_features_in_}")
    if old and classes is not None and not np.array_equal(classes, model.classes_):
        raise ValueError(f"y has the classes {classes.tolist()}, warm_start goes on from {model.classes_.tolist()}")
    return old


class Data:
    """Rows to predict: as they came, and by column for the stumps."""

    def __init__(self, X: Any) -> None:
        self.X = X
        self._columns: Array | None = None

    @property
    def columns(self) -> Array:
        if self._columns is None:
            self._columns = np.ascontiguousarray(self.X.T)
        return self._columns

    def labels(self, estimator: Any, classes: Array) -> Array:
        """(n,) places among the classes of what a classifier predicts."""
        if isinstance(estimator, DecisionStumpClassifier) and len(estimator.classes_) == len(classes):
            return estimator.codes(self.columns)
        predicted = predictions(estimator, self.X, self.X.shape[0])
        places = np.minimum(np.searchsorted(classes, predicted), len(classes) - 1)
        if (strange := classes[places] != predicted).any():
            raise ValueError(f"estimator predicts {predicted[strange].tolist()[0]!r}, no class of y")
        return places

    def leaves(self, estimator: Any) -> Array:
        """(n,) the leaf of a tree that each row falls on."""
        if isinstance(estimator, DecisionStumpRegressor):
            return np.asarray(~estimator.below(self.columns), np.intp)
        return np.asarray(estimator.apply(self.X))

    def values(self, estimator: Any) -> Array:
        """(n,) numbers that a regressor predicts."""
        if isinstance(estimator, DecisionStumpRegressor):
            return estimator.values(self.columns)
        return predictions(estimator, self.X, self.X.shape[0], numbers=True)


class Learner(Data):
    """Fits one weak learner after another to the same rows, with other weights or other targets."""

    def __init__(self, estimator: Any, X: Any) -> None:
        super().__init__(X)
        self.estimator = estimator
        self.ordered = Sorted(X) if type(estimator) in STUMPS.values() else None
        if self.ordered is not None:
            self._columns = self.ordered.columns

    def classify(self, classes: Array, codes: Array, weight: Array, rng: np.random.Generator) -> Any:
        """One classifier of weighted samples."""
        if self.ordered is not None and isinstance(self.estimator, DecisionStumpClassifier):
            return DecisionStumpClassifier()._learn(self.ordered, classes, codes, weight)
        return self._fit(self.X, classes[codes], rng, {"sample_weight": weight})

    def regress(self, y: Array, weight: Array, rng: np.random.Generator, use: Array, weighted: bool) -> Any:
        """One regressor of the samples at the places `use`, which may repeat; weight: theirs if they are weighted."""
        if self.ordered is not None and isinstance(self.estimator, DecisionStumpRegressor):
            return DecisionStumpRegressor()._learn(self.ordered, y, np.bincount(use, weight[use], len(y)))
        fit_params = {"sample_weight": weight[use]} if weighted else {}
        return self._fit(take(self.X, use), y[use], rng, fit_params)

    def _fit(self, X: Any, y: Array, rng: np.random.Generator, fit_params: dict[str, Array]) -> Any:
        return fit(fresh(self.estimator, rng), X, y, fit_params)


def importances(estimators: list[Any], weight: Array) -> Array:
    """The weighted mean of the estimators' own; the plain one where none has a weight."""
    if not all(hasattr(e, "feature_importances_") for e in estimators):
        raise AttributeError("feature_importances_: the estimators have none")
    return np.average([e.feature_importances_ for e in estimators], axis=0, weights=weight if weight.any() else None)
