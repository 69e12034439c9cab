"""AdaBoost (SAMME and AdaBoost.R2): each learner gets larger weights on the errors of the learners before it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fastopt._checks import one_of
from fastopt._types import Array
from fastopt.ensemble import inputs
from fastopt.ensemble.base import Regressor
from fastopt.ensemble.boosting import Boosting, BoostingClassifier
from fastopt.ensemble.weak_learners import Samples, TrainingSamples, check_takes_weights, mean_importances, weak_learner

EPS = float(np.finfo(float).eps)

#: (learner or None to end the boosting, its weight, its error, the next sample weights)
Round: TypeAlias = tuple[Any, float, float, Array]
LOSSES: dict[str, Any] = {
    "linear": lambda d: d,
    "square": np.square,
    "exponential": lambda d: 1 - np.exp(-d),
}


class AdaBoost(Boosting):
    """Rounds that reweight the samples, until n_estimators or until a learner ends them early."""

    def _rounds(self, train: TrainingSamples, y: Array, weight: Array, old: list[Any]) -> None:
        """Boost until n_estimators, a perfect learner, or one that is no better than a guess."""
        weight = weight / weight.sum()
        estimators: list[Any] = []
        weights_and_errors: list[tuple[float, float]] = []
        for i in range(self.n_estimators):
            weight = np.where(weight > 0, np.maximum(weight, EPS), 0.0)
            learner, alpha, error, weight = self._round(train, i, y, weight, old[i] if i < len(old) else None)
            if learner is None:
                break
            if not np.isfinite(alpha):
                raise ValueError(f"learning_rate={self.learning_rate} is too great: the weight of round {i} is {alpha}")
            estimators.append(learner)
            weights_and_errors.append((alpha, error))
            if error <= 0 or not 0 < weight.sum() < np.inf:
                break
            weight = weight / weight.sum()
        self.estimator_, self.estimators_ = train.estimator, estimators
        self.estimator_weights_, self.estimator_errors_ = np.array(weights_and_errors).T

    @abstractmethod
    def _round(self, train: TrainingSamples, i: int, y: Array, weight: Array, old: Any) -> Round:
        """Fit the learner of round i, or evaluate the old one that a warm start kept."""

    @property
    def feature_importances_(self) -> Array:
        """(features,): the mean of the estimators' importances, by estimator_weights_."""
        self._check_fitted()
        return mean_importances(self.estimators_, self.estimator_weights_)


class AdaBoostClassifier(AdaBoost, BoostingClassifier):
    """AdaBoost-SAMME: a weighted vote of classifiers. Each is fitted with larger weights on earlier mistakes.

    Beyond scikit-learn's class of this name: stumps searched in C, and any estimator or factory.

    In round i, with e the weighted share of mistakes and K classes:

        α = η (ln((1 − e)/e) + ln(K − 1)),  w ← w·e^α for the mistakes

    The decision of a class is the mean over the classifiers, weighted by α, of 1 for a vote for the class and
    −1/(K − 1) for a vote for another; with two classes, the second class's minus the first's. Probabilities are the
    softmax of the decisions / (K − 1).

    Parameters
    ----------
    estimator : a classifier with sample_weight in fit(), or a function that makes one; None: DecisionStumpClassifier.
    n_estimators : the largest number of rounds. A perfect classifier, or one no better than a guess, ends them early.
    learning_rate : η > 0.
    random_state : None, a seed or a Generator. It seeds the estimators whose own random_state or rng is None.
    warm_start : fit() keeps the fitted estimators and adds new ones up to n_estimators. On the same samples the result
        equals that of one fit.

    Attributes
    ----------
    estimators_, estimator_weights_ (α), estimator_errors_ (e) : one entry per round.
    estimator_ : the unfitted estimator that was copied for each round.
    classes_, n_classes_ : the sorted classes; their number.
    feature_importances_ : the mean of the estimators' importances, by α.
    n_features_in_, feature_names_in_ : the columns of X; the names if X was a DataFrame.

    Raises TypeError or ValueError naming the argument; ValueError if the first classifier is no better than a guess.

    Source: Zhu, Zou, Rosset and Hastie, Multi-class AdaBoost, Statistics and Its Interface 2 (2009).

    >>> x = np.arange(10.0)[:, None]
    >>> AdaBoostClassifier(n_estimators=5).fit(x, abs(x[:, 0] - 4.5) < 3).predict([[0.0], [5.0], [9.0]]).tolist()
    [False, True, False]
    """

    def _fit(self, x: Any, y: Any, weight: Array, weighted: bool) -> None:
        estimator = weak_learner(self.estimator, "classifier")
        check_takes_weights(estimator, "AdaBoost changes the weights of the samples in every round")
        classes, codes = inputs.labels(y, x.shape[0], weight)
        old = self._begin(x.shape[1], classes)
        self.classes_ = classes
        self._rounds(TrainingSamples(estimator, x), codes, weight, old)

    def _round(self, train: TrainingSamples, i: int, y: Array, weight: Array, old: Any) -> Round:
        learner = train.fit_classifier(self.classes_, y, weight, self._rng(i)) if old is None else old
        wrong = train.labels(learner, self.classes_) != y
        error = float(weight[wrong].sum() / weight.sum())
        k = len(self.classes_)
        if error <= 0:
            return learner, 1.0, 0.0, weight
        if error >= 1 - 1 / k:
            if i == 0:
                raise ValueError(f"estimator is no better than a guess among {k} classes: it gets {error:.3g} wrong")
            return None, 0.0, error, weight
        alpha = self.learning_rate * (np.log((1 - error) / error) + np.log(k - 1))
        return learner, float(alpha), error, np.where(wrong, weight * np.exp(alpha), weight)

    def _stages(self, X: Any) -> Iterator[tuple[Array, float]]:
        """After each round the (classes, n) votes, and their sum over the classes."""
        samples = Samples(self._check_new_features(X))
        n = samples.X.shape[0]
        votes, rows = np.zeros((len(self.classes_), n)), np.arange(n)
        total = np.cumsum(self.estimator_weights_)
        for learner, alpha, so_far in zip(self.estimators_, self.estimator_weights_, total, strict=True):
            votes[samples.labels(learner, self.classes_), rows] += alpha
            yield votes, so_far

    def _class_decisions(self, stage: tuple[Array, float]) -> Array:
        votes, total = stage
        k = len(self.classes_)
        return np.asarray(((votes / total * k - 1) / (k - 1)).T)

    def _decisions(self, stage: tuple[Array, float]) -> Array:
        decision = self._class_decisions(stage)
        return np.asarray(decision[:, 1] - decision[:, 0]) if len(self.classes_) == 2 else decision

    def _probabilities(self, stage: tuple[Array, float]) -> Array:
        decision = self._class_decisions(stage)
        power = np.exp((decision - decision.max(axis=1, keepdims=True)) / (len(self.classes_) - 1))
        return np.asarray(power / power.sum(axis=1, keepdims=True))

    def _predictions(self, stage: tuple[Array, float]) -> Array:
        return np.asarray(self.classes_[stage[0].argmax(axis=0)])


@dataclass(eq=False, repr=False)
class AdaBoostRegressor(AdaBoost, Regressor):
    """AdaBoost.R2: the weighted median of regressors, fitted to samples drawn with weights that grow with the errors.

    Beyond scikit-learn's class of this name: stumps searched in C, and any estimator or factory.

    In round i, with d = |y − ŷ| / max |y − ŷ| and the loss l = d, d² or 1 − e^−d:

        e = Σ w l,  β = e/(1 − e),  w ← w·β^(η(1 − l))

    The median is weighted by η ln 1/β.

    Parameters
    ----------
    estimator : a regressor, or a function that makes one; None: DecisionStumpRegressor.
    n_estimators : the largest number of rounds. A perfect regressor, or one with e >= 1/2, ends them early.
    learning_rate : η > 0.
    loss : "linear", "square" or "exponential".
    random_state : None, a seed or a Generator: for the draws, and for estimators whose own random_state or rng is None.
    warm_start : as in AdaBoostClassifier.

    Attributes
    ----------
    estimators_, estimator_weights_, estimator_errors_, estimator_, feature_importances_, n_features_in_,
    feature_names_in_ : as in AdaBoostClassifier.

    Source: Drucker, Improving regressors using boosting techniques, ICML 1997.

    >>> x = np.arange(8.0)[:, None]
    >>> AdaBoostRegressor(n_estimators=9, random_state=0).fit(x, x[:, 0] > 3).predict([[1.0], [6.0]]).tolist()
    [0.0, 1.0]
    """

    loss: str = "linear"

    def _fit(self, x: Any, y: Any, weight: Array, weighted: bool) -> None:
        estimator = weak_learner(self.estimator, "regressor")
        one_of("loss", self.loss, LOSSES)
        target = inputs.numbers(y, x.shape[0])
        self._rounds(TrainingSamples(estimator, x), target, weight, self._begin(x.shape[1]))

    def _round(self, train: TrainingSamples, i: int, y: Array, weight: Array, old: Any) -> Round:
        learner = self._fit_drawn(train, i, y, weight) if old is None else old
        used = weight > 0
        error = np.abs(train.values(learner) - y)
        largest = error[used].max()
        loss = LOSSES[self.loss](error / largest if largest > 0 else error)
        mean = float(np.sum((weight * loss)[used]))
        if mean <= 0:
            return learner, 1.0, 0.0, weight
        if mean >= 0.5:
            return (learner if i == 0 else None), 0.0, mean, np.zeros_like(weight)
        beta = mean / (1 - mean)
        alpha = self.learning_rate * np.log(1 / beta)
        shrunk = weight * np.power(beta, (1 - np.where(used, loss, 0.0)) * self.learning_rate)
        return learner, float(alpha), mean, shrunk

    def _fit_drawn(self, train: TrainingSamples, i: int, y: Array, weight: Array) -> Any:
        """A learner fitted to n samples that are drawn with replacement, with the weights as probabilities."""
        n = len(y)
        rows = self._rng(i, 0).choice(n, size=n, p=weight / weight.sum())
        return train.fit_regressor(y, np.ones(n), self._rng(i, 1), rows, weighted=False)

    def _stages(self, X: Any) -> Iterator[Array]:
        """(n, rounds) the predictions of the estimators up to each round."""
        samples = Samples(self._check_new_features(X))
        predictions = np.stack([samples.values(learner) for learner in self.estimators_], axis=1)
        for rounds in range(1, len(self.estimators_) + 1):
            yield predictions[:, :rounds]

    def _predictions(self, stage: Array) -> Array:
        """(n,): the median weighted by estimator_weights_; the lower one of two."""
        order = np.argsort(stage, axis=1, kind="stable")
        cumulative = np.cumsum(self.estimator_weights_[order], axis=1)
        middle = np.argmax(cumulative >= 0.5 * cumulative[:, -1:], axis=1)
        rows = np.arange(len(stage))
        return np.asarray(stage[rows, order[rows, middle]])
