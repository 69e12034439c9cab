"""Gradient boosting: every learner is fitted to what is left of the loss's gradient. Squared, logistic, multinomial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fastopt.conventions import nonnegative
from fastopt.ensemble import inputs
from fastopt.ensemble.learners import (
    Data,
    Learner,
    check_takes_weights,
    kept,
    positive,
    weak_learner,
)
from fastopt.ensemble.losses import Logistic, Loss, Multinomial, Squared, newton_steps
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
from fastopt.ensemble.stump import DecisionStumpRegressor
from fastopt.validation.checks import Array, count, number, optional, share, take
from fastopt.validation.estimators import check_estimator, fit, fresh, predictions, probabilities

EPS = float(np.finfo(np.float32).eps)


class Leaves:
    """A tree whose leaves give other values: one Newton step of the loss instead of the mean residual."""

    def __init__(self, tree: Any, leaf: Array, values: Array) -> None:
        self.tree, self.leaf, self.values = tree, leaf, values

    def predict(self, X: Any) -> Array:
        """(n,): the value of the row's leaf."""
        leaf = np.asarray(self.tree.apply(X))
        at = np.minimum(np.searchsorted(self.leaf, leaf), len(self.leaf) - 1)
        if (strange := self.leaf[at] != leaf).any():
            raise ValueError(
                f"estimator: apply gives leaf {leaf[strange][0]}, where no sample was that it was fitted to"
            )
        return np.asarray(self.values[at])


def _classes(y: Array, weight: Array) -> int:
    """How many have any weight."""
    return int((np.bincount(y, weight) > 0).sum())


@dataclass
class Stage:
    """What a fit works on: its samples, what they were drawn from, where the predictions stand."""

    learner: Learner
    y: Array
    weight: Array
    weighted: bool
    raw: Array
    held: tuple[Data, Array, Array] | None = None  # rows, y and weight held out for early stopping
    held_raw: Array | None = None


class GradientBoosting(Estimator):
    """What both have: rounds, subsamples, early stopping, a warm start by going through the rounds again."""

    _at_times = ("oob_improvement_", "oob_scores_", "oob_score_")
    estimator_: Any
    estimators_: Array
    train_score_: Array
    oob_scores_: Array

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 100,
        learning_rate: float = 0.1,
        subsample: float = 1.0,
        init: Any = None,
        n_iter_no_change: int | None = None,
        validation_fraction: float = 0.1,
        tol: float = 1e-4,
        random_state: Any = None,
        warm_start: bool = False,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.subsample = subsample
        self.init = init
        self.n_iter_no_change = n_iter_no_change
        self.validation_fraction = validation_fraction
        self.tol = tol
        self.random_state = random_state
        self.warm_start = warm_start

    def _check(self, features: int, classes: Array | None) -> list[Any]:
        positive("learning_rate", self.learning_rate)
        share("subsample", self.subsample)
        number("validation_fraction", self.validation_fraction, 0, 1)
        nonnegative("tol", self.tol)
        optional(count, "n_iter_no_change", self.n_iter_no_change)
        if isinstance(self.init, str) and self.init != "zero":
            raise ValueError(f"init must be None, 'zero' or an estimator, got {self.init!r}")
        old = kept(self, features, classes)
        if not old:
            self._root = root_of(self.random_state)
        return old

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(child(self._root, *key))

    def _fit(
        self, x: Any, y: Array, sample_weight: Any, weight: Array, loss: Loss, classes: Array | None = None
    ) -> None:
        estimator = weak_learner(self.estimator, "regressor")
        if sample_weight is not None:
            check_takes_weights(estimator, "sample_weight was given to the boosting")
        old = self._check(x.shape[1], classes)
        self.estimator_, self._loss = estimator, loss
        train, held = self._hold_out(y, weight)
        self._fit_init(take(x, train), y[train], weight[train], sample_weight is not None)
        rows = Learner(estimator, take(x, train) if held.size else x)
        stage = Stage(rows, y[train], weight[train], sample_weight is not None, self._start(rows.X))
        if held.size:
            stage.held = (Data(take(x, held)), y[held], weight[held])
            stage.held_raw = self._start(stage.held[0].X)
        self._rounds(stage, old)

    def _hold_out(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """Positions to train on and to stop by; of classes some of each, by share."""
        n = len(y)
        if self.n_iter_no_change is None:
            return np.arange(n), np.arange(0)
        mixed = self._rng(0, 0).permutation(n)
        if self._loss.newton:
            mixed = mixed[np.argsort(y[mixed], kind="stable")]
        until = np.floor(np.arange(n + 1) * self.validation_fraction + 1e-9)  # 0.29 of 100 is 29
        out = mixed[np.diff(until) > 0]
        train = np.setdiff1d(np.arange(n), out)
        lost = self._loss.newton and _classes(y, weight) > _classes(y[train], weight[train])
        weighs = weight[out].any() and weight[train].any()  # of nothing: False
        if not weighs or lost:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {n} samples leaves too few on one side"
            )
        return train, np.sort(out)

    def _fit_init(self, X: Any, y: Array, weight: Array, weighted: bool) -> None:
        self.init_: Any = None
        if self.init is None:
            self._prior = self._loss.start(y, weight)
        elif isinstance(self.init, str):
            self._prior = np.zeros(self._loss.outputs)
        else:
            made = fresh(self.init, self._rng(0, 1))
            check_estimator(made, ("fit", "predict_proba" if self._loss.newton else "predict"), "init")
            if weighted:
                check_takes_weights(made, "sample_weight was given to the boosting", "init")
            self.init_ = fit(made, X, y, {"sample_weight": weight} if weighted else {})

    def _start(self, X: Any) -> Array:
        """(n, outputs) raw predictions before the first round."""
        if self.init_ is None:
            return np.tile(self._prior, (X.shape[0], 1))
        if isinstance(self._loss, Squared):
            return predictions(self.init_, X, X.shape[0], numbers=True).reshape(-1, 1).copy()
        p = probabilities(self.init_, X, X.shape[0], max(2, self._loss.outputs))
        return np.array(self._loss.raw(np.clip(p, EPS, 1 - EPS)))

    def _rounds(self, stage: Stage, old: list[Any]) -> None:
        estimators: list[list[Any]] = []
        losses: list[
            tuple[float, float, float]
        ] = []  # of what was drawn, after the round; of the others, before and after
        best: list[float] = []
        for i in range(self.n_estimators):
            use = self._drawn(i, stage)
            out = np.setdiff1d(np.arange(len(stage.y)), use) if self.subsample < 1 else np.arange(0)
            before = self._mean_loss(stage, out)
            estimators.append(self._round(i, stage, use, list(old[i]) if i < len(old) else None))
            losses.append((self._mean_loss(stage, use), before, self._mean_loss(stage, out)))
            if not np.isfinite(losses[i][0]):
                raise ValueError(f"learning_rate={self.learning_rate} or y is too great: the loss is {losses[i][0]}")
            if stage.held is not None and self._stalled(stage, best):
                break
        self.n_estimators_ = len(estimators)
        self.estimators_ = np.empty((len(estimators), self._loss.outputs), object)
        for i, of_round in enumerate(estimators):
            self.estimators_[i] = of_round
        self.train_score_, outside, self.oob_scores_ = np.array(losses).T
        self.oob_improvement_ = outside - self.oob_scores_
        self.oob_score_ = float(self.oob_scores_[-1])
        if self.subsample >= 1:
            for name in self._at_times:
                delattr(self, name)

    def _drawn(self, i: int, stage: Stage) -> Array:
        """The positions that round i is fitted to; ValueError if none of them weighs."""
        n = len(stage.y)
        if self.subsample >= 1:
            return np.arange(n)
        use = np.sort(self._rng(1, i).choice(n, max(1, int(self.subsample * n)), replace=False))
        if not stage.weight[use].any():
            raise ValueError(f"subsample={self.subsample}: in round {i} every sample drawn has sample_weight 0")
        return use

    def _mean_loss(self, stage: Stage, at: Array) -> float:
        if not stage.weight[at].any():
            return np.nan
        if len(at) == len(stage.y):
            return self._loss.mean(stage.y, stage.raw, stage.weight)
        return self._loss.mean(stage.y[at], stage.raw[at], stage.weight[at])

    def _round(self, i: int, stage: Stage, use: Array, old: list[Any] | None) -> list[Any]:
        """One learner per output, all fitted to the residuals before any of them."""
        residual = self._loss.residual(stage.y, stage.raw)
        made = []
        for k in range(self._loss.outputs):
            r = np.ascontiguousarray(residual[:, k])
            one = self._learn(stage, r, k, use, self._rng(2, i, k)) if old is None else old[k]
            stage.raw[:, k] += self.learning_rate * stage.learner.values(one)
            if stage.held is not None and stage.held_raw is not None:
                stage.held_raw[:, k] += self.learning_rate * stage.held[0].values(one)
            made.append(one)
        return made

    def _learn(self, stage: Stage, r: Array, k: int, use: Array, rng: np.random.Generator) -> Any:
        made = stage.learner.regress(r, stage.weight, rng, use, stage.weighted)
        if isinstance(self._loss, Squared) or not hasattr(made, "apply"):
            return made
        target = (stage.y == k).astype(float) if isinstance(self._loss, Multinomial) else stage.y
        if isinstance(made, DecisionStumpRegressor):
            side = (~made.below(stage.learner.columns)).view(np.uint8)
            steps = newton_steps(self._loss, r[use], target[use], stage.weight[use], side[use])
            made.value_ = np.resize(steps, 2)
            return made
        leaf = np.asarray(made.apply(take(stage.learner.X, use)))
        if leaf.ndim != 1:
            return made
        names, places = np.unique(leaf, return_inverse=True)
        return Leaves(made, names, newton_steps(self._loss, r[use], target[use], stage.weight[use], places))

    def _stalled(self, stage: Stage, best: list[float]) -> bool:
        """Whether none of the last n_iter_no_change losses held out was beaten by more than tol."""
        assert stage.held is not None
        assert stage.held_raw is not None
        loss = self._loss.mean(stage.held[1], stage.held_raw, stage.held[2])
        recent = best[-int(self.n_iter_no_change or 1) :]
        if len(recent) == self.n_iter_no_change and not any(loss + self.tol < value for value in recent):
            return True
        best.append(loss)
        return False

    def _raw(self, X: Any) -> Iterator[Array]:
        """(n, outputs) after each round: the same array each time."""
        data = Data(self._new_rows(X))
        raw = self._start(data.X)
        for of_round in self.estimators_:
            for k, one in enumerate(of_round):
                raw[:, k] += self.learning_rate * data.values(one)
            yield raw

    @property
    def feature_importances_(self) -> Array:
        """(features,): by how much splits on the feature lowered the squared error of the residuals, summing to 1 (all
        0 if nothing was split). Estimators other than stumps and scikit-learn's trees: the mean of their own."""
        self._fitted()
        found = np.zeros(self.n_features_in_)
        for one in self.estimators_.ravel():
            found += _gains(_tree(one))
        return found / found.sum() if found.any() else found

    def _leaves(self, X: Any) -> Array:
        """(n, rounds, outputs): the leaf that each row falls on."""
        data = Data(self._new_rows(X))
        if not all(hasattr(_tree(one), "apply") for one in self.estimators_.ravel()):
            raise AttributeError("apply: the estimators have none")
        found = [[data.leaves(_tree(one)) for one in of_round] for of_round in self.estimators_]
        return np.moveaxis(np.array(found), 2, 0)


def _tree(one: Any) -> Any:
    return one.tree if isinstance(one, Leaves) else one


def _gains(tree: Any) -> Array:
    """(features,): by how much its splits on each lowered the error; of others its own importances, which sum to 1."""
    if hasattr(getattr(tree, "tree_", None), "compute_feature_importances"):  # scikit-learn's trees
        return np.asarray(tree.tree_.compute_feature_importances(normalize=False))
    if not hasattr(tree, "feature_importances_"):
        raise AttributeError("feature_importances_: the estimators have none")
    return np.asarray(tree.feature_importances_ * getattr(tree, "improvement_", 1.0))


class GradientBoostingRegressor(GradientBoosting, Regressor):
    """Gradient boosting of the squared error: f ← f + η h, h fitted to the residuals y − f.

    Parameters
    ----------
    estimator : a regressor, or a function that makes one; None: DecisionStumpRegressor. Deeper trees, and what they can
        be told: sklearn.tree.DecisionTreeRegressor(max_depth=3, max_features=0.5).
    n_estimators : rounds, at most.
    learning_rate : η > 0.
    subsample : the share of the samples, drawn anew without replacement, that each round is fitted to; in (0, 1].
    init : where to start: None (the mean), "zero", or an estimator, which is fitted first.
    n_iter_no_change : stop when the loss on samples held out has not fallen by more than tol for so many rounds; None:
        never.
    validation_fraction : the share of samples that are held out for that, rounded down; in (0, 1).
    tol : >= 0.
    random_state : None, a seed, a Generator: for subsamples, what is held out, and estimators whose own is None.
    warm_start : fit() goes on from the estimators there are, up to n_estimators, on the same samples: the result is
        that of fitting all of them at once.

    Attributes
    ----------
    estimators_ : (rounds, 1) regressors. n_estimators_ : rounds. estimator_ : what they are copies of.
    train_score_ : (rounds,) mean loss of the samples that the round was fitted to, after it.
    oob_scores_, oob_improvement_, oob_score_ : if subsample < 1: (rounds,) mean loss of the others after the round, and
        by how much it fell; the last of the former.
    init_, feature_importances_, n_features_in_, feature_names_in_ : the estimator given as init, fitted, or None; see
        there; of X.

    Raises TypeError or ValueError naming the argument.

    Source: Friedman, Greedy function approximation, Annals of Statistics 29 (2001).

    >>> x = np.arange(8.0)[:, None]
    >>> model = GradientBoostingRegressor(n_estimators=50).fit(x, [0, 0, 3, 3, 3, 3, 7, 7])
    >>> model.predict([[0.0], [7.0]]).round(1).tolist()
    [0.1, 6.9]
    """

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """X: (n, features), of what the estimator takes; y: (n,) finite numbers; sample_weight: (n,) >= 0, not
        all 0."""
        x = self._first_rows(X)
        weight = inputs.weights(sample_weight, x.shape[0])
        target = inputs.numbers(y, x.shape[0])
        self._fit(x, target, sample_weight, weight, Squared())
        self._note(X, x)
        return self

    def apply(self, X: Any) -> Array:
        """(n, rounds): the leaf of each estimator that the row falls on; a stump's sides are 0 and 1."""
        return self._leaves(X)[:, :, 0]

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """The predictions after each round."""
        self._fitted()
        for raw in self._raw(X):
            yield raw[:, 0].copy()

    def predict(self, X: Any) -> Array:
        """(n,) numbers."""
        self._fitted()
        *_, raw = self._raw(X)
        return np.asarray(raw[:, 0])

    def staged_score(self, X: Any, y: Any, sample_weight: Any = None) -> Iterator[float]:
        """R² after each round."""
        for predicted in self.staged_predict(X):
            yield coefficient(y, predicted, sample_weight)


class GradientBoostingClassifier(GradientBoosting, Classifier):
    """Gradient boosting of the logistic loss of two classes, or of the multinomial one of more.

    f_k ← f_k + η h_k, h_k fitted to [y = k] − p_k, p = softmax(f) (of two classes one f, p = 1/(1 + e^−f)). Estimators
    with apply(), as trees and the stump, then take one Newton step per leaf instead of the mean: Σ w r / Σ w p(1 − p),
    times (K − 1)/K if there are more than two classes.

    The parameters and attributes are those of GradientBoostingRegressor, where init has predict_proba if it is an
    estimator (None: the shares of the classes); and:

    classes_, n_classes_ : sorted; how many.
    estimators_ : (rounds, outputs) regressors; one output for two classes, else one per class.
    train_score_ : the deviance, 2 × the log loss, for two classes, else the log loss.

    Source: as for GradientBoostingRegressor.

    >>> x = np.arange(8.0)[:, None]
    >>> model = GradientBoostingClassifier(n_estimators=20).fit(x, list("aaabbbcc"))
    >>> model.predict([[0.0], [4.0], [7.0]]).tolist()
    ['a', 'b', 'c']
    """

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """X: (n, features), of what the estimator takes; y: (n,) labels of two classes at least; sample_weight: (n,)
        >= 0, not all 0."""
        x = self._first_rows(X)
        weight = inputs.weights(sample_weight, x.shape[0])
        classes, codes = inputs.labels(y, x.shape[0], weight)
        self._check_classes(classes, codes, weight)
        loss = Logistic() if len(classes) == 2 else Multinomial(len(classes))
        self._fit(x, codes, sample_weight, weight, loss, classes)
        self.classes_ = classes
        self._note(X, x)
        return self

    def _check_classes(self, classes: Array, codes: Array, weight: Array) -> None:
        without = np.flatnonzero(np.bincount(codes, weight) == 0)
        if without.size:
            raise ValueError(f"sample_weight is 0 for every sample of class {classes.tolist()[without[0]]!r}")

    def apply(self, X: Any) -> Array:
        """(n, rounds, outputs): the leaf of each estimator that the row falls on; a stump's sides are 0 and 1."""
        return self._leaves(X)

    def staged_decision_function(self, X: Any) -> Iterator[Array]:
        """After each round what decision_function gives then."""
        self._fitted()
        for raw in self._raw(X):
            yield raw[:, 0].copy() if raw.shape[1] == 1 else raw.copy()

    def decision_function(self, X: Any) -> Array:
        """f: (n, classes), or (n,) if there are two."""
        self._fitted()
        *_, raw = self._raw(X)
        return np.asarray(raw[:, 0] if raw.shape[1] == 1 else raw)

    def staged_predict_proba(self, X: Any) -> Iterator[Array]:
        """After each round what predict_proba gives then."""
        self._fitted()
        assert not isinstance(self._loss, Squared)
        for raw in self._raw(X):
            yield self._loss.probabilities(raw)

    def predict_proba(self, X: Any) -> Array:
        """(n, classes) probabilities."""
        self._fitted()
        assert not isinstance(self._loss, Squared)
        *_, raw = self._raw(X)
        return self._loss.probabilities(raw)

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """The predictions after each round."""
        for p in self.staged_predict_proba(X):
            yield self.classes_[p.argmax(axis=1)]

    def staged_score(self, X: Any, y: Any, sample_weight: Any = None) -> Iterator[float]:
        """The share that is right after each round."""
        for predicted in self.staged_predict(X):
            yield accuracy(y, predicted, sample_weight)
