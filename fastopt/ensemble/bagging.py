"""Bagging: the mean, or the vote, of estimators that each saw a random part of the rows and columns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fastopt.ensemble import inputs
from fastopt.ensemble.learners import importances, kept, weak_learner
from fastopt.ensemble.protocol import (
    Classifier,
    Estimator,
    Regressor,
    accuracy,
    child,
    coefficient,
    root_of,
    whole,
)
from fastopt.validation import parallel
from fastopt.validation.checks import Array, count, one_of, share, take, warn
from fastopt.validation.estimators import fit as fit_in_place
from fastopt.validation.estimators import fit_all, fresh, predictions, probabilities


@dataclass(frozen=True, eq=False)
class Draw:
    """How each estimator's part is drawn: of n rows and of all columns so many, by the stream of its place."""

    n: int
    rows: int
    features: int
    columns: int
    bootstrap: bool
    bootstrap_features: bool
    probability: Array | None

    def check_same(self, old: Draw) -> None:
        """ValueError if the parts that a warm start keeps were drawn in another way: they could not be told again."""
        pairs = {"the number of samples in X": "n", "max_samples": "rows", "max_features": "columns"}
        pairs |= {name: name for name in ("bootstrap", "bootstrap_features")}
        for name, field in pairs.items():
            if getattr(self, field) != getattr(old, field):
                raise ValueError(f"{name} is {getattr(self, field)} now, warm_start goes on from {getattr(old, field)}")
        p, q = self.probability, old.probability
        if (p is None) != (q is None) or (p is not None and q is not None and not np.array_equal(p, q)):
            raise ValueError("sample_weight has changed: warm_start goes on with the same")

    def of(self, seed: np.random.SeedSequence) -> tuple[Array, Array]:
        """Positions of rows and of columns."""
        rng = np.random.default_rng(seed)
        columns = np.arange(self.features)
        if self.bootstrap_features or self.columns < self.features:
            columns = np.sort(rng.choice(self.features, self.columns, replace=self.bootstrap_features))
        if self.bootstrap and self.probability is None:
            return rng.integers(self.n, size=self.rows), columns
        return rng.choice(self.n, self.rows, replace=self.bootstrap, p=self.probability), columns


def _part(X: Any, rows: Array | None, columns: Array) -> Any:
    part = X if rows is None else take(X, rows)
    if len(columns) == X.shape[1] and (np.diff(columns) == 1).all():
        return part
    if not hasattr(part, "iloc"):
        return part[:, columns]
    again = [int((columns[:i] == c).sum()) for i, c in enumerate(columns)]  # pandas' own names for what is repeated
    names = [f"{part.columns[c]}.{k}" if k else part.columns[c] for c, k in zip(columns, again, strict=True)]
    return part.iloc[:, columns].set_axis(names, axis=1)


def _fit_one(
    estimator: Any, X: Any, y: Array, draw: Draw, seed: np.random.SeedSequence, rng: np.random.Generator
) -> Any:
    """One estimator on its part. The stream that the task was given is not used: the seed is a matter of its place in
    the ensemble, not in this call."""
    made, x, target = _unfitted(estimator, X, y, draw, seed)
    return fit_in_place(made, x, target, {})


def _unfitted(estimator: Any, X: Any, y: Array, draw: Draw, seed: np.random.SeedSequence) -> tuple[Any, Any, Array]:
    """An estimator of its own, with the rows and the targets that it shall be fitted to."""
    rows, columns = draw.of(seed)
    made = fresh(estimator, np.random.default_rng(child(seed, 1)))
    return made, _part(X, rows, columns), y[rows]


def _fit_each(items: list[tuple[Any, ...]], n_jobs: int | None) -> list[Any]:
    """All of them: together in this process if their class can do that, which holds all parts in memory at once."""
    together = len(items) > 1 and callable(getattr(items[0][0], "fit_many", None))
    if not together or n_jobs is not None:
        return parallel.run(_fit_one, items, n_jobs=n_jobs, rng=0)
    made, parts, targets = zip(*(_unfitted(*item) for item in items), strict=True)
    return fit_all(made, parts, targets)


def _share(name: str, value: Any, whole: int) -> int:
    """An int, at least 1, or a share of the whole in (0, 1]."""
    if isinstance(value, (float, np.floating)):
        return max(1, int(share(name, value) * whole))
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int (how many) or a float in (0, 1] (a share), got {value!r}")
    return count(name, value)


class Bagging(Estimator):
    """What both have: the parts, the fits, what was left out."""

    _at_times = ("oob_score_", "oob_prediction_", "oob_decision_function_")
    estimator_: Any
    estimators_: list[Any]
    estimators_features_: list[Array]
    _root: np.random.SeedSequence
    _draw: Draw

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 10,
        max_samples: int | float = 1.0,
        max_features: int | float = 1.0,
        bootstrap: bool = True,
        bootstrap_features: bool = False,
        oob_score: bool = False,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.max_features = max_features
        self.bootstrap = bootstrap
        self.bootstrap_features = bootstrap_features
        self.oob_score = oob_score
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state

    @property
    def estimators_samples_(self) -> list[Array]:
        """Per estimator the positions of the rows it was fitted to, drawn again from its stream."""
        self._fitted()
        return [self._draw.of(child(self._root, i))[0] for i in range(len(self.estimators_))]

    @property
    def feature_importances_(self) -> Array:
        """(features,): the mean of those of the estimators, 0 for columns that one did not see."""
        self._fitted()
        found = np.zeros(self.n_features_in_)
        for made, columns in zip(self.estimators_, self.estimators_features_, strict=True):
            np.add.at(found, columns, importances([made], np.ones(1)))
        return found / len(self.estimators_)

    def _plan(self, shape: Any, sample_weight: Any, weight: Array) -> Draw:
        n, features = shape
        for name in ("bootstrap", "bootstrap_features", "oob_score"):
            one_of(name, getattr(self, name), (True, False))
        rows, columns = _share("max_samples", self.max_samples, n), _share("max_features", self.max_features, features)
        there = int((weight > 0).sum())
        if not self.bootstrap and rows > there:
            raise ValueError(f"max_samples={rows} without bootstrap is more than the {there} samples with any weight")
        if columns > features:
            raise ValueError(f"max_features={columns} is more than there are features in X: {features}")
        if self.oob_score and not self.bootstrap:
            raise ValueError("oob_score=True needs bootstrap=True")
        p = None if sample_weight is None else weight / weight.sum()
        return Draw(n, rows, features, columns, self.bootstrap, self.bootstrap_features, p)

    def _fit(self, kind: str, X: Any, y: Array, draw: Draw, classes: Array | None = None) -> None:
        """All estimators beyond those that a warm start keeps."""
        estimator = weak_learner(self.estimator, kind)
        old = kept(self, draw.features, classes)
        if old:
            draw.check_same(self._draw)
        root = self._root if old else root_of(self.random_state)
        seeds = [child(root, i) for i in range(self.n_estimators)]
        items = [(estimator, X, y, draw, seed) for seed in seeds[len(old) :]]
        made = _fit_each(items, self.n_jobs)
        self.estimator_ = estimator
        self.estimators_ = [*old, *made]
        self.estimators_features_ = [draw.of(seed)[1] for seed in seeds]
        self._root, self._draw = root, draw

    def _left_out(self) -> Iterator[tuple[Any, Array, Array]]:
        """Per estimator itself, the positions of the rows that it was not fitted to, and its columns."""
        rows = self.estimators_samples_
        for made, used, columns in zip(self.estimators_, rows, self.estimators_features_, strict=True):
            out = np.ones(self._draw.n, bool)
            out[used] = False
            yield made, np.flatnonzero(out), columns

    def _out_of_bag(self, X: Any, outputs: tuple[int, ...]) -> Array:
        """The mean over those that had not seen the row; NaN where all had."""
        total, often = np.zeros((self._draw.n, *outputs)), np.zeros(self._draw.n)
        for made, out, columns in self._left_out():
            if len(out):
                total[out] += self._output(made, _part(X, out, columns))
                often[out] += 1
        if not often.all():
            message = f"{int((often == 0).sum())} samples were in every bag: too few estimators for out-of-bag values"
            warn(message)
        often = np.where(often > 0, often, np.nan).reshape(-1, *[1] * len(outputs))
        return np.asarray(total / often)

    def _mean(self, X: Any) -> Array:
        x = self._new_rows(X, None)
        total: Any = 0.0
        for made, columns in zip(self.estimators_, self.estimators_features_, strict=True):
            total = total + self._output(made, _part(x, None, columns))
        return np.asarray(total / len(self.estimators_))

    @abstractmethod
    def _output(self, made: Any, X: Any) -> Array:
        """What is averaged."""


class BaggingClassifier(Bagging, Classifier):
    """The vote, or the mean of the probabilities, of classifiers fitted to random parts of the samples and features.

    Parameters
    ----------
    estimator : anything with fit and predict, or a function that makes one; None: the stump.
    n_estimators : how many.
    max_samples, max_features : rows and columns that each gets: a count, or a share of them in (0, 1]. Parts of a
        DataFrame are DataFrames, with names and dtypes; columns drawn again are named a.1, a.2, …
    bootstrap, bootstrap_features : drawn with replacement, or without.
    oob_score : also score each row by the estimators that had not seen it; needs bootstrap=True.
    warm_start : fit() adds to the estimators there are, up to n_estimators, with the same samples and parts: the result
        is that of fitting all at once.
    n_jobs : None: in this process. Otherwise joblib's: -1 for all CPUs, or the backend of joblib.parallel_config.
    random_state : None, a seed, a Generator: every estimator gets a stream of its own, for its part, and for its own
        random_state or rng if that is None. With a seed, results are the same for any n_jobs and backend.
    voting : "soft": the mean of predict_proba, of those estimators that have it; "hard": each has one vote.

    Attributes
    ----------
    classes_, n_classes_ : sorted; how many.
    estimators_, estimators_samples_, estimators_features_ : fitted to the places of the labels in classes_; to which
        rows and columns. estimator_ : what they are copies of.
    oob_score_, oob_decision_function_ : the share that is right out of bag, and (n, classes) mean probabilities; NaN
        where every estimator had seen the row.
    feature_importances_, n_features_in_, feature_names_in_ : of the estimators that have them; of X.

    Raises TypeError or ValueError naming the argument.

    Source: Breiman, Bagging predictors, Machine Learning 24 (1996).

    >>> x = np.arange(20.0)[:, None]
    >>> BaggingClassifier(random_state=0).fit(x, x[:, 0] > 9).predict([[2.0], [15.0]]).tolist()
    [False, True]
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 10,
        max_samples: int | float = 1.0,
        max_features: int | float = 1.0,
        bootstrap: bool = True,
        bootstrap_features: bool = False,
        oob_score: bool = False,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        voting: str = "soft",
    ) -> None:
        super().__init__(
            estimator,
            n_estimators=n_estimators,
            max_samples=max_samples,
            max_features=max_features,
            bootstrap=bootstrap,
            bootstrap_features=bootstrap_features,
            oob_score=oob_score,
            warm_start=warm_start,
            n_jobs=n_jobs,
            random_state=random_state,
        )
        self.voting = voting

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """X: (n, features), of what the estimator takes; y: (n,) labels of two classes at least; sample_weight: (n,)
        >= 0: how likely each is drawn."""
        one_of("voting", self.voting, ("soft", "hard"))
        x = self._first_rows(X, None)
        weight = inputs.weights(sample_weight, x.shape[0])
        classes, codes = inputs.labels(y, x.shape[0], weight)
        draw = self._plan(x.shape, sample_weight, weight)
        self._fit("classifier", x, codes, draw, classes)
        self.classes_ = classes
        self._note(X, x)
        if self.oob_score:
            self.oob_decision_function_ = self._out_of_bag(x, (len(classes),))
            seen = ~np.isnan(self.oob_decision_function_[:, 0])
            best = self.oob_decision_function_[seen].argmax(axis=1)
            self.oob_score_ = accuracy(codes[seen], best, weight[seen]) if weight[seen].any() else np.nan
        return self

    def _output(self, made: Any, X: Any) -> Array:
        found = np.zeros((X.shape[0], len(self.classes_)))
        if self.voting == "soft" and hasattr(made, "predict_proba"):
            known = np.asarray(getattr(made, "classes_", np.arange(len(self.classes_))), np.intp)
            found[:, known] = probabilities(made, X, len(found), len(known))
        else:
            votes = predictions(made, X, len(found))
            if (strange := ~np.isin(votes, np.arange(len(self.classes_)))).any():
                raise ValueError(
                    f"estimator predicts {votes[strange].tolist()[0]!r}, no class of y: is {made!r:.60} a classifier?"
                )
            found[np.arange(len(found)), votes.astype(np.intp)] = 1
        return found

    def predict_proba(self, X: Any) -> Array:
        """(n, classes): the mean of the estimators' probabilities, or the shares of their votes."""
        return self._mean(X)


class BaggingRegressor(Bagging, Regressor):
    """The mean of regressors fitted to random parts of the samples and features.

    The parameters are those of BaggingClassifier, without voting.

    Attributes
    ----------
    estimators_, estimators_samples_, estimators_features_, estimator_ : what was fitted, to which rows and columns;
        what they are copies of.
    oob_score_, oob_prediction_ : R² out of bag, of several targets the mean of theirs, and mean predictions in y's
        shape; NaN where every estimator had seen the row.
    feature_importances_, n_features_in_, feature_names_in_ : of the estimators that have them; of X.

    Raises TypeError or ValueError naming the argument.

    Source: Breiman, Bagging predictors, Machine Learning 24 (1996).
    """

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """X: (n, features), of what the estimator takes; y: (n,) or (n, targets) finite numbers; sample_weight: (n,)
        >= 0: how likely each is drawn."""
        x = self._first_rows(X, None)
        weight = inputs.weights(sample_weight, x.shape[0])
        target = inputs.numbers(y, x.shape[0], several=True)
        self._check_targets(target)
        draw = self._plan(x.shape, sample_weight, weight)
        self._fit("regressor", x, target, draw)
        self._targets = target.shape[1:]
        self._note(X, x)
        if self.oob_score:
            self.oob_prediction_ = self._out_of_bag(x, self._targets)
            seen = ~np.isnan(self.oob_prediction_.reshape(len(target), -1)[:, 0])
            some = weight[seen].any()
            self.oob_score_ = coefficient(target[seen], self.oob_prediction_[seen], weight[seen]) if some else np.nan
        return self

    def _check_targets(self, y: Array) -> None:
        if y.ndim == 2 and self._innermost() is None:
            raise ValueError(f"y has shape {y.shape}, and a stump has one target: give an estimator of several")
        if self.warm_start and hasattr(self, "_targets") and self._targets != y.shape[1:]:
            now, before = ([*shape, 1][0] for shape in (y.shape[1:], self._targets))
            raise ValueError(f"y has {now} target(s) now, warm_start goes on from {before}")

    def _output(self, made: Any, X: Any) -> Array:
        return predictions(made, X, X.shape[0], numbers=True, targets=self._targets)

    def predict(self, X: Any) -> Array:
        """(n,) or, of several targets, (n, targets): the mean of the estimators' predictions."""
        return self._mean(X)
