"""What is validated: anything with fit and predict, or a function that makes one. Copies, seeds, one fit."""

from __future__ import annotations

import copy
import inspect
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastopt.validation.checks import Array, samples, take
from fastopt.validation.scoring import Scorer, score

NEEDED = ("fit", "predict")


def check_estimator(estimator: Any, needed: tuple[str, ...] = NEEDED, name: str = "estimator") -> Any:
    """An object with these methods, or a function (a class, too) that makes one when it is called."""
    if is_factory(estimator):
        return estimator
    lacking = [method for method in needed if not callable(getattr(estimator, method, None))]
    if lacking:
        raise TypeError(
            f"{name} must have {' and '.join(needed)}, or be a function that makes such an object: "
            f"{estimator!r:.60} has no {' and no '.join(lacking)}"
        )
    return estimator


def is_factory(estimator: Any) -> bool:
    return isinstance(estimator, type) or (callable(estimator) and not hasattr(estimator, "fit"))


def example(estimator: Any) -> Any:
    """The object itself, or one that the factory makes: to look at, not to fit."""
    return fresh(estimator, np.random.default_rng(0)) if is_factory(estimator) else estimator


def fresh(estimator: Any, rng: np.random.Generator, params: Mapping[str, Any] | None = None) -> Any:
    """An unfitted one for a task of its own, with these parameters, and seeded from the task's stream.

    A factory is called with rng= if it has such a parameter. Otherwise every parameter named random_state or rng, of
    the object or of its parts, that is None is set to a seed from the stream; what the user has set stays.
    """
    if is_factory(estimator):
        made = estimator(rng=rng) if "rng" in _parameters(estimator) else estimator()
        check_estimator(made, name="what the estimator's factory makes")
    else:
        made = _clone(estimator)
    if params:
        made.set_params(**params)
    if hasattr(made, "get_params") and hasattr(made, "set_params"):
        unseeded = [k for k, v in made.get_params(deep=True).items() if v is None and k.split("__")[-1] in SEEDS]
        if unseeded:
            made.set_params(**{k: int(rng.integers(2**31)) for k in sorted(unseeded)})
    return made


SEEDS = ("random_state", "rng")


def _parameters(function: Any) -> Any:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in callables have none to show
        return {}


def _clone(estimator: Any) -> Any:
    """scikit-learn's clone where that protocol is spoken; otherwise a deep copy of what was handed over."""
    if hasattr(estimator, "get_params") and not isinstance(estimator, type):
        if "sklearn.base" in sys.modules:
            return sys.modules["sklearn.base"].clone(estimator)
        return type(estimator)(**copy.deepcopy(estimator.get_params(deep=False)))
    return copy.deepcopy(estimator)


def is_classifier(estimator: Any) -> bool:
    """As scikit-learn's tags say, or _estimator_type, or because it has predict_proba."""
    made = example(estimator)
    if "sklearn.base" in sys.modules and hasattr(made, "__sklearn_tags__"):
        return bool(sys.modules["sklearn.base"].is_classifier(made))
    kind = getattr(made, "_estimator_type", None)
    return bool(kind == "classifier" or (kind is None and hasattr(made, "predict_proba")))


@dataclass(frozen=True)
class Fit:
    """What a task is to do beside fitting: all of it can be pickled."""

    scorers: Mapping[str, Scorer]
    train_scores: bool = False
    method: str | None = None  # of the estimator, for out-of-fold predictions
    keep: bool = False  # the fitted estimator itself
    fit_params: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] | None = None


@dataclass
class Fitted:
    """What came of it."""

    test_scores: dict[str, float]
    train_scores: dict[str, float]
    fit_time: float
    score_time: float
    predictions: Any
    estimator: Any


def fit(estimator: Any, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
    """Fitted in place; some fit() return another object, and some return nothing."""
    result = estimator.fit(X, **params) if y is None else estimator.fit(X, y, **params)
    return estimator if result is None or not hasattr(result, "predict") else result


def predictions(made: Any, X: Any, n: int, numbers: bool = False, targets: tuple[int, ...] = ()) -> Array:
    """(n, *targets) what predict() gives: labels, or finite numbers in float64; ValueError for another shape."""
    found = np.asarray(made.predict(X))
    if found.size != n if not targets else found.shape != (n, *targets):
        of = f" with {targets[0]} targets" if targets else ""
        raise ValueError(f"estimator: predict gives shape {found.shape} for {n} samples{of}")
    found = found.reshape(n, *targets)
    try:
        found = found.astype(np.float64, copy=False) if numbers else found
    except (TypeError, ValueError) as error:
        raise TypeError(f"estimator: predict gives no numbers: {error}") from None
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ValueError(f"estimator: predict gives {found[~np.isfinite(found)][0]}: {made!r:.60}")
    return found


def probabilities(made: Any, X: Any, n: int, classes: int) -> Array:
    """(n, classes) what predict_proba() gives, in float64; ValueError for another shape or what is not finite."""
    found = np.asarray(made.predict_proba(X), np.float64)
    if found.shape != (n, classes):
        raise ValueError(f"estimator: predict_proba gives shape {found.shape}, not {(n, classes)}: {made!r:.60}")
    if not np.isfinite(found).all():
        raise ValueError(f"estimator: predict_proba gives {found[~np.isfinite(found)][0]}: {made!r:.60}")
    return found


class CannotFitTogether(ValueError):
    """These models have to be fitted one after the other; raised before anything was touched."""


def fit_all(
    estimators: Sequence[Any], Xs: Sequence[Any], ys: Sequence[Any], sample_weights: Sequence[Any] | None = None
) -> list[Any]:
    """Model k fitted on (Xs[k], ys[k]) with sample_weights[k], for all k; the fitted models.

    A class may train many of its models faster together than one after the other, with the same results: it has a
    static method fit_many(estimators, Xs, ys, sample_weights=None) that fits them in place and returns them, or raises
    CannotFitTogether before it touches anything. Without one, or where it raises that, they are fitted in turn.

    Parameters
    ----------
    estimators : K unfitted ones (`fresh`).
    Xs, ys, sample_weights : K each. A y that is None is not passed on; nor are weights, if None.

    >>> import numpy as np
    >>> from fastopt.validation.estimators import fit_all
    >>> class Mean:
    ...     def fit(self, X, y):
    ...         self.mean = float(np.mean(y))
    ...     def predict(self, X):
    ...         return np.full(len(X), self.mean)
    >>> models = fit_all([Mean(), Mean()], [np.ones((2, 1))] * 2, [[1.0, 3.0], [5.0, 7.0]])
    >>> [m.mean for m in models]
    [2.0, 6.0]
    """
    given: dict[str, Any] = {"estimators": estimators, "Xs": Xs, "ys": ys}
    if sample_weights is not None:
        given["sample_weights"] = sample_weights
    for name, each in given.items():
        if not hasattr(each, "__len__"):
            raise TypeError(f"{name} must be a sequence, got {each!r:.60}")
        if len(each) != len(estimators):
            raise ValueError(f"{name} has {len(each)} entries for {len(estimators)} estimators")
    weights = [None] * len(estimators) if sample_weights is None else sample_weights
    if len(estimators) > 1 and len({type(e) for e in estimators}) == 1:
        together = getattr(type(estimators[0]), "fit_many", None)
        if callable(together):
            try:
                return as_many(list(together(estimators, Xs, ys, sample_weights)), len(estimators))
            except CannotFitTogether:
                pass
    return [
        fit(e, X, y, {} if w is None else {"sample_weight": w})
        for e, X, y, w in zip(estimators, Xs, ys, weights, strict=True)
    ]


def fits_together(estimator: Any, n_jobs: Any, progress: bool) -> bool:
    """Whether many of them shall be fitted at once here: not if workers, or a bar over the fits, were asked for."""
    return n_jobs in (None, 1) and not progress and callable(getattr(estimator, "fit_many", None))


def fit_parts(estimator: Any, parts: Sequence[tuple[np.random.Generator, Any, Any]], params: Any = None) -> list[Any]:
    """A fresh one for each (stream, X, y), all of them fitted: together, if their class can."""
    models = [fresh(estimator, rng, params) for rng, _, _ in parts]
    return fit_all(models, [X for _, X, _ in parts], [y for _, _, y in parts])


def as_many(models: list[Any], n: int) -> list[Any]:
    """The models that fit_many gave; ValueError if it gave more or fewer."""
    if len(models) != n:
        raise ValueError(f"estimator: fit_many gives {len(models)} models for {n}")
    return models


def fit_and_score(
    estimator: Any, X: Any, y: Any, train: Array, test: Array, what: Fit, rng: np.random.Generator
) -> Fitted:
    """One fit on the training samples, scored on the test samples."""
    made = fresh(estimator, rng, what.params)
    X_train, y_train = take(X, train), take(y, train)
    n = samples(X)
    start = time.perf_counter()
    made = fit(made, X_train, y_train, {k: of_samples(v, train, n) for k, v in what.fit_params.items()})
    fit_time = time.perf_counter() - start
    return scored(made, X_train, y_train, take(X, test), take(y, test), what, fit_time)


def fit_and_score_together(items: Sequence[tuple[Any, ...]], streams: Sequence[np.random.SeedSequence]) -> Any:
    """[fit_and_score(*item, rng=stream) ...] by the class's own fit_many (`fit_all`); None where it cannot.

    The items are of one estimator and one X; each model's fit_time is its share of the whole.
    """
    estimator, X, y, what = items[0][0], items[0][1], items[0][2], items[0][5]
    if (
        len(items) < 2
        or not callable(getattr(estimator, "fit_many", None))
        or what.fit_params.keys() - {"sample_weight"}
    ):
        return None
    weight, n = what.fit_params.get("sample_weight"), samples(X)
    made = [fresh(estimator, np.random.default_rng(s), item[5].params) for item, s in zip(items, streams, strict=True)]
    trains = [item[3] for item in items]
    parts = [take(X, t) for t in trains], [take(y, t) for t in trains]
    weights = None if weight is None else [of_samples(weight, t, n) for t in trains]
    start = time.perf_counter()
    try:
        made = as_many(list(type(made[0]).fit_many(made, *parts, weights)), len(made))
    except CannotFitTogether:
        return None
    fit_time = (time.perf_counter() - start) / len(made)
    results = []
    for m, item, X_train, y_train in zip(made, items, *parts, strict=True):
        results.append(scored(m, X_train, y_train, take(X, item[4]), take(y, item[4]), item[5], fit_time))
    return results


def scored(made: Any, X_train: Any, y_train: Any, X_test: Any, y_test: Any, what: Fit, fit_time: float) -> Fitted:
    """A fitted one, scored on what was held out."""
    start = time.perf_counter()
    test_scores = score(what.scorers, made, X_test, y_test)
    score_time = time.perf_counter() - start
    train_scores = score(what.scorers, made, X_train, y_train) if what.train_scores else {}
    predictions = None if what.method is None else np.asarray(getattr(made, what.method)(X_test))
    return Fitted(test_scores, train_scores, fit_time, score_time, predictions, made if what.keep else None)


def of_samples(value: Any, index: Array, n: int) -> Any:
    """A fit parameter that has one value per sample, for some of them; any other as it is."""
    per_sample = not isinstance(value, (str, bytes, dict)) and (hasattr(value, "shape") or hasattr(value, "__len__"))
    return take(value, index) if per_sample and samples(value, "fit_params") == n else value
