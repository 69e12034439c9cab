"""The base classes of AdaBoost and gradient boosting: settings, random streams, predictions after every round."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from fastopt._checks import number
from fastopt._types import Array
from fastopt.ensemble.base import Classifier, Estimator, child_seed, kept_estimators, root_seed


@dataclass(eq=False, repr=False)
class Boosting(Estimator):
    """Rounds that each add estimators. A warm start evaluates the old rounds again, then adds new ones."""

    estimator: Any = None
    _: KW_ONLY
    n_estimators: int = 50
    learning_rate: float = 1.0
    random_state: Any = None
    warm_start: bool = False

    def _begin(self, features: int, classes: Array | None = None) -> list[Any]:
        """Check the settings; return the estimators that a warm start keeps."""
        number("learning_rate", self.learning_rate, 0, above=True)
        old = kept_estimators(self, features, classes)
        if not old:
            self._root = root_seed(self.random_state)
        return old

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(child_seed(self._root, *key))

    @abstractmethod
    def _stages(self, X: Any) -> Iterator[Any]:
        """The sum, or the votes, after each round; the next round may overwrite its arrays."""

    @abstractmethod
    def _predictions(self, stage: Any) -> Array:
        """(n,) new labels or numbers from one of the stages."""

    def predict(self, X: Any) -> Array:
        """(n,) labels of a classifier, numbers of a regressor."""
        return self._predictions(_last(self._stages(X)))

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """What predict() returns after each round."""
        for stage in self._stages(X):
            yield self._predictions(stage)

    def staged_score(self, X: Any, y: Any, sample_weight: Any = None) -> Iterator[float]:
        """What score() returns after each round."""
        for predicted in self.staged_predict(X):
            yield type(self)._metric(y, predicted, sample_weight)


class BoostingClassifier(Boosting, Classifier):
    """Decisions and probabilities, after the last round and after every round."""

    @abstractmethod
    def _decisions(self, stage: Any) -> Array: ...

    @abstractmethod
    def _probabilities(self, stage: Any) -> Array: ...

    def decision_function(self, X: Any) -> Array:
        """(n, classes), or (n,) for two classes: the raw scores that the class docstring defines."""
        return self._decisions(_last(self._stages(X)))

    def staged_decision_function(self, X: Any) -> Iterator[Array]:
        """What decision_function() returns after each round."""
        for stage in self._stages(X):
            yield self._decisions(stage)

    def predict_proba(self, X: Any) -> Array:
        """(n, classes) probabilities."""
        return self._probabilities(_last(self._stages(X)))

    def staged_predict_proba(self, X: Any) -> Iterator[Array]:
        """What predict_proba() returns after each round."""
        for stage in self._stages(X):
            yield self._probabilities(stage)

    def _predictions(self, stage: Any) -> Array:
        return np.asarray(self.classes_[self._probabilities(stage).argmax(axis=1)])


def _last(stages: Iterator[Any]) -> Any:
    *_, last = stages
    return last
