"""AdaBoost: every learner attends to what those before it got wrong. SAMME for classes, R2 for numbers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from fastopt.ensemble import inputs
from fastopt.ensemble.learners import (
    Data,
    Learner,
    check_takes_weights,
    importances,
    kept,
    positive,
    weak_learner,
)
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
from fastopt.validation.checks import Array, one_of

EPS = float(np.finfo(float).eps)


class AdaBoost(Estimator):
    """What both have: rounds that end early, a warm start by going through the rounds again, importances."""

    estimator_: Any
    estimators_: list[Any]
    estimator_weights_: Array
    estimator_errors_: Array

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 50,
        learning_rate: float = 1.0,
        random_state: Any = None,
        warm_start: bool = False,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.warm_start = warm_start

    def _begin(self, features: int, classes: Array | None = None) -> list[Any]:
        positive("learning_rate", self.learning_rate)
        old = kept(self, features, classes)
        if not old:
            self._root = root_of(self.random_state)
        return old

    def _rounds(self, learner: Learner, y: Array, weight: Array, old: list[Any]) -> None:
        """Boost until n_estimators, a perfect learner, or one that is no better than a guess."""
        self.estimator_ = learner.estimator
        weight = weight / weight.sum()
        estimators: list[Any] = []
        found: list[tuple[float, float]] = []
        for i in range(self.n_estimators):
            weight = np.where(weight > 0, np.maximum(weight, EPS), 0.0)
            made, alpha, error, weight = self._boost(learner, i, y, weight, old[i] if i < len(old) else None)
            if made is None:
                break
            if not np.isfinite(alpha):
                raise ValueError(f"learning_rate={self.learning_rate} is too great: the weight of round {i} is {alpha}")
            estimators.append(made)
            found.append((alpha, error))
            if error <= 0 or not 0 < weight.sum() < np.inf:
                break
            weight = weight / weight.sum()
        self.estimators_ = estimators
        self.estimator_weights_, self.estimator_errors_ = np.array(found).T

    @abstractmethod
    def _boost(self, learner: Learner, i: int, y: Array, weight: Array, old: Any) -> tuple[Any, float, float, Array]:
        """The learner of this round (None: the boosting ends without it), its weight and error, the next weights."""

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(child(self._root, *key))

    @property
    def feature_importances_(self) -> Array:
        """(features,): the mean of those of the estimators, by their weights."""
        self._fitted()
        return importances(self.estimators_, self.estimator_weights_)

    @abstractmethod
    def staged_predict(self, X: Any) -> Iterator[Array]:
        """The predictions after each round."""


class AdaBoostClassifier(AdaBoost, Classifier):
    """AdaBoost-SAMME: a vote of classifiers, each fitted with greater weights on what those before it got wrong.

    In round i, with e the weighted share that the classifier gets wrong and K classes:
    α = η (ln((1 − e)/e) + ln(K − 1));  w ← w·e^α where it is wrong;  the vote goes by α.

    Parameters
    ----------
    estimator : a classifier with sample_weight in fit(), or a function that makes one; None: DecisionStumpClassifier.
    n_estimators : at most so many rounds; fewer after a perfect one, or one that is no better than a guess.
    learning_rate : η > 0.
    random_state : None, a seed, a Generator: for the estimators whose own random_state or rng is None.
    warm_start : fit() goes on from the estimators there are, up to n_estimators, on the same samples: the result is
        that of fitting all of them at once.

    Attributes
    ----------
    estimators_, estimator_weights_ (α), estimator_errors_ (e) : with one entry per round that took place.
    classes_, n_classes_, feature_importances_, estimator_ : sorted; how many; the mean of the estimators' by their
        weights; what they are copies of.
    n_features_in_, feature_names_in_ : of X; the names if X was a DataFrame.

    Raises TypeError or ValueError naming the argument; ValueError if the first classifier is no better than a guess.

    Source: Zhu, Zou, Rosset and Hastie, Multi-class AdaBoost, Statistics and Its Interface 2 (2009).

    >>> x = np.arange(10.0)[:, None]
    >>> AdaBoostClassifier(n_estimators=5).fit(x, abs(x[:, 0] - 4.5) < 3).predict([[0.0], [5.0], [9.0]]).tolist()
    [False, True, False]
    """

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """X: (n, features), of what the estimator takes; y: (n,) labels of two classes at least; sample_weight: (n,)
        >= 0, not all 0."""
        estimator = weak_learner(self.estimator, "classifier")
        check_takes_weights(estimator, "AdaBoost weighs the samples anew in every round")
        x = self._first_rows(X)
        weight = inputs.weights(sample_weight, x.shape[0])
        classes, codes = inputs.labels(y, x.shape[0], weight)
        old = self._begin(x.shape[1], classes)
        self.classes_ = classes
        self._rounds(Learner(estimator, x), codes, weight, old)
        self._note(X, x)
        return self

    def _boost(self, learner: Learner, i: int, y: Array, weight: Array, old: Any) -> tuple[Any, float, float, Array]:
        made = learner.classify(self.classes_, y, weight, self._rng(i)) if old is None else old
        wrong = learner.labels(made, self.classes_) != y
        error = float(weight[wrong].sum() / weight.sum())
        k = len(self.classes_)
        if error <= 0:
            return made, 1.0, 0.0, weight
        if error >= 1 - 1 / k:
            if i == 0:
                raise ValueError(f"estimator is no better than a guess among {k} classes: it gets {error:.3g} wrong")
            return None, 0.0, error, weight
        alpha = self.learning_rate * (np.log((1 - error) / error) + np.log(k - 1))
        return made, float(alpha), error, np.where(wrong, weight * np.exp(alpha), weight)

    def _votes(self, X: Any) -> Iterator[Array]:
        """After each round (classes, n) votes, the same array each time, with their sum."""
        data = Data(self._new_rows(X))
        n = data.X.shape[0]
        votes, rows = np.zeros((len(self.classes_), n)), np.arange(n)
        for made, alpha in zip(self.estimators_, self.estimator_weights_, strict=True):
            votes[data.labels(made, self.classes_), rows] += alpha
            yield votes

    def _decisions(self, X: Any) -> Iterator[Array]:
        total = np.cumsum(self.estimator_weights_)
        k = len(self.classes_)
        for votes, all_votes in zip(self._votes(X), total, strict=True):
            yield ((votes / all_votes * k - 1) / (k - 1)).T

    def staged_decision_function(self, X: Any) -> Iterator[Array]:
        """After each round what decision_function gives then."""
        self._fitted()
        for decision in self._decisions(X):
            yield decision[:, 1] - decision[:, 0] if len(self.classes_) == 2 else decision

    def decision_function(self, X: Any) -> Array:
        """(n, classes): per class the weighted mean of 1 for a vote for it and −1/(K − 1) for one for another; of two
        classes (n,), the second minus the first."""
        return _last(self.staged_decision_function(X))

    def staged_predict_proba(self, X: Any) -> Iterator[Array]:
        """After each round what predict_proba gives then."""
        self._fitted()
        for decision in self._decisions(X):
            power = np.exp((decision - decision.max(axis=1, keepdims=True)) / (len(self.classes_) - 1))
            yield power / power.sum(axis=1, keepdims=True)

    def predict_proba(self, X: Any) -> Array:
        """(n, classes): softmax of the decision function / (K − 1)."""
        return _last(self.staged_predict_proba(X))

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """The predictions after each round."""
        self._fitted()
        for votes in self._votes(X):
            yield self.classes_[votes.argmax(axis=0)]

    def predict(self, X: Any) -> Array:
        """The class with the most votes by weight, the first of equals."""
        return _last(self.staged_predict(X))

    def staged_score(self, X: Any, y: Any, sample_weight: Any = None) -> Iterator[float]:
        """The share that is right after each round."""
        for predicted in self.staged_predict(X):
            yield accuracy(y, predicted, sample_weight)


def _last(stages: Iterator[Array]) -> Array:
    stage = None
    for stage in stages:  # noqa: B007
        pass
    assert stage is not None
    return stage


class AdaBoostRegressor(AdaBoost, Regressor):
    """AdaBoost.R2: the weighted median of regressors, each fitted to samples drawn by weights that grow with errors.

    In round i, with d = |y − ŷ| / max |y − ŷ| and the loss l = d, d² or 1 − e^−d: e = Σ w l, β = e/(1 − e),
    w ← w·β^(η(1 − l)); the median goes by η ln 1/β.

    Parameters
    ----------
    estimator : a regressor, or a function that makes one; None: DecisionStumpRegressor.
    n_estimators : at most so many rounds; fewer after a perfect one, or one with e >= 1/2.
    learning_rate : η > 0.
    loss : "linear", "square" or "exponential".
    random_state : None, a seed, a Generator: for the samples drawn, and the estimators whose own is None.
    warm_start : see AdaBoostClassifier.

    Attributes
    ----------
    estimators_, estimator_weights_, estimator_errors_, estimator_, feature_importances_, n_features_in_,
    feature_names_in_ : see AdaBoostClassifier.

    Source: Drucker, Improving regressors using boosting techniques, ICML 1997.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 50,
        learning_rate: float = 1.0,
        loss: str = "linear",
        random_state: Any = None,
        warm_start: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            n_estimators=n_estimators,
            learning_rate=learning_rate,
            random_state=random_state,
            warm_start=warm_start,
        )
        self.loss = loss

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """X: (n, features), of what the estimator takes; y: (n,) finite numbers; sample_weight: (n,) >= 0, not all 0:
        how likely each is drawn."""
        estimator = weak_learner(self.estimator, "regressor")
        one_of("loss", self.loss, LOSSES)
        x = self._first_rows(X)
        target = inputs.numbers(y, x.shape[0])
        weight = inputs.weights(sample_weight, x.shape[0])
        self._rounds(Learner(estimator, x), target, weight, self._begin(x.shape[1]))
        self._note(X, x)
        return self

    def _boost(self, learner: Learner, i: int, y: Array, weight: Array, old: Any) -> tuple[Any, float, float, Array]:
        made = self._drawn(learner, i, y, weight) if old is None else old
        used = weight > 0
        error = np.abs(learner.values(made) - y)
        worst = error[used].max()
        loss = LOSSES[self.loss](error / worst if worst > 0 else error)
        mean = float(np.sum((weight * loss)[used]))
        if mean <= 0:
            return made, 1.0, 0.0, weight
        if mean >= 0.5:
            return (made if i == 0 else None), 0.0, mean, np.zeros_like(weight)
        beta = mean / (1 - mean)
        alpha = self.learning_rate * np.log(1 / beta)
        shrunk = weight * np.power(beta, (1 - np.where(used, loss, 0.0)) * self.learning_rate)
        return made, float(alpha), mean, shrunk

    def _drawn(self, learner: Learner, i: int, y: Array, weight: Array) -> Any:
        """A learner of n samples drawn with replacement, by weight."""
        n = len(y)
        places = self._rng(i, 0).choice(n, size=n, p=weight / weight.sum())
        return learner.regress(y, np.ones(n), self._rng(i, 1), places, weighted=False)

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """The predictions after each round."""
        self._fitted()
        predictions = self._predictions(X)
        for rounds in range(1, len(self.estimators_) + 1):
            yield self._median(predictions[:, :rounds])

    def predict(self, X: Any) -> Array:
        """(n,): the weighted median of what the estimators predict."""
        self._fitted()
        return self._median(self._predictions(X))

    def _predictions(self, X: Any) -> Array:
        data = Data(self._new_rows(X))
        return np.stack([data.values(made) for made in self.estimators_], axis=1)

    def _median(self, predictions: Array) -> Array:
        order = np.argsort(predictions, axis=1, kind="stable")
        reached = np.cumsum(self.estimator_weights_[order], axis=1)
        middle = np.argmax(reached >= 0.5 * reached[:, -1:], axis=1)
        rows = np.arange(len(predictions))
        return np.asarray(predictions[rows, order[rows, middle]])

    def staged_score(self, X: Any, y: Any, sample_weight: Any = None) -> Iterator[float]:
        """R² after each round."""
        for predicted in self.staged_predict(X):
            yield coefficient(y, predicted, sample_weight)


LOSSES: dict[str, Any] = {
    "linear": lambda d: d,
    "square": np.square,
    "exponential": lambda d: 1 - np.exp(-d),
}
