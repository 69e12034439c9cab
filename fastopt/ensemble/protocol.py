"""scikit-learn's protocol without scikit-learn: parameters, copies, scores, tags and what to say of an unfitted one.

What scikit-learn must recognize as its own (its tags, its NotFittedError) is looked up where it is loaded.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self, TypeVar, cast

import numpy as np

from fastopt.ensemble import inputs
from fastopt.validation.checks import Array, Rng, column, rng_like
from fastopt.validation.estimators import example, is_factory
from fastopt.validation.parallel import seed_sequence
from fastopt.validation.scoring import r2


class NotFitted(ValueError, AttributeError):
    """Asked before fit(). Where scikit-learn is loaded, its NotFittedError is raised instead."""


Fit = TypeVar("Fit", bound=Callable[..., Any])


def whole(fit: Fit) -> Fit:
    """fit() that learns in a copy and puts all of it down at once: a failure or Ctrl-C leaves the model as it was, and
    other threads see one fit or the other. What only some settings give, and a former fit gave, is gone."""

    @functools.wraps(fit)
    def fit_whole(self: Estimator, X: Any, y: Any, sample_weight: Any = None) -> Estimator:
        made = copy.copy(self)
        for name in type(self)._at_times:
            vars(made).pop(name, None)
        fit(made, X, y, sample_weight)
        self.__dict__ = made.__dict__
        return self

    return cast(Fit, fit_whole)


def _defaults(cls: Any) -> dict[str, Any]:
    """The parameters of an estimator's __init__, in order."""
    if cls.__init__ is object.__init__:
        return {}
    return {p.name: p.default for p in list(inspect.signature(cls).parameters.values())}


class Estimator(ABC):
    """Parameters as attributes of the same names; what fit() learns ends with an underscore."""

    _estimator_type: str
    _at_times: tuple[str, ...] = ()  # what fit() learns only with some settings
    _weak = False  # so weak by itself that scikit-learn's checks may not ask for a good score
    n_features_in_: int
    feature_names_in_: Array

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters; with deep those of an estimator among them, too, as name__parameter."""
        found: dict[str, Any] = {}
        for name in _defaults(type(self)):
            value = found[name] = getattr(self, name)
            if deep and hasattr(value, "get_params") and not isinstance(value, type):
                found.update({f"{name}__{k}": v for k, v in value.get_params().items()})
        return found

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; ValueError, and nothing is set, for one that there is not."""
        own: dict[str, Any] = {}
        inner: dict[str, dict[str, Any]] = {}
        for key, value in params.items():
            name, nested, rest = key.partition("__")
            if name not in _defaults(type(self)):
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}; there are {[*_defaults(type(self))]}"
                )
            if nested:
                inner.setdefault(name, {})[rest] = value
            else:
                own[name] = value
        parts = {name: own.get(name, getattr(self, name)) for name in inner}
        for name, part in parts.items():
            if not hasattr(part, "set_params"):
                raise ValueError(f"{name}={part!r:.60} has no parameters of its own to set")
        for name, part in parts.items():
            part.set_params(**inner[name])
        for name, value in own.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        shown = {k: getattr(self, k) for k, default in _defaults(type(self)).items() if _differs(self, k, default)}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        classifier = self._estimator_type == "classifier"
        return Tags(
            estimator_type=self._estimator_type,
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(poor_score=self._weak) if classifier else None,
            regressor_tags=None if classifier else RegressorTags(poor_score=self._weak),
            input_tags=InputTags(sparse=self._passes("sparse"), allow_nan=self._passes("allow_nan")),
        )

    def _innermost(self) -> Any:
        """What rows are handed on to that is not of this package, to look at; None: nothing but stumps."""
        inner: Any = getattr(self, "estimator", None)
        inner = example(inner) if is_factory(inner) else inner
        return inner._innermost() if isinstance(inner, Estimator) else inner

    def _passes(self, tag: str) -> bool:
        """Whether scikit-learn's tags say that it takes such input."""
        inner = self._innermost()
        return hasattr(inner, "__sklearn_tags__") and bool(getattr(inner.__sklearn_tags__().input_tags, tag))

    def _fitted(self) -> None:
        if not hasattr(self, "n_features_in_"):
            loaded = sys.modules.get("sklearn.exceptions")
            error = NotFitted if loaded is None else loaded.NotFittedError
            raise error(f"This {type(self).__name__} instance is not fitted yet: call fit() first")

    def _new_rows(self, X: Any, dtype: Any = np.float64) -> Any:
        """X checked against what was fitted."""
        self._fitted()
        names = inputs.names_of(X)
        inputs.check_names(getattr(self, "feature_names_in_", None), names, type(self).__name__)
        X = self._first_rows(X, dtype)
        if X.shape[1] != self.n_features_in_:
            name = type(self).__name__
            raise ValueError(
                f"X has {X.shape[1]} features, but {name} is expecting {self.n_features_in_} features as input"
            )
        return X

    def _first_rows(self, X: Any, dtype: Any = np.float64) -> Any:
        """X checked, nothing noted yet."""
        inner = self._innermost()
        finite = not hasattr(inner, "__sklearn_tags__")  # those who have tags look for themselves
        return inputs.rows(X, dtype, sparse=self._passes("sparse"), finite=finite, numbers=inner is None)

    def _note(self, X: Any, x: Any) -> None:
        """What later rows must agree with: the names in X as it came, the number of columns in what was made of it."""
        names = inputs.names_of(X)
        self.n_features_in_ = int(x.shape[1])
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_


def _differs(estimator: Any, name: str, default: Any) -> bool:
    value = getattr(estimator, name)
    return value is not default and not (isinstance(value, (str, int, float)) and value == default)


class Classifier(Estimator):
    """predict, predict_log_proba and score from classes_ and predict_proba."""

    _estimator_type = "classifier"
    classes_: Array

    @property
    def n_classes_(self) -> int:
        """How many classes there are."""
        self._fitted()
        return len(self.classes_)

    @abstractmethod
    def predict_proba(self, X: Any) -> Array: ...

    def predict(self, X: Any) -> Array:
        """The most probable class of each row, the first of equals."""
        best = np.argmax(self.predict_proba(X), axis=1)
        return np.asarray(self.classes_[best])

    def predict_log_proba(self, X: Any) -> Array:
        """ln of predict_proba; −inf where that is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share, by weight, that predict() has right."""
        return accuracy(y, self.predict(X), sample_weight)


class Regressor(Estimator):
    """score from predict."""

    _estimator_type = "regressor"

    @abstractmethod
    def predict(self, X: Any) -> Array: ...

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² = 1 − Σw(y − ŷ)² / Σw(y − ȳ)²"""
        return coefficient(y, self.predict(X), sample_weight)


def accuracy(y: Any, predicted: Array, sample_weight: Any = None) -> float:
    right = column("y", y, len(predicted)) == predicted
    return float(np.average(right, weights=inputs.weights(sample_weight, len(predicted))))


def coefficient(y: Any, predicted: Array, sample_weight: Any = None) -> float:
    """R² by weight; of several targets, the mean of theirs."""
    if predicted.ndim == 2:
        y = inputs.numbers(y, len(predicted), several=True)
        if y.shape != predicted.shape:
            raise ValueError(f"y has shape {y.shape}, the model predicts {predicted.shape}")
        return float(np.mean([coefficient(*one, sample_weight) for one in zip(y.T, predicted.T, strict=True)]))
    y = inputs.numbers(column("y", y, len(predicted)), len(predicted))
    if sample_weight is None:
        return r2(y, predicted)
    root = np.sqrt(inputs.weights(sample_weight, len(predicted)))
    mean = np.average(y, weights=root**2)
    return r2_of(root * (y - predicted), root * (y - mean))


def r2_of(residual: Array, deviation: Array) -> float:
    """R² from what is left and from what there was; where there was nothing, 1 if nothing is left, else 0."""
    left, there = float(residual @ residual), float(deviation @ deviation)
    return 1 - left / there if there else float(left == 0)


def root_of(random_state: Any) -> np.random.SeedSequence:
    """Where every random number of a fit comes from: None, a seed, a Generator, a SeedSequence or a RandomState."""
    if isinstance(random_state, np.random.RandomState):
        random_state = np.random.SeedSequence(random_state.randint(2**31, size=4).tolist())
    kinds = "a Generator, a SeedSequence or a RandomState of numpy.random"
    rng: Rng = rng_like("random_state", random_state, kinds)
    return seed_sequence(rng)


def child(root: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """The stream of one task: a matter of its place alone, however many there are."""
    return np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, *key))
