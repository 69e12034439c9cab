"""How estimators are checked, copied, seeded and fitted.

An estimator is any object with fit and predict, or a function (a class, too) that makes one.
"""

from __future__ import annotations

import copy
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from fastopt._checks import number, warn
from fastopt._optional import require
from fastopt._types import Array, Rng
from fastopt.validation import parallel
from fastopt.validation._samples import samples, take

SEEDS = ("random_state", "rng")
MODELS_AT_ONCE = 16  # bounds the memory of training sets and predictions that are held at the same time


def check_estimator(estimator: Any, needed: tuple[str, ...] = ("fit", "predict"), name: str = "estimator") -> Any:
    """Return the estimator; TypeError if it is neither a factory nor an object with these methods."""
    if is_factory(estimator):
        return estimator
    lacking = [method for method in needed if not callable(getattr(estimator, method, None))]
    if lacking:
        raise TypeError(
            f"{name} must have {' and '.join(needed)}, or be a function that makes such an object: "
            f"{estimator!r:.60} has no {' and no '.join(lacking)}"
        )
    return estimator


def check_has_set_params(estimator: Any, purpose: str) -> None:
    """Raise TypeError if the parameters of the estimator cannot be set."""
    if not hasattr(example(estimator), "set_params"):
        raise TypeError(f"estimator must have set_params {purpose}: {estimator!r:.60} has none")


def is_factory(estimator: Any) -> bool:
    return isinstance(estimator, type) or (callable(estimator) and not hasattr(estimator, "fit"))


def example(estimator: Any) -> Any:
    """The object itself, or one that the factory makes. Callers inspect it and never fit it."""
    return fresh(estimator, np.random.default_rng(0)) if is_factory(estimator) else estimator


def name_of(estimator: Any) -> str:
    made = estimator if is_factory(estimator) else type(estimator)
    return str(getattr(made, "__name__", type(made).__name__))


def fresh(estimator: Any, rng: np.random.Generator, params: Mapping[str, Any] | None = None) -> Any:
    """A new unfitted estimator with these parameters, seeded from rng.

    A factory with a parameter rng is called with it. Otherwise every parameter named random_state or rng that is None,
    also of nested estimators, is set to a seed drawn from rng. Seeds that the user has set stay.
    """
    if is_factory(estimator):
        made = estimator(rng=rng) if "rng" in _parameters(estimator) else estimator()
        check_estimator(made, name="the object that the estimator's factory makes")
    else:
        made = _clone(estimator)
    if params:
        made.set_params(**params)
    if hasattr(made, "get_params") and hasattr(made, "set_params"):
        unseeded = [k for k, v in made.get_params(deep=True).items() if v is None and k.split("__")[-1] in SEEDS]
        if unseeded:
            made.set_params(**{k: int(rng.integers(2**31)) for k in sorted(unseeded)})
    return made


def _parameters(function: Any) -> Any:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in callables have no signature
        return {}


def _clone(estimator: Any) -> Any:
    """scikit-learn's clone of its own estimators; otherwise a new object with the same parameters, or a deep copy."""
    if hasattr(estimator, "__sklearn_tags__"):
        return require("sklearn.base", f"{estimator!r:.60}", "sklearn").clone(estimator)
    if hasattr(estimator, "get_params"):
        return type(estimator)(**copy.deepcopy(estimator.get_params(deep=False)))
    return copy.deepcopy(estimator)


def is_classifier(estimator: Any) -> bool:
    """Whether scikit-learn's tags or _estimator_type say so, or predict_proba exists."""
    made = example(estimator)
    if hasattr(made, "__sklearn_tags__"):
        return bool(made.__sklearn_tags__().estimator_type == "classifier")
    kind = getattr(made, "_estimator_type", None)
    return bool(kind == "classifier" or (kind is None and hasattr(made, "predict_proba")))


def predictions(made: Any, X: Any, n: int, numbers: bool = False, targets: tuple[int, ...] = ()) -> Array:
    """(n, *targets) labels, or with `numbers` finite float64; ValueError if predict() gives another shape."""
    found = np.asarray(made.predict(X))
    if found.size != n if not targets else found.shape != (n, *targets):
        of = f" with {targets[0]} targets" if targets else ""
        raise ValueError(f"estimator: predict gives shape {found.shape} for {n} samples{of}")
    found = found.reshape(n, *targets)
    try:
        found = found.astype(np.float64, copy=False) if numbers else found
    except (TypeError, ValueError) as error:
        raise TypeError(f"estimator: predict gives no numbers: {error}") from None
    return _finite(found, "predict", made) if found.dtype.kind == "f" else found


def probabilities(made: Any, X: Any, n: int, classes: int) -> Array:
    """(n, classes) finite float64; ValueError if predict_proba() gives another shape."""
    found = np.asarray(made.predict_proba(X), np.float64)
    if found.shape != (n, classes):
        raise ValueError(f"estimator: predict_proba gives shape {found.shape}, not {(n, classes)}: {made!r:.60}")
    return _finite(found, "predict_proba", made)


def _finite(found: Array, method: str, made: Any) -> Array:
    if not np.isfinite(found).all():
        raise ValueError(f"estimator: {method} gives {found[~np.isfinite(found)][0]}: {made!r:.60}")
    return found


# -- fitting ----------------------------------------------------------------------------------------------------------


class CannotFitTogether(ValueError):
    """fit_many() raises this, before it changes anything, if the models have to be fitted one after the other."""


def fit(estimator: Any, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
    """Call estimator.fit and return the fitted object: what fit() returns, or the estimator if it returns none."""
    result = estimator.fit(X, **params) if y is None else estimator.fit(X, y, **params)
    return estimator if result is None or not hasattr(result, "predict") else result


def fit_all(
    estimators: Sequence[Any], Xs: Sequence[Any], ys: Sequence[Any], sample_weights: Sequence[Any] | None = None
) -> list[Any]:
    """Fit model k on (Xs[k], ys[k]) with sample_weights[k], for all k; return the fitted models.

    A class that can train several models faster together has a static method fit_many(estimators, Xs, ys,
    sample_weights=None). It fits them in place, with the same results as single fits, and returns them; or it raises
    CannotFitTogether before it changes anything. Without that method, or after that error, they are fitted in turn.

    Parameters
    ----------
    estimators : K unfitted estimators.
    Xs, ys, sample_weights : K each. A y that is None is not passed to fit; nor is a weight that is None.

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
    given = {"estimators": estimators, "Xs": Xs, "ys": ys} | (
        {} if sample_weights is None else {"sample_weights": sample_weights}
    )
    for name, each in given.items():
        if not hasattr(each, "__len__"):
            raise TypeError(f"{name} must be a sequence, got {each!r:.60}")
        if len(each) != len(estimators):
            raise ValueError(f"{name} has {len(each)} entries for {len(estimators)} estimators")
    weights = [None] * len(estimators) if sample_weights is None else sample_weights
    return _fit_models(estimators, Xs, ys, [{} if w is None else {"sample_weight": w} for w in weights])


def _fit_models(models: Sequence[Any], Xs: Sequence[Any], ys: Sequence[Any], params: Sequence[Any]) -> list[Any]:
    """Fit each model with its own fit parameters: by fit_many if there are only weights, otherwise in turn."""
    if len(models) > 1 and len({type(m) for m in models}) == 1 and not set().union(*params) - {"sample_weight"}:
        together = getattr(type(models[0]), "fit_many", None)
        weights = [p.get("sample_weight") for p in params] if any(params) else None
        if callable(together):
            try:
                fitted = list(together(models, Xs, ys, weights))
            except CannotFitTogether:
                pass
            else:
                if len(fitted) != len(models):
                    raise ValueError(f"estimator: fit_many gives {len(fitted)} models for {len(models)}")
                return fitted
    return [fit(m, X, y, p) for m, X, y, p in zip(models, Xs, ys, params, strict=True)]


class FitTask(ABC):
    """One fit: its training samples, and the result that is kept of the fitted model. Must be picklable."""

    params: Mapping[str, Any] | None = None  # for set_params, before the fit

    @abstractmethod
    def training_set(self, rng: np.random.Generator) -> tuple[Any, Any, Mapping[str, Any]]:
        """X, y and further arguments of fit."""

    @abstractmethod
    def result(self, model: Any, X_train: Any, y_train: Any, fit_time: float) -> Any:
        """Return the result to keep. fit_time is in seconds."""

    def failed(self, error: Exception) -> Any:
        """The result if fit() raised an error; raises it by default."""
        raise error


def run_fits(
    estimator: Any, tasks: Sequence[FitTask], *, n_jobs: Any, rng: Rng, progress: Any, label: str = "fits"
) -> list[Any]:
    """The results of the tasks, in order. They do not depend on n_jobs.

    Models are fitted together if their class has fit_many, and neither workers nor a progress bar were asked for.
    """
    if n_jobs not in (None, 1) or progress or not callable(getattr(estimator, "fit_many", None)):
        items = [(estimator, task) for task in tasks]
        return parallel.run(_fit_one, items, n_jobs=n_jobs, rng=rng, progress=progress, label=label)
    rngs = [np.random.default_rng(stream) for stream in parallel.seed_sequence(rng).spawn(len(tasks))]
    groups = [slice(i, i + MODELS_AT_ONCE) for i in range(0, len(tasks), MODELS_AT_ONCE)]
    return [result for group in groups for result in _fit_group(estimator, tasks[group], rngs[group])]


def fits_in_turn(
    estimator: Any, tasks: Iterable[FitTask], total: int, *, n_jobs: Any, seed: np.random.SeedSequence, progress: Any
) -> Iterator[Any]:
    """The results of `total` tasks, one by one; only a few tasks and results exist at the same time."""
    tasks = iter(tasks)
    with parallel.bar(total, progress) as bar:
        for stream in seed.spawn(-(-total // MODELS_AT_ONCE)):
            batch = list(islice(tasks, MODELS_AT_ONCE))
            yield from run_fits(estimator, batch, n_jobs=n_jobs, rng=stream, progress=bar)


def _fit_one(estimator: Any, task: FitTask, rng: np.random.Generator) -> Any:
    return _fit_group(estimator, [task], [rng])[0]


def _fit_group(estimator: Any, tasks: Sequence[FitTask], rngs: Sequence[np.random.Generator]) -> list[Any]:
    sets, models = [], []
    for task, rng in zip(tasks, rngs, strict=True):
        sets.append(task.training_set(rng))
        models.append(fresh(estimator, rng, task.params))
    start = time.perf_counter()
    try:
        models = _fit_models(models, *zip(*sets, strict=True))
    except Exception as error:
        if len(tasks) == 1:
            return [tasks[0].failed(error)]
        models = [_model_or_error(m, *one) for m, one in zip(models, sets, strict=True)]
    fit_time = (time.perf_counter() - start) / len(tasks)
    return [
        t.failed(m) if isinstance(m, Exception) else t.result(m, X, y, fit_time)
        for t, m, (X, y, _) in zip(tasks, models, sets, strict=True)
    ]


def _model_or_error(model: Any, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
    try:
        return fit(model, X, y, params)
    except Exception as error:
        return error


def check_error_score(value: Any) -> Any:
    """ "raise", or a number, which may be NaN."""
    if value == "raise":
        return value
    return value if isinstance(value, float) and value != value else number("error_score", value)


def report_failures(errors: Sequence[Exception], total: int, error_score: Any, fits: bool = True) -> None:
    """Raise the first error if all of `total` failed, by a fit or by misuse of a score; otherwise warn once."""
    if len(errors) == total and (fits or isinstance(errors[0], (TypeError, AttributeError))):
        raise errors[0]
    if errors:
        first = f"{type(errors[0]).__name__}: {errors[0]}"
        warn(f"{len(errors)} of {total} fits or scores failed and count as error_score={error_score}; first {first}")


def of_samples(value: Any, index: Array, n: int) -> Any:
    """The entries of a fit parameter that has one value per sample; any other parameter unchanged."""
    per_sample = not isinstance(value, (str, bytes, dict)) and (hasattr(value, "shape") or hasattr(value, "__len__"))
    return take(value, index) if per_sample and samples(value, "fit_params") == n else value
