"""The base classes of all ensembles: parameters, fit, scores, random streams. The API is scikit-learn's.

Where scikit-learn is installed, they derive from its BaseEstimator, and its tags and NotFittedError are used.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import sys
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from fastopt._checks import integer, one_of, rng_like
from fastopt._types import Array
from fastopt.ensemble import inputs
from fastopt.validation import scoring
from fastopt.validation._samples import column
from fastopt.validation.estimators import example, is_factory
from fastopt.validation.parallel import seed_sequence


class NotFitted(ValueError, AttributeError):
    """A method was called before fit(). If scikit-learn is loaded, its NotFittedError is raised instead."""


if importlib.util.find_spec("sklearn") is None:
    _Base: Any = object
else:  # for metadata routing and the display in notebooks
    _Base = importlib.import_module("sklearn.base").BaseEstimator


class Estimator(_Base, metaclass=ABCMeta):  # type: ignore[misc]
    """Parameters are attributes of the same names. Attributes that fit() sets end with an underscore."""

    _estimator_type: str
    _dtype: ClassVar[Any] = np.float64  # X is converted to it; None: any numeric dtype
    _poor_score = False  # scikit-learn's checks expect no good score of such a model
    _metric: Callable[..., float]
    n_features_in_: int
    feature_names_in_: Array

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model. An exception leaves the previous fit unchanged.

        X : (n, features), finite float64, or whatever the given estimator takes.
        y : (n,) labels of a classifier, or finite numbers of a regressor; (n, targets) in BaggingRegressor.
        sample_weight : (n,) finite, >= 0, not all 0. Only their ratios matter. Bagging and AdaBoostRegressor use them
            as the probabilities with which samples are drawn.
        """
        fitted = copy.copy(self)
        for name in [name for name in vars(fitted) if name.startswith("oob_") and name.endswith("_")]:
            delattr(fitted, name)  # attributes that only some settings compute
        x = fitted._check_features(X)
        weight = inputs.weights(sample_weight, x.shape[0])
        fitted._fit(x, y, weight, sample_weight is not None)
        fitted.n_features_in_ = int(x.shape[1])
        fitted.__dict__.pop("feature_names_in_", None)
        if (names := inputs.feature_names(X)) is not None:
            fitted.feature_names_in_ = names
        self.__dict__ = fitted.__dict__
        return self

    @abstractmethod
    def _fit(self, x: Any, y: Any, weight: Array, weighted: bool) -> None:
        """Fit to checked features and weights. weighted: whether the caller gave sample_weight."""

    @abstractmethod
    def predict(self, X: Any) -> Array: ...

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The weighted accuracy of a classifier; R² = 1 − Σw(y − ŷ)² / Σw(y − ȳ)² of a regressor."""
        return type(self)._metric(y, self.predict(X), sample_weight)

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        if cls.__init__ is object.__init__:
            return {}
        return {p.name: p.default for p in inspect.signature(cls).parameters.values()}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name. deep: also those of nested estimators, as name__parameter."""
        params: dict[str, Any] = {}
        for name in self._defaults():
            value = params[name] = getattr(self, name)
            if deep and hasattr(value, "get_params") and not isinstance(value, type):
                params.update({f"{name}__{k}": v for k, v in value.get_params().items()})
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name. An unknown name raises ValueError, and then none is set."""
        own: dict[str, Any] = {}
        nested: dict[str, dict[str, Any]] = {}
        for key, value in params.items():
            name, separator, rest = key.partition("__")
            if name not in self._defaults():
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}; it has {[*self._defaults()]}")
            if separator:
                nested.setdefault(name, {})[rest] = value
            else:
                own[name] = value
        inner = {name: own.get(name, getattr(self, name)) for name in nested}
        for name, estimator in inner.items():
            if not hasattr(estimator, "set_params"):
                raise ValueError(f"{name}={estimator!r:.60} has no parameters of its own to set")
        for name, estimator in inner.items():
            estimator.set_params(**nested[name])
        for name, value in own.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        shown = []
        for name, default in self._defaults().items():
            value = getattr(self, name)
            if not (value is default or (isinstance(value, (str, int, float)) and value == default)):
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    if _Base is not object:

        def __sklearn_tags__(self) -> Any:
            from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

            classifier = self._estimator_type == "classifier"
            return Tags(
                estimator_type=self._estimator_type,
                target_tags=TargetTags(required=True),
                classifier_tags=ClassifierTags(poor_score=self._poor_score) if classifier else None,
                regressor_tags=None if classifier else RegressorTags(poor_score=self._poor_score),
                input_tags=InputTags(sparse=self._accepts("sparse"), allow_nan=self._accepts("allow_nan")),
            )

    def _foreign_estimator(self) -> Any:
        """The innermost estimator that gets the samples, if it is not a class of this package; None for stumps."""
        inner: Any = getattr(self, "estimator", None)
        inner = example(inner) if is_factory(inner) else inner
        return inner._foreign_estimator() if isinstance(inner, Estimator) else inner

    def _accepts(self, tag: str) -> bool:
        """Whether the foreign estimator's scikit-learn tags allow "sparse" input or "allow_nan"."""
        inner = self._foreign_estimator()
        return hasattr(inner, "__sklearn_tags__") and bool(getattr(inner.__sklearn_tags__().input_tags, tag))

    def _check_features(self, X: Any) -> Any:
        inner = self._foreign_estimator()
        finite = not hasattr(inner, "__sklearn_tags__")  # scikit-learn's estimators check X themselves
        return inputs.features(X, self._dtype, sparse=self._accepts("sparse"), finite=finite, numeric=inner is None)

    def _check_fitted(self) -> None:
        if not hasattr(self, "n_features_in_"):
            exceptions = sys.modules.get("sklearn.exceptions")
            error = NotFitted if exceptions is None else exceptions.NotFittedError
            raise error(f"This {type(self).__name__} instance is not fitted yet: call fit() first")

    def _check_new_features(self, X: Any) -> Any:
        """X for a prediction: with as many columns, and the same names, as in fit."""
        self._check_fitted()
        name, expected = type(self).__name__, self.n_features_in_
        inputs.check_names(getattr(self, "feature_names_in_", None), inputs.feature_names(X), name)
        X = self._check_features(X)
        if X.shape[1] != expected:
            raise ValueError(f"X has {X.shape[1]} features, but {name} is expecting {expected} features as input")
        return X


def accuracy(y: Any, predicted: Array, sample_weight: Any = None) -> float:
    """The weighted share of samples with predicted == y."""
    n = len(predicted)
    return scoring.accuracy(column("y", y, n), predicted, inputs.weights(sample_weight, n))


def r2(y: Any, predicted: Array, sample_weight: Any = None) -> float:
    """The weighted R², averaged over the targets. For a constant target: 1 if every prediction is right, else 0."""
    n = len(predicted)
    if predicted.ndim == 1:
        y = inputs.numbers(column("y", y, n), n)
    elif (y := inputs.numbers(y, n, several=True)).shape != predicted.shape:
        raise ValueError(f"y has shape {y.shape}, the model predicts {predicted.shape}")
    return scoring.r2(y, predicted, inputs.weights(sample_weight, n))


class Classifier(Estimator):
    """predict and predict_log_proba from classes_ and predict_proba."""

    _estimator_type = "classifier"
    _metric = staticmethod(accuracy)
    classes_: Array

    @property
    def n_classes_(self) -> int:
        """The number of classes."""
        self._check_fitted()
        return len(self.classes_)

    @abstractmethod
    def predict_proba(self, X: Any) -> Array: ...

    def predict(self, X: Any) -> Array:
        """(n,) the most probable class of each sample; the first one of equals."""
        best = np.argmax(self.predict_proba(X), axis=1)
        return np.asarray(self.classes_[best])

    def predict_log_proba(self, X: Any) -> Array:
        """ln of predict_proba; −inf where the probability is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


class Regressor(Estimator):
    """A model whose score is R²."""

    _estimator_type = "regressor"
    _metric = staticmethod(r2)


def root_seed(random_state: Any) -> np.random.SeedSequence:
    """The SeedSequence from which all random numbers of a fit derive. random_state may also be a RandomState."""
    if isinstance(random_state, np.random.RandomState):
        random_state = np.random.SeedSequence(random_state.randint(2**31, size=4).tolist())
    kinds = "a Generator, a SeedSequence or a RandomState of numpy.random"
    return seed_sequence(rng_like("random_state", random_state, kinds))


def child_seed(root: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """The seed of one task. It depends on the root and on the key alone, not on the number of tasks."""
    return np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, *key))


def kept_estimators(model: Any, features: int, classes: Array | None = None) -> list[Any]:
    """The fitted estimators that a warm start continues from; an empty list without warm_start.

    Raises ValueError if n_estimators is smaller than their number, or if features or classes have changed.
    """
    n = integer("n_estimators", model.n_estimators, 1)
    one_of("warm_start", model.warm_start, (True, False))
    old = list(getattr(model, "estimators_", [])) if model.warm_start else []
    if n < len(old):
        raise ValueError(f"n_estimators={n} must be at least the {len(old)} that warm_start goes on from")
    if old and features != model.n_features_in_:
        raise ValueError(f"X has {features} features, warm_start goes on from {model.n_features_in_}")
    if old and classes is not None and not np.array_equal(classes, model.classes_):
        raise ValueError(f"y has the classes {classes.tolist()}, warm_start goes on from {model.classes_.tolist()}")
    return old
