"""The decision stump, one threshold on one feature: the weak learner of boosting. Its search is a kernel in C; deeper
trees are scikit-learn's affair."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from fastopt._native import stump as stump_kernels
from fastopt.ensemble import inputs
from fastopt.ensemble.protocol import Classifier, Estimator, Regressor, whole
from fastopt.validation.checks import Array


class Sorted:
    """The columns of X and the order of each: sorted once, searched in every round.

    columns : (features, n) float64.
    search : the kernel, with buffers of its own: one search at a time.
    """

    def __init__(self, X: Array) -> None:
        self.columns = np.ascontiguousarray(X.T)
        order = np.empty(self.columns.shape, np.uint32)
        for values, codes in zip(self.columns, order, strict=True):
            places = np.argsort(
                values, kind="stable"
            )  # equal values in the order of the rows: no sum depends on the CPU
            ascending = values[places]
            codes[:] = places
            codes <<= 1
            codes[:-1] |= ascending[1:] > ascending[:-1]
        self.search = stump_kernels.StumpSearch(order)

    def threshold(self, feature: int, below: int, above: int) -> float:
        """Halfway between the two values; the lower one where no number lies between them."""
        low, high = float(self.columns[feature, below]), float(self.columns[feature, above])
        middle = low / 2 + high / 2
        return middle if low <= middle < high else low


class Stump(Estimator):
    """A threshold on a feature and the values on its sides."""

    _weak = True
    feature_: int
    threshold_: float
    value_: Array
    improvement_: float

    def below(self, columns: Array) -> Array:
        """Which rows of X, given as (features, n), lie on the lower side: x <= threshold."""
        return np.asarray(columns[self.feature_] <= self.threshold_)

    @property
    def feature_importances_(self) -> Array:
        """(features,): 1 for the feature of the split; all 0 if there is none, or if it improves nothing."""
        self._fitted()
        importances = np.zeros(self.n_features_in_)
        importances[self.feature_] = float(self.improvement_ > 0)
        return importances

    def apply(self, X: Any) -> Array:
        """Per row the side it falls on: 0 below the threshold, 1 above it."""
        return (~self.below(self._new_rows(X).T)).astype(np.intp)

    def _set(self, feature: int, threshold: float, value: Array, improvement: float) -> Self:
        self.feature_, self.threshold_, self.value_, self.improvement_ = feature, threshold, value, improvement
        return self


class DecisionStumpClassifier(Stump, Classifier):
    """The one threshold that lowers the weighted Gini impurity most: a decision tree of depth 1.

    impurity of weights w_k of the classes: W·(1 − Σ (w_k / W)²), W = Σ w_k, summed over the two sides.

    Every threshold halfway between two values of a feature is tried. Equals: the lowest feature, then the lowest
    threshold. The search is in C with OpenMP over the features; its result is the same on any number of threads.
    Samples of weight 0 are as if they were not there.

    Attributes
    ----------
    classes_ : sorted.
    feature_, threshold_ : x[feature_] <= threshold_ is the lower side; −1 and inf if no split was possible or needed.
    value_ : (2, classes) shares of the classes below and above.
    improvement_ : by how much the impurity falls, per unit of weight.
    n_features_in_, feature_names_in_ : of X; the names if X was a DataFrame.

    Source: Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984).

    >>> DecisionStumpClassifier().fit([[1.0], [2.0], [4.0]], ["a", "a", "b"]).threshold_
    3.0
    """

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """X: (n, features) finite numbers; y: (n,) labels; sample_weight: (n,) >= 0, not all 0."""
        x = self._first_rows(X)
        weight = inputs.weights(sample_weight, len(x))
        classes, codes = inputs.labels(y, len(x), weight, least=1)
        self._learn(Sorted(x), classes, codes, weight)
        self._note(X, x)
        return self

    def _learn(self, ordered: Sorted, classes: Array, codes: Array, weight: Array) -> Self:
        self.classes_ = classes
        self.n_features_in_ = len(ordered.columns)
        every = np.bincount(codes, weight, len(classes))
        share = every / every.sum()
        split = ordered.search.classes(weight, codes, len(classes)) if share.max() < 1 else None
        if split is None:
            return self._set(-1, np.inf, np.array([share, share]), 0.0)
        feature, below, above, left, right = split
        sides = np.array([left / left.sum(), right / right.sum()])
        parts = np.array([left.sum(), right.sum()]) / (left.sum() + right.sum())
        improvement = float(parts @ (sides**2).sum(axis=1) - share @ share)
        return self._set(feature, ordered.threshold(feature, below, above), sides, max(improvement, 0.0))

    def predict_proba(self, X: Any) -> Array:
        """(n, classes) shares of the classes on the row's side."""
        side = self.apply(X)
        return np.asarray(self.value_[side])

    def codes(self, columns: Array) -> Array:
        """Per row of (features, n) the place of its class in classes_."""
        low, high = self.value_.argmax(axis=1)
        return np.asarray(np.where(self.below(columns), low, high))


class DecisionStumpRegressor(Stump, Regressor):
    """The one threshold that lowers the weighted squared error most: a regression tree of depth 1.

    error: Σ w (y − m)², m the weighted mean of the sample's side.

    How thresholds are tried and what the attributes are: see DecisionStumpClassifier; value_ is (2,), the means below
    and above, improvement_ by how much the weighted mean of the squared error falls.

    >>> stump = DecisionStumpRegressor().fit([[1.0], [2.0], [4.0]], [0.0, 1.0, 5.0])
    >>> stump.threshold_, stump.value_.tolist()
    (3.0, [0.5, 5.0])
    """

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """X: (n, features) finite numbers; y: (n,) finite numbers; sample_weight: (n,) >= 0, not all 0."""
        x = self._first_rows(X)
        target = inputs.numbers(y, len(x))
        self._learn(Sorted(x), target, inputs.weights(sample_weight, len(x)))
        self._note(X, x)
        return self

    def _learn(self, ordered: Sorted, y: Array, weight: Array) -> Self:
        self.n_features_in_ = len(ordered.columns)
        split = ordered.search.squares(weight, y)
        if split is None or split[4] == split[6]:  # not by the error, which underflows where y is small
            mean = float(np.average(y, weights=weight)) if split is None else split[4]
            return self._set(-1, np.inf, np.array([mean, mean]), 0.0)
        feature, below, above, left, low, right, high, gain = split
        return self._set(
            feature, ordered.threshold(feature, below, above), np.array([low, high]), gain / (left + right)
        )

    def predict(self, X: Any) -> Array:
        """(n,): the mean of the row's side."""
        side = self.apply(X)
        return np.asarray(self.value_[side])

    def values(self, columns: Array) -> Array:
        """The same of (features, n)."""
        return np.asarray(np.where(self.below(columns), self.value_[0], self.value_[1]))
