"""The decision stump: one threshold on one feature, found by a C kernel. The default weak learner of the ensembles.

Deeper trees are left to scikit-learn.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from fastopt._native import stump as stump_kernels
from fastopt._types import Array
from fastopt.ensemble import inputs
from fastopt.ensemble.base import Classifier, Estimator, Regressor


class SortedColumns:
    """The columns of X with the order of their values: sorted once, searched in every boosting round.

    columns : (features, n) float64.
    search : the kernel. It owns work buffers, so only one search may run at a time.
    """

    def __init__(self, X: Array) -> None:
        self.columns = np.ascontiguousarray(X.T)
        order = np.empty(self.columns.shape, np.uint32)
        for values, codes in zip(self.columns, order, strict=True):
            rows = np.argsort(values, kind="stable")  # a stable order of equal values, so that sums are reproducible
            ascending = values[rows]
            codes[:] = rows
            codes <<= 1
            codes[:-1] |= ascending[1:] > ascending[:-1]
        self.search = stump_kernels.StumpSearch(order)

    def threshold(self, feature: int, below: int, above: int) -> float:
        """Halfway between the values of two rows; the lower value if no float64 lies strictly below the upper one."""
        low, high = float(self.columns[feature, below]), float(self.columns[feature, above])
        middle = low / 2 + high / 2
        return middle if low <= middle < high else low


class Stump(Estimator):
    """A threshold on a feature, and a value for each side."""

    _poor_score = True
    feature_: int
    threshold_: float
    value_: Array
    improvement_: float

    def is_below(self, columns: Array) -> Array:
        """(n,) bool: x[feature_] <= threshold_. columns is X transposed, (features, n)."""
        return np.asarray(columns[self.feature_] <= self.threshold_)

    def apply(self, X: Any) -> Array:
        """(n,) the side of each sample: 0 below the threshold, 1 above it."""
        return (~self.is_below(self._check_new_features(X).T)).astype(np.intp)

    @property
    def feature_importances_(self) -> Array:
        """(features,): 1 for the feature of the split; all 0 without a split, or if it improves nothing."""
        self._check_fitted()
        importances = np.zeros(self.n_features_in_)
        importances[self.feature_] = float(self.improvement_ > 0)
        return importances

    def _set(self, feature: int, threshold: float, value: Array, improvement: float) -> Self:
        self.feature_, self.threshold_, self.value_, self.improvement_ = feature, threshold, value, improvement
        return self


class DecisionStumpClassifier(Stump, Classifier):
    """The threshold that lowers the weighted Gini impurity most: a decision tree of depth 1.

    impurity = Σ_sides W · (1 − Σ_k (w_k / W)²),  w_k the weight of class k on a side, W = Σ_k w_k

    Every threshold halfway between two neighbouring values of a feature is tried. Among equal ones the lowest feature
    wins, then the lowest threshold. The C kernel uses OpenMP over the features, and its result does not depend on the
    number of threads. Samples of weight 0 have no influence.

    Attributes
    ----------
    classes_ : sorted.
    feature_, threshold_ : samples with x[feature_] <= threshold_ are below; −1 and inf if no split lowers the impurity.
    value_ : (2, classes) the weighted shares of the classes below and above.
    improvement_ : by how much the impurity falls, divided by the total weight.
    n_features_in_, feature_names_in_ : the columns of X; the names if X was a DataFrame.

    Source: Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984).

    >>> DecisionStumpClassifier().fit([[1.0], [2.0], [4.0]], ["a", "a", "b"]).threshold_
    3.0
    """

    def _fit(self, x: Any, y: Any, weight: Array, weighted: bool) -> None:
        classes, codes = inputs.labels(y, len(x), weight, least=1)
        self.split(SortedColumns(x), classes, codes, weight)

    def split(self, X: SortedColumns, classes: Array, codes: Array, weight: Array) -> Self:
        """Fit to columns that are sorted already. codes: (n,) int32 indices into classes."""
        self.classes_, self.n_features_in_ = classes, len(X.columns)
        total = np.bincount(codes, weight, len(classes))
        shares = total / total.sum()
        found = X.search.classes(weight, codes, len(classes)) if shares.max() < 1 else None
        if found is None:
            return self._set(-1, np.inf, np.array([shares, shares]), 0.0)
        feature, below, above, left, right = found
        value = np.array([left / left.sum(), right / right.sum()])
        sides = np.array([left.sum(), right.sum()]) / (left.sum() + right.sum())
        improvement = float(sides @ (value**2).sum(axis=1) - shares @ shares)
        return self._set(feature, X.threshold(feature, below, above), value, max(improvement, 0.0))

    def predict_proba(self, X: Any) -> Array:
        """(n, classes): the shares of the classes on the sample's side."""
        side = self.apply(X)
        return np.asarray(self.value_[side])

    def codes(self, columns: Array) -> Array:
        """(n,) the index in classes_ of each sample's class. columns is X transposed, (features, n)."""
        low, high = self.value_.argmax(axis=1)
        return np.asarray(np.where(self.is_below(columns), low, high))


class DecisionStumpRegressor(Stump, Regressor):
    """The threshold that lowers the weighted squared error most: a regression tree of depth 1.

    error = Σ w (y − m)²,  m the weighted mean of y on the sample's side

    The search and the attributes are those of DecisionStumpClassifier, except: value_ is (2,), the means below and
    above; improvement_ is by how much the weighted mean squared error falls.

    >>> stump = DecisionStumpRegressor().fit([[1.0], [2.0], [4.0]], [0.0, 1.0, 5.0])
    >>> stump.threshold_, stump.value_.tolist()
    (3.0, [0.5, 5.0])
    """

    def _fit(self, x: Any, y: Any, weight: Array, weighted: bool) -> None:
        self.split(SortedColumns(x), inputs.numbers(y, len(x)), weight)

    def split(self, X: SortedColumns, y: Array, weight: Array) -> Self:
        """Fit to columns that are sorted already."""
        self.n_features_in_ = len(X.columns)
        found = X.search.squares(weight, y)
        if found is None or found[4] == found[6]:  # equal means; the error itself underflows for small y
            mean = float(np.average(y, weights=weight)) if found is None else found[4]
            return self._set(-1, np.inf, np.array([mean, mean]), 0.0)
        feature, below, above, left, low, right, high, gain = found
        return self._set(feature, X.threshold(feature, below, above), np.array([low, high]), gain / (left + right))

    def predict(self, X: Any) -> Array:
        """(n,): the mean of the sample's side."""
        side = self.apply(X)
        return np.asarray(self.value_[side])

    def values(self, columns: Array) -> Array:
        """The same for X transposed, (features, n)."""
        return np.asarray(np.where(self.is_below(columns), self.value_[0], self.value_[1]))
