"""Gradient boosting: each learner is fitted to the negative gradient of the loss. Squared, logistic, multinomial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import integer, number, optional
from fastopt._types import Array
from fastopt.ensemble import inputs
from fastopt.ensemble.base import Regressor
from fastopt.ensemble.boosting import Boosting, BoostingClassifier
from fastopt.ensemble.losses import Logistic, Loss, Multinomial, Squared, newton_steps
from fastopt.ensemble.stump import DecisionStumpRegressor
from fastopt.ensemble.weak_learners import Samples, TrainingSamples, check_takes_weights, weak_learner
from fastopt.validation._samples import take
from fastopt.validation.estimators import check_estimator, fit, fresh, predictions, probabilities

EPS = float(np.finfo(np.float32).eps)


class TreeWithValues:
    """A fitted tree with other values in its leaves: one Newton step of the loss instead of the mean residual."""

    def __init__(self, tree: Any, leaf: Array, values: Array) -> None:
        self.tree, self.leaf, self.values = tree, leaf, values

    def predict(self, X: Any) -> Array:
        """(n,): the value of the sample's leaf."""
        leaf = np.asarray(self.tree.apply(X))
        index = np.minimum(np.searchsorted(self.leaf, leaf), len(self.leaf) - 1)
        if (unknown := self.leaf[index] != leaf).any():
            raise ValueError(f"estimator: apply gives leaf {leaf[unknown][0]}, but no training sample fell on it")
        return np.asarray(self.values[index])


def _tree(learner: Any) -> Any:
    return learner.tree if isinstance(learner, TreeWithValues) else learner


@dataclass
class BoostedSamples:
    """Samples with the raw predictions, (n, outputs), of the rounds so far."""

    samples: Samples
    y: Array
    weight: Array
    raw: Array

    def mean_loss(self, loss: Loss, rows: Array | None = None) -> float:
        """The weighted mean loss, over all samples or some rows; NaN if none of them has weight."""
        if rows is None or len(rows) == len(self.y):
            return loss.mean(self.y, self.raw, self.weight)
        if not self.weight[rows].any():
            return np.nan
        return loss.mean(self.y[rows], self.raw[rows], self.weight[rows])

    def add(self, output: int, rate: float, learner: Any) -> None:
        """raw[:, output] += rate · the learner's predictions."""
        self.raw[:, output] += rate * self.samples.values(learner)


@dataclass(eq=False, repr=False)
class GradientBoosting(Boosting):
    """The boosting rounds, with subsamples, early stopping and a warm start."""

    n_estimators: int = 100
    learning_rate: float = 0.1
    subsample: float = 1.0
    init: Any = None
    n_iter_no_change: int | None = None
    validation_fraction: float = 0.1
    tol: float = 1e-4

    def _fit_loss(self, x: Any, y: Array, weight: Array, weighted: bool, loss: Loss, old: list[Any]) -> None:
        """Boost this loss. y: numbers, or indices of classes."""
        self._check_settings()
        estimator = weak_learner(self.estimator, "regressor")
        if weighted:
            check_takes_weights(estimator, "sample_weight was given to the boosting")
        self.estimator_, self._loss = estimator, loss
        train, held = self._hold_out(y, weight)
        self._fit_init(take(x, train), y[train], weight[train], weighted)
        samples = TrainingSamples(estimator, take(x, train) if held.size else x)
        fitted = BoostedSamples(samples, y[train], weight[train], self._start(samples.X))
        held_out = None
        if held.size:
            x_held = take(x, held)
            held_out = BoostedSamples(Samples(x_held), y[held], weight[held], self._start(x_held))
        self._rounds(fitted, held_out, weighted, old)

    def _check_settings(self) -> None:
        number("subsample", self.subsample, 0, 1, above=True)
        number("validation_fraction", self.validation_fraction, 0, 1, above=True, below=True)
        number("tol", self.tol, 0)
        optional(integer, "n_iter_no_change", self.n_iter_no_change, 1)
        if isinstance(self.init, str) and self.init != "zero":
            raise ValueError(f"init must be None, 'zero' or an estimator, got {self.init!r}")

    def _hold_out(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """(rows to train on, rows held out for early stopping); stratified by class."""
        n = len(y)
        if self.n_iter_no_change is None:
            return np.arange(n), np.arange(0)
        order = self._rng(0, 0).permutation(n)
        if self._loss.newton:
            order = order[np.argsort(y[order], kind="stable")]
        cumulative = np.floor(np.arange(n + 1) * self.validation_fraction + 1e-9)  # 0.29 · 100 gives 29
        held = order[np.diff(cumulative) > 0]
        train = np.setdiff1d(np.arange(n), held)
        lost = self._loss.newton and _weighted_classes(y, weight) > _weighted_classes(y[train], weight[train])
        has_weight = weight[held].any() and weight[train].any()  # False if a part is empty
        if not has_weight or lost:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {n} samples leaves too few on one side"
            )
        return train, np.sort(held)

    def _fit_init(self, X: Any, y: Array, weight: Array, weighted: bool) -> None:
        self.init_: Any = None
        if self.init is None:
            self._prior = self._loss.start(y, weight)
        elif isinstance(self.init, str):
            self._prior = np.zeros(self._loss.outputs)
        else:
            init = fresh(self.init, self._rng(0, 1))
            check_estimator(init, ("fit", "predict_proba" if self._loss.newton else "predict"), "init")
            if weighted:
                check_takes_weights(init, "sample_weight was given to the boosting", "init")
            target = getattr(self, "classes_")[y] if self._loss.newton else y  # noqa: B009 (only classifiers have it)
            self.init_ = fit(init, X, target, {"sample_weight": weight} if weighted else {})

    def _start(self, X: Any) -> Array:
        """(n, outputs) raw predictions before the first round."""
        n = X.shape[0]
        if self.init_ is None:
            return np.tile(self._prior, (n, 1))
        if isinstance(self._loss, Squared):
            return predictions(self.init_, X, n, numbers=True).reshape(-1, 1).copy()
        p = probabilities(self.init_, X, n, max(2, self._loss.outputs))
        return np.array(self._loss.raw(np.clip(p, EPS, 1 - EPS)))

    def _rounds(self, train: BoostedSamples, held: BoostedSamples | None, weighted: bool, old: list[Any]) -> None:
        estimators: list[list[Any]] = []
        losses: list[tuple[float, float, float]] = []
        held_losses: list[float] = []
        for i in range(self.n_estimators):
            rows = self._draw_rows(i, train)
            left_out = np.setdiff1d(np.arange(len(train.y)), rows) if self.subsample < 1 else np.arange(0)
            before = train.mean_loss(self._loss, left_out)
            learners = list(old[i]) if i < len(old) else self._fit_round(i, train, rows, weighted)
            for k, learner in enumerate(learners):
                for part in [train] if held is None else [train, held]:
                    part.add(k, self.learning_rate, learner)
            estimators.append(learners)
            losses.append((train.mean_loss(self._loss, rows), before, train.mean_loss(self._loss, left_out)))
            if not np.isfinite(losses[i][0]):
                raise ValueError(f"learning_rate={self.learning_rate} or y is too great: the loss is {losses[i][0]}")
            if held is not None and self._has_stalled(held.mean_loss(self._loss), held_losses):
                break
        self.n_estimators_ = len(estimators)
        self.estimators_ = np.empty((len(estimators), self._loss.outputs), object)
        for i, learners in enumerate(estimators):
            self.estimators_[i] = learners
        self.train_score_, oob_before, oob_after = np.array(losses).T
        if self.subsample < 1:
            self.oob_scores_, self.oob_improvement_ = oob_after, oob_before - oob_after
            self.oob_score_ = float(oob_after[-1])

    def _draw_rows(self, i: int, train: BoostedSamples) -> Array:
        """The rows that round i is fitted to. ValueError if none of them has weight."""
        n = len(train.y)
        if self.subsample >= 1:
            return np.arange(n)
        rows = np.sort(self._rng(1, i).choice(n, max(1, int(self.subsample * n)), replace=False))
        if not train.weight[rows].any():
            raise ValueError(f"subsample={self.subsample}: in round {i} every sample drawn has sample_weight 0")
        return rows

    def _fit_round(self, i: int, train: BoostedSamples, rows: Array, weighted: bool) -> list[Any]:
        """One learner per output, all fitted to the residuals before this round."""
        residual = self._loss.residual(train.y, train.raw)
        return [
            self._fit_learner(train, np.ascontiguousarray(residual[:, k]), k, rows, weighted, self._rng(2, i, k))
            for k in range(self._loss.outputs)
        ]

    def _fit_learner(
        self, train: BoostedSamples, residual: Array, k: int, rows: Array, weighted: bool, rng: np.random.Generator
    ) -> Any:
        samples = train.samples
        assert isinstance(samples, TrainingSamples)
        learner = samples.fit_regressor(residual, train.weight, rng, rows, weighted)
        if isinstance(self._loss, Squared) or not hasattr(learner, "apply"):
            return learner
        target = (train.y == k).astype(float) if isinstance(self._loss, Multinomial) else train.y
        of_rows = residual[rows], target[rows], train.weight[rows]
        if isinstance(learner, DecisionStumpRegressor):
            side = (~learner.is_below(samples.columns)).view(np.uint8)
            learner.value_ = np.resize(newton_steps(self._loss, *of_rows, side[rows]), 2)
            return learner
        leaf = np.asarray(learner.apply(take(samples.X, rows)))
        if leaf.ndim != 1:
            return learner
        leaves, index = np.unique(leaf, return_inverse=True)
        return TreeWithValues(learner, leaves, newton_steps(self._loss, *of_rows, index))

    def _has_stalled(self, loss: float, earlier: list[float]) -> bool:
        """Whether none of the last n_iter_no_change losses exceeds this held-out loss by more than tol."""
        recent = earlier[-int(self.n_iter_no_change or 1) :]
        earlier.append(loss)
        return len(recent) == self.n_iter_no_change and not any(loss + self.tol < value for value in recent)

    def _stages(self, X: Any) -> Iterator[Array]:
        """(n, outputs) the raw predictions after each round, always in the same array."""
        samples = Samples(self._check_new_features(X))
        raw = self._start(samples.X)
        for learners in self.estimators_:
            for k, learner in enumerate(learners):
                raw[:, k] += self.learning_rate * samples.values(learner)
            yield raw

    @property
    def feature_importances_(self) -> Array:
        """(features,): how much splits on each feature lowered the squared error of the residuals, scaled to sum 1.

        All 0 without any split. For estimators other than stumps and scikit-learn's trees: the mean of their own.
        """
        self._check_fitted()
        total = np.zeros(self.n_features_in_)
        for learner in self.estimators_.ravel():
            total += _error_decrease(_tree(learner))
        return total / total.sum() if total.any() else total

    def _leaves(self, X: Any) -> Array:
        """(n, rounds, outputs): the leaf that each sample falls on."""
        x = self._check_new_features(X)
        if not all(hasattr(_tree(learner), "apply") for learner in self.estimators_.ravel()):
            raise AttributeError("apply: the estimators have none")
        leaves = [[np.asarray(_tree(learner).apply(x)) for learner in learners] for learners in self.estimators_]
        return np.moveaxis(np.array(leaves), 2, 0)


def _weighted_classes(y: Array, weight: Array) -> int:
    """The number of classes with a positive total weight."""
    return int((np.bincount(y, weight) > 0).sum())


def _error_decrease(tree: Any) -> Array:
    """(features,): how much splits on each lowered the error; of other estimators their own importances."""
    if hasattr(getattr(tree, "tree_", None), "compute_feature_importances"):  # scikit-learn's trees
        return np.asarray(tree.tree_.compute_feature_importances(normalize=False))
    if not hasattr(tree, "feature_importances_"):
        raise AttributeError("feature_importances_: the estimators have none")
    return np.asarray(tree.feature_importances_ * getattr(tree, "improvement_", 1.0))


class GradientBoostingRegressor(GradientBoosting, Regressor):
    """Gradient boosting of the squared error: f ← f + η h, h fitted to the residuals y − f.

    Beyond scikit-learn's class of this name: stumps searched in C, and any regressor as the weak learner.

    Parameters
    ----------
    estimator : a regressor, or a function that makes one; None: DecisionStumpRegressor. For deeper trees with any
        settings: sklearn.tree.DecisionTreeRegressor(max_depth=3, max_features=0.5).
    n_estimators : the largest number of rounds.
    learning_rate : η > 0.
    subsample : the share of the samples, drawn without replacement, that each round is fitted to; in (0, 1].
    init : the start: None (the mean), "zero", or an estimator, which is fitted first.
    n_iter_no_change : stop when the loss on held-out samples has not fallen by more than tol for this many rounds;
        None: never.
    validation_fraction : the share of samples held out for early stopping, rounded down; in (0, 1).
    tol : >= 0.
    random_state : None, a seed or a Generator: for subsamples, the held-out samples, and estimators whose own
        random_state or rng is None.
    warm_start : fit() keeps the fitted estimators and adds new ones up to n_estimators. On the same samples the result
        equals that of one fit.

    Attributes
    ----------
    estimators_ : (rounds, 1) regressors. n_estimators_ : the number of rounds. estimator_ : the unfitted estimator.
    train_score_ : (rounds,) the mean loss of the samples that the round was fitted to, after the round.
    oob_scores_, oob_improvement_ : with subsample < 1, (rounds,) the mean loss of the other samples after the round,
        and by how much it fell. oob_score_ : the last of oob_scores_.
    init_ : the fitted init estimator, or None.
    feature_importances_ : (features,), how much splits on each feature lowered the error; their sum is 1.
    n_features_in_, feature_names_in_ : the columns of X; the names if X was a DataFrame.

    Raises TypeError or ValueError naming the argument.

    Source: Friedman, Greedy function approximation, Annals of Statistics 29 (2001).

    >>> x = np.arange(8.0)[:, None]
    >>> model = GradientBoostingRegressor(n_estimators=50).fit(x, [0, 0, 3, 3, 3, 3, 7, 7])
    >>> model.predict([[0.0], [7.0]]).round(1).tolist()
    [0.1, 6.9]
    """

    def _fit(self, x: Any, y: Any, weight: Array, weighted: bool) -> None:
        target = inputs.numbers(y, x.shape[0])
        self._fit_loss(x, target, weight, weighted, Squared(), self._begin(x.shape[1]))

    def apply(self, X: Any) -> Array:
        """(n, rounds): the leaf of each estimator that the sample falls on; 0 or 1 for the sides of a stump."""
        return self._leaves(X)[:, :, 0]

    def _predictions(self, stage: Array) -> Array:
        return stage[:, 0].copy()


class GradientBoostingClassifier(GradientBoosting, BoostingClassifier):
    """Gradient boosting of the logistic loss of two classes, or of the multinomial loss of more.

    Beyond scikit-learn's class of this name: stumps searched in C, and any regressor as the weak learner.

    f_k ← f_k + η h_k,  h_k fitted to [y = k] − p_k,  p = softmax(f)

    Two classes share one f, with p = 1/(1 + e^−f). The leaves of estimators with apply(), such as trees and stumps,
    take one Newton step instead of the mean residual: Σ w r / Σ w p(1 − p), times (K − 1)/K with K > 2 classes.
    decision_function is f.

    The parameters and attributes are those of GradientBoostingRegressor. An init estimator needs predict_proba; None
    starts from the shares of the classes. In addition:

    classes_, n_classes_ : the sorted classes; their number.
    estimators_ : (rounds, outputs) regressors; one output for two classes, else one per class.
    train_score_ : the deviance, 2 × the log loss, for two classes, else the log loss.

    Source: as for GradientBoostingRegressor.

    >>> x = np.arange(8.0)[:, None]
    >>> model = GradientBoostingClassifier(n_estimators=20).fit(x, list("aaabbbcc"))
    >>> model.predict([[0.0], [4.0], [7.0]]).tolist()
    ['a', 'b', 'c']
    """

    def _fit(self, x: Any, y: Any, weight: Array, weighted: bool) -> None:
        classes, codes = inputs.labels(y, x.shape[0], weight)
        without = np.flatnonzero(np.bincount(codes, weight) == 0)
        if without.size:
            raise ValueError(f"sample_weight is 0 for every sample of class {classes.tolist()[without[0]]!r}")
        loss = Logistic() if len(classes) == 2 else Multinomial(len(classes))
        old = self._begin(x.shape[1], classes)
        self.classes_ = classes
        self._fit_loss(x, codes, weight, weighted, loss, old)

    def apply(self, X: Any) -> Array:
        """(n, rounds, outputs): the leaf of each estimator that the sample falls on; 0 or 1 for a stump's sides."""
        return self._leaves(X)

    def _decisions(self, stage: Array) -> Array:
        return np.array(stage[:, 0] if stage.shape[1] == 1 else stage)

    def _probabilities(self, stage: Array) -> Array:
        assert not isinstance(self._loss, Squared)
        return self._loss.probabilities(stage)
