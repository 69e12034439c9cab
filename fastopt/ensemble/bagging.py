"""Bagging: the mean, or the vote, of estimators that are each fitted to a random part of the rows and columns."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from fastopt._checks import integer, number, one_of, warn
from fastopt._types import Array
from fastopt.ensemble import inputs
from fastopt.ensemble.base import Classifier, Estimator, Regressor, child_seed, kept_estimators, root_seed
from fastopt.ensemble.weak_learners import class_places, mean_importances, weak_learner
from fastopt.validation import parallel
from fastopt.validation._samples import is_arrow, take
from fastopt.validation.estimators import fit as fit_in_place
from fastopt.validation.estimators import fit_all, fresh, predictions, probabilities


@dataclass(frozen=True, eq=False)
class PartSampler:
    """Draws the rows and columns for each estimator from a seed: `rows` of n rows, `columns` of all features."""

    n: int
    rows: int
    features: int
    columns: int
    bootstrap: bool
    bootstrap_features: bool
    probability: Array | None

    def check_same(self, old: PartSampler) -> None:
        """Raise ValueError if `old` drew other parts. A warm start repeats the draws of its fitted estimators."""
        fields = {"the number of samples in X": "n", "max_samples": "rows", "max_features": "columns"}
        fields |= {name: name for name in ("bootstrap", "bootstrap_features")}
        for name, field in fields.items():
            if getattr(self, field) != getattr(old, field):
                raise ValueError(f"{name} is {getattr(self, field)} now, warm_start goes on from {getattr(old, field)}")
        p, q = self.probability, old.probability
        if (p is None) != (q is None) or (p is not None and q is not None and not np.array_equal(p, q)):
            raise ValueError("sample_weight has changed: warm_start needs the same weights")

    def draw(self, seed: np.random.SeedSequence) -> tuple[Array, Array]:
        """(row indices, ascending column indices)"""
        rng = np.random.default_rng(seed)
        columns = np.arange(self.features)
        if self.bootstrap_features or self.columns < self.features:
            columns = np.sort(rng.choice(self.features, self.columns, replace=self.bootstrap_features))
        if self.bootstrap and self.probability is None:
            return rng.integers(self.n, size=self.rows), columns
        return rng.choice(self.n, self.rows, replace=self.bootstrap, p=self.probability), columns


def _part(X: Any, rows: Array | None, columns: Array) -> Any:
    """These rows (None: all) and columns of X."""
    part = X if rows is None else take(X, rows)
    if len(columns) == X.shape[1] and (np.diff(columns) == 1).all():
        return part
    if not hasattr(part, "iloc"):
        return part.select(columns.tolist()) if is_arrow(part) else part[:, columns]
    repeats = [
        int((columns[:i] == c).sum()) for i, c in enumerate(columns)
    ]  # the names that pandas gives to duplicate columns
    names = [f"{part.columns[c]}.{k}" if k else part.columns[c] for c, k in zip(columns, repeats, strict=True)]
    return part.iloc[:, columns].set_axis(names, axis=1)


def _unfitted(
    estimator: Any, X: Any, y: Array, sampler: PartSampler, seed: np.random.SeedSequence
) -> tuple[Any, Any, Array]:
    """A copy of the estimator, with the rows and the targets to fit it to."""
    rows, columns = sampler.draw(seed)
    return fresh(estimator, np.random.default_rng(child_seed(seed, 1))), _part(X, rows, columns), y[rows]


def _fit_one(*item: Any, rng: np.random.Generator) -> Any:
    """One fitted estimator. rng is not used: the seed in `item` depends on the place in the ensemble alone."""
    return fit_in_place(*_unfitted(*item), {})


def _fit_each(items: list[tuple[Any, ...]], n_jobs: int | None) -> list[Any]:
    """Fit all estimators. If their class has fit_many, they are fitted together with all parts in memory."""
    together = len(items) > 1 and callable(getattr(items[0][0], "fit_many", None))
    if not together or n_jobs is not None:
        return parallel.run(_fit_one, items, n_jobs=n_jobs, rng=0)
    return fit_all(*zip(*(_unfitted(*item) for item in items), strict=True))


def _count(name: str, value: Any, total: int) -> int:
    """An int >= 1, or a float in (0, 1] as a share of the total."""
    if isinstance(value, (float, np.floating)):
        return max(1, int(number(name, value, 0, 1, above=True) * total))
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int (a count) or a float in (0, 1] (a share), got {value!r}")
    return integer(name, value, 1)


@dataclass(eq=False, repr=False)
class Bagging(Estimator):
    """The parts, the fits, and the predictions for samples left out of a part."""

    estimator: Any = None
    _: KW_ONLY
    n_estimators: int = 10
    max_samples: int | float = 1.0
    max_features: int | float = 1.0
    bootstrap: bool = True
    bootstrap_features: bool = False
    oob_score: bool = False
    warm_start: bool = False
    n_jobs: int | None = None
    random_state: Any = None

    _dtype = None

    @property
    def estimators_samples_(self) -> list[Array]:
        """The row indices that each estimator was fitted to, drawn again from its seed."""
        self._check_fitted()
        return [self._sampler.draw(child_seed(self._root, i))[0] for i in range(len(self.estimators_))]

    @property
    def feature_importances_(self) -> Array:
        """(features,): the mean of the estimators' importances; a column outside its part counts as 0."""
        self._check_fitted()
        total = np.zeros(self.n_features_in_)
        for estimator, columns in zip(self.estimators_, self.estimators_features_, strict=True):
            np.add.at(total, columns, mean_importances([estimator], np.ones(1)))
        return total / len(self.estimators_)

    def _make_sampler(self, shape: Any, weight: Array, weighted: bool) -> PartSampler:
        n, features = shape
        for name in ("bootstrap", "bootstrap_features", "oob_score"):
            one_of(name, getattr(self, name), (True, False))
        rows, columns = _count("max_samples", self.max_samples, n), _count("max_features", self.max_features, features)
        available = int((weight > 0).sum())
        if not self.bootstrap and rows > available:
            raise ValueError(f"max_samples={rows} without bootstrap is more than the {available} samples with a weight")
        if columns > features:
            raise ValueError(f"max_features={columns} is more than the {features} features of X")
        if self.oob_score and not self.bootstrap:
            raise ValueError("oob_score=True needs bootstrap=True")
        p = weight / weight.sum() if weighted else None
        return PartSampler(n, rows, features, columns, self.bootstrap, self.bootstrap_features, p)

    def _fit_estimators(self, X: Any, y: Array, sampler: PartSampler, classes: Array | None = None) -> None:
        """Fit the estimators that a warm start does not keep."""
        estimator = weak_learner(self.estimator, self._estimator_type)
        old: list[Any] = kept_estimators(self, sampler.features, classes)
        if old:
            sampler.check_same(self._sampler)
        else:
            self._root: np.random.SeedSequence = root_seed(self.random_state)
        seeds = [child_seed(self._root, i) for i in range(self.n_estimators)]
        new = _fit_each([(estimator, X, y, sampler, seed) for seed in seeds[len(old) :]], self.n_jobs)
        self.estimator_: Any = estimator
        self.estimators_: list[Any] = [*old, *new]
        self.estimators_features_: list[Array] = [sampler.draw(seed)[1] for seed in seeds]
        self._sampler: PartSampler = sampler

    def _out_of_bag(self, X: Any, outputs: tuple[int, ...]) -> Array:
        """(n, *outputs) the mean over the estimators whose part lacks the row; NaN if there is none."""
        n = self._sampler.n
        total, counts = np.zeros((n, *outputs)), np.zeros(n)
        for i, estimator in enumerate(self.estimators_):
            used, columns = self._sampler.draw(child_seed(self._root, i))
            outside = np.ones(n, bool)
            outside[used] = False
            rows = np.flatnonzero(outside)
            if len(rows):
                total[rows] += self._output(estimator, _part(X, rows, columns))
                counts[rows] += 1
        if not counts.all():
            absent = int((counts == 0).sum())
            warn(f"{absent} samples were in every bag: too few estimators for out-of-bag values")
        counts = np.where(counts > 0, counts, np.nan).reshape(-1, *[1] * len(outputs))
        return np.asarray(total / counts)

    def _out_of_bag_score(self, y: Array, mean: Array, weight: Array) -> float:
        """The score of the rows that have an out-of-bag value; NaN if none of them has weight."""
        known = ~np.isnan(mean.reshape(len(y), -1)[:, 0])
        if not weight[known].any():
            return np.nan
        found = mean[known]
        predicted = found.argmax(axis=1) if self._estimator_type == "classifier" else found
        return type(self)._metric(y[known], predicted, weight[known])

    def _mean(self, X: Any) -> Array:
        x = self._check_new_features(X)
        total: Any = 0.0
        for estimator, columns in zip(self.estimators_, self.estimators_features_, strict=True):
            total = total + self._output(estimator, _part(x, None, columns))
        return np.asarray(total / len(self.estimators_))

    @abstractmethod
    def _output(self, estimator: Any, X: Any) -> Array:
        """The prediction of one estimator, as it is averaged."""


@dataclass(eq=False, repr=False)
class BaggingClassifier(Bagging, Classifier):
    """The mean of the probabilities, or the vote, of classifiers fitted to random parts of the samples and features.

    Beyond scikit-learn's class of this name: any estimator or factory, and the same result for any n_jobs.

    Parameters
    ----------
    estimator : any object with fit and predict, or a function that makes one; None: DecisionStumpClassifier.
    n_estimators : the number of estimators.
    max_samples, max_features : the rows and columns in each part: a count, or a share in (0, 1]. Parts of a DataFrame
        are DataFrames with its names and dtypes; repeated columns are named a.1, a.2, …
    bootstrap, bootstrap_features : draw rows, or columns, with replacement.
    oob_score : also score each sample by the estimators whose part lacks it; needs bootstrap=True.
    warm_start : fit() keeps the fitted estimators and adds new ones up to n_estimators. On the same samples, with the
        same settings of the parts, the result equals that of one fit.
    n_jobs : None: this process. Otherwise joblib's n_jobs: -1 for all CPUs; joblib.parallel_config chooses the backend.
    random_state : None, a seed or a Generator. Each estimator has its own stream, for its part and for its random_state
        or rng if that is None. For a given seed the result does not depend on n_jobs or the backend.
    voting : "soft": the mean of predict_proba, for the estimators that have it; "hard": one vote per estimator.

    Attributes
    ----------
    classes_, n_classes_ : the sorted classes; their number.
    estimators_ : fitted to the labels. estimator_ : the unfitted estimator that was copied.
    estimators_samples_, estimators_features_ : the rows and the columns of their parts.
    oob_score_, oob_decision_function_ : the out-of-bag accuracy, and the (n, classes) mean probabilities; NaN for a
        sample that is in every part.
    feature_importances_ : the mean of the estimators' importances.
    n_features_in_, feature_names_in_ : the columns of X; the names if X was a DataFrame.

    Raises TypeError or ValueError naming the argument.

    Source: Breiman, Bagging predictors, Machine Learning 24 (1996).

    >>> x = np.arange(20.0)[:, None]
    >>> BaggingClassifier(random_state=0).fit(x, x[:, 0] > 9).predict([[2.0], [15.0]]).tolist()
    [False, True]
    """

    voting: str = "soft"

    def _fit(self, x: Any, y: Any, weight: Array, weighted: bool) -> None:
        one_of("voting", self.voting, ("soft", "hard"))
        classes, codes = inputs.labels(y, x.shape[0], weight)
        self._fit_estimators(x, classes[codes], self._make_sampler(x.shape, weight, weighted), classes)
        self.classes_ = classes
        if self.oob_score:
            self.oob_decision_function_ = self._out_of_bag(x, (len(classes),))
            self.oob_score_ = self._out_of_bag_score(codes, self.oob_decision_function_, weight)

    def _output(self, estimator: Any, X: Any) -> Array:
        n, k = X.shape[0], len(self.classes_)
        output = np.zeros((n, k))
        if self.voting == "soft" and hasattr(estimator, "predict_proba"):
            known = self._places(estimator, np.asarray(getattr(estimator, "classes_", self.classes_)))
            output[:, known] = probabilities(estimator, X, n, len(known))
            return output
        output[np.arange(n), self._places(estimator, predictions(estimator, X, n))] = 1
        return output

    def _places(self, estimator: Any, labels: Array) -> Array:
        """The index of each label in classes_."""
        places, found = class_places(labels, self.classes_)
        if not found.all():
            label = labels[~found].tolist()[0]
            raise ValueError(f"estimator predicts {label!r}, no class of y: is {estimator!r:.60} a classifier?")
        return places

    def predict_proba(self, X: Any) -> Array:
        """(n, classes): the mean of the estimators' probabilities, or the shares of their votes."""
        return self._mean(X)


class BaggingRegressor(Bagging, Regressor):
    """The mean of regressors fitted to random parts of the samples and features.

    Beyond scikit-learn's class of this name: any estimator or factory, and the same result for any n_jobs.

    The parameters are those of BaggingClassifier, without voting. The attributes, too, except:

    oob_score_, oob_prediction_ : the out-of-bag R² (the mean over several targets), and the mean predictions in the
        shape of y; NaN for a sample that is in every part.

    Raises TypeError or ValueError naming the argument.

    Source: Breiman, Bagging predictors, Machine Learning 24 (1996).

    >>> x = np.arange(20.0)[:, None]
    >>> BaggingRegressor(n_estimators=50, random_state=0).fit(x, x[:, 0] > 9).predict([[2.0], [15.0]]).round().tolist()
    [0.0, 1.0]
    """

    def _fit(self, x: Any, y: Any, weight: Array, weighted: bool) -> None:
        target = inputs.numbers(y, x.shape[0], several=True)
        self._check_targets(target)
        self._fit_estimators(x, target, self._make_sampler(x.shape, weight, weighted))
        self._target_shape = target.shape[1:]
        if self.oob_score:
            self.oob_prediction_ = self._out_of_bag(x, self._target_shape)
            self.oob_score_ = self._out_of_bag_score(target, self.oob_prediction_, weight)

    def _check_targets(self, y: Array) -> None:
        if y.ndim == 2 and self._foreign_estimator() is None:
            raise ValueError(f"y has shape {y.shape}, but a stump has one target: give an estimator of several")
        if self.warm_start and hasattr(self, "_target_shape") and self._target_shape != y.shape[1:]:
            now, before = ([*shape, 1][0] for shape in (y.shape[1:], self._target_shape))
            raise ValueError(f"y has {now} target(s) now, warm_start goes on from {before}")

    def _output(self, estimator: Any, X: Any) -> Array:
        return predictions(estimator, X, X.shape[0], numbers=True, targets=self._target_shape)

    def predict(self, X: Any) -> Array:
        """(n,), or (n, targets): the mean of the estimators' predictions."""
        return self._mean(X)
