"""Out-of-bag samples as test sets: a splitter, and the .632 and .632+ estimates of the prediction error.

Source: Efron and Tibshirani, Improvements on cross-validation: the .632+ bootstrap method, JASA 92 (1997).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import flag, integer, one_of, optional, rng_like
from fastopt._types import Array, Rng
from fastopt.validation import parallel
from fastopt.validation._samples import column, encode, same_length, samples, take
from fastopt.validation.estimators import (
    FitTask,
    check_error_score,
    check_estimator,
    example,
    fit,
    fits_in_turn,
    fresh,
    is_classifier,
    name_of,
    predictions,
    report_failures,
)
from fastopt.validation.folds import Split, Splitter, class_labels
from fastopt.validation.resampling import ResamplingScheme, key_from, scheme_for

MOST_TRIES = 1000


class Bootstrap(Splitter):
    """Train on samples drawn with replacement (positions repeat); test on those not drawn, about 37 %.

    Parameters
    ----------
    n_splits : how many, >= 1.
    stratified : as many draws within each class of y as it has samples.
    grouped : whole groups are drawn.
    block_length : runs of this many consecutive samples are drawn.
    rng : None, a seed, a Generator or a SeedSequence.

    A resample that contains every sample is drawn again. Raises ValueError for a single sample, group or block.

    >>> for train, test in Bootstrap(2, rng=0).split(range(6)):
    ...     assert sorted({*train.tolist(), *test.tolist()}) == list(range(6)) and not {*train} & {*test}
    """

    def __init__(
        self,
        n_splits: int = 200,
        *,
        stratified: bool = False,
        grouped: bool = False,
        block_length: int | None = None,
        rng: Rng = None,
    ) -> None:
        self.n_splits = integer("n_splits", n_splits, 1)
        self.stratified = flag("stratified", stratified)
        self.grouped = flag("grouped", grouped)
        self.block_length = optional(integer, "block_length", block_length, 1)
        self.rng = rng_like("rng", rng)
        self.uses_groups = self.grouped
        if self.stratified + self.grouped + (self.block_length is not None) > 1:
            raise ValueError("stratified, grouped and block_length are different ways to resample: choose one")

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        for name, needed, value in (("y", self.stratified, y), ("groups", self.grouped, groups)):
            if needed and value is None:
                raise ValueError(f"{name} is None: the resamples are drawn by it")
        strata, groups = class_labels(y, n) if self.stratified else None, groups if self.grouped else None
        scheme = scheme_for(n, strata=strata, groups=groups, block_length=self.block_length)
        if scheme.fixed:
            raise ValueError(f"X has {n} samples in units that leave none out: there is nothing to test on")
        return self._draw(scheme)

    def _draw(self, scheme: ResamplingScheme) -> Iterator[Split]:
        key, resample = key_from(self.rng), 0
        for _ in range(self.n_splits):
            for _ in range(MOST_TRIES):
                train = np.sort(scheme.samples_of(key, resample)).astype(np.intp)
                resample += 1
                left_out = np.ones(scheme.n, bool)
                left_out[train] = False
                if left_out.any():
                    break
            else:
                raise ValueError(f"none of {MOST_TRIES} resamples leaves a sample out: block_length is too great")
            yield train, np.flatnonzero(left_out)


@dataclass(repr=False, eq=False)
class BootstrapScore:
    """What `bootstrap_score` returns: errors, so less is better.

    estimate : by `method`.
    apparent : err, the error on the training samples.
    out_of_bag : Err⁽¹⁾, the error of each sample by the models that were not trained on it, averaged over the samples
        (the leave-one-out bootstrap).
    no_information : γ, the error if inputs and targets were independent.
    overfitting : R in [0, 1], the relative overfitting rate.
    out_of_bag_errors : (n_resamples,) mean error on the samples that each resample left out.
    """

    name: str
    method: str
    loss: str
    apparent: float
    out_of_bag: float
    no_information: float
    out_of_bag_errors: Array

    @property
    def overfitting(self) -> float:
        """(Err⁽¹⁾ − err) / (γ − err), limited to [0, 1]."""
        above = min(self.out_of_bag, self.no_information) - self.apparent
        room = self.no_information - self.apparent
        return above / room if above > 0 and room > 0 else 0.0

    @property
    def estimate_632(self) -> float:
        return 0.368 * self.apparent + 0.632 * self.out_of_bag

    @property
    def estimate_632_plus(self) -> float:
        bounded = min(self.out_of_bag, self.no_information)
        rate = self.overfitting
        return self.estimate_632 + (bounded - self.apparent) * 0.368 * 0.632 * rate / (1 - 0.368 * rate)

    @property
    def estimate(self) -> float:
        return {".632": self.estimate_632, ".632+": self.estimate_632_plus, "oob": self.out_of_bag}[self.method]

    def __repr__(self) -> str:
        return (
            f"{self.name}: {self.loss} error {self.estimate:.4g} ({self.method}); apparent {self.apparent:.4g}, out of "
            f"bag {self.out_of_bag:.4g}, without information {self.no_information:.4g}, overfitting "
            f"{self.overfitting:.3g}, {len(self.out_of_bag_errors)} resamples"
        )


def bootstrap_score(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    method: str = ".632+",
    n_resamples: int = 200,
    loss: str | None = None,
    stratified: bool = False,
    groups: Any = None,
    error_score: float | str = "raise",
    n_jobs: int | None = None,
    rng: Rng = None,
    progress: bool = False,
) -> BootstrapScore:
    """How large is the error on new samples? The bootstrap's estimates of the prediction error.

    .632 = .368 err + .632 Err⁽¹⁾. .632+ goes from .632 at R = 0 to .368 min(Err⁽¹⁾, γ) + .632 Err⁽¹⁾ at R = 1, where R
    is the relative overfitting rate.

    Parameters
    ----------
    estimator, n_jobs, rng, progress : as in cross_validate.
    method : ".632+", ".632" or "oob" (Err⁽¹⁾ alone).
    n_resamples : fits, besides one on all samples.
    loss : "zero_one" or "squared"; None: by whether the estimator is a classifier.
    stratified : draw within each class of y.
    groups : (n,) labels: whole groups are drawn and left out.
    error_score : the error of the samples left out if a fit fails; NaN leaves that resample out; "raise" raises.

    γ is Σ p(1 − q) over the classes' shares p in y and q in the predictions, or var(y) + var(ŷ) + (ȳ − mean ŷ)² for the
    squared loss. Memory is linear in the samples.

    >>> import numpy as np
    >>> from fastopt.ensemble import DecisionStumpClassifier
    >>> from fastopt.validation import bootstrap_score
    >>> x = np.random.default_rng(0).normal(size=(60, 1))
    >>> labels = np.random.default_rng(1).random(60) < 0.5
    >>> score = bootstrap_score(DecisionStumpClassifier(), x, labels, rng=0)
    >>> score.apparent < score.estimate_632 < score.estimate <= max(score.out_of_bag, score.no_information)
    True
    """
    one_of("method", method, (".632+", ".632", "oob"))
    check_estimator(estimator)
    n, made = samples(X), example(estimator)
    same_length(n, y=y, groups=groups)
    loss = loss_of(loss, made)
    target = target_of(y, n, loss)
    if loss == "zero_one" and (target == target[0]).all():
        raise ValueError(f"y has a single class, {target.tolist()[0]!r}: there is nothing to tell apart")
    if flag("stratified", stratified) and loss == "squared" and not is_classifier(made):
        raise ValueError("stratified=True draws by class, and y of a regressor has none")
    resamples = integer("n_resamples", n_resamples, 1)
    seeds = parallel.seed_sequence(rng).spawn(3)
    cv = Bootstrap(resamples, stratified=stratified, grouped=groups is not None, rng=seeds[0])
    splits = cv.split(X, target if stratified else None, groups)
    full = fit(fresh(estimator, np.random.default_rng(seeds[1])), X, y, {})
    predicted = predictions(full, X, n, loss == "squared")
    check_error_score(error_score)
    tasks = (OutOfBagFit(X, y, target, train, test, loss, error_score) for train, test in splits)
    found = fits_in_turn(estimator, tasks, resamples, n_jobs=n_jobs, seed=seeds[2], progress=progress)
    out_of_bag, means, errors = _averages(n, found)
    report_failures(errors, resamples, error_score)
    apparent = float(np.mean(losses(loss, target, predicted)))
    gamma = no_information(loss, target, predicted)
    name = name_of(estimator)
    return BootstrapScore(name, method, loss, apparent, out_of_bag, gamma, means)


def _averages(n: int, found: Iterable[tuple[Array, Array, Any]]) -> tuple[float, Array, list[Exception]]:
    """The mean over the samples of their mean error, the mean error of each resample, and what failed fits raised."""
    total, often, means = np.zeros(n), np.zeros(n, np.int64), []
    failures: list[Exception] = []
    for test, errors, failure in found:
        failures += [] if failure is None else [failure]
        means.append(float(np.mean(errors)))
        if not np.isnan(means[-1]):
            total[test] += errors
            often[test] += 1
    seen = often > 0
    return float(np.mean(total[seen] / often[seen])) if seen.any() else float("nan"), np.array(means), failures


@dataclass(frozen=True)
class OutOfBagFit(FitTask):
    """Fit on a resample; the result is the samples left out, the error of each, and what a failed fit raised."""

    X: Any
    y: Any
    target: Array
    train: Array
    test: Array
    loss: str
    error_score: Any

    def training_set(self, rng: np.random.Generator) -> tuple[Any, Any, Mapping[str, Any]]:
        return take(self.X, self.train), take(self.y, self.train), {}

    def result(self, model: Any, X_train: Any, y_train: Any, fit_time: float) -> tuple[Array, Array, None]:
        predicted = predictions(model, take(self.X, self.test), len(self.test), self.loss == "squared")
        return self.test, losses(self.loss, self.target[self.test], predicted), None

    def failed(self, error: Exception) -> tuple[Array, Array, Exception]:
        drawn = self.target[self.train]
        if self.loss == "zero_one" and (drawn == drawn[0]).all():
            error.add_note("This resample of y has a single class. stratified=True draws from every class.")
        if self.error_score == "raise":
            raise error
        return self.test, np.full(len(self.test), float(self.error_score)), error


def loss_of(loss: str | None, made: Any) -> str:
    if loss is None:
        return "zero_one" if is_classifier(made) else "squared"
    return str(one_of("loss", loss, ("squared", "zero_one")))


def target_of(y: Any, n: int, loss: str, name: str = "y") -> Array:
    """(n,) labels that can be sorted, none missing; for the squared loss finite numbers. (n, 1) counts as (n,)."""
    a = np.asarray(y)
    if a.shape not in ((n,), (n, 1)):
        raise ValueError(f"{name} must have shape ({n},), one target per sample, got {y if y is None else a.shape}")
    a = a.reshape(n)
    if loss == "squared" and a.dtype.kind == "O" and all(isinstance(v, (bool, int, float, np.number)) for v in a):
        a = a.astype(float)
    if loss == "squared" and a.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be finite numbers for loss='squared', got dtype {a.dtype}")
    if loss == "squared" and not np.isfinite(a).all():
        at = int(np.argmin(np.isfinite(a)))
        raise ValueError(f"{name} must be finite numbers for loss='squared', got {name}[{at}] = {a[at]}")
    encode(name, column(name, a, n))
    return a


def losses(loss: str, y: Array, predicted: Array) -> Array:
    """(n,) the zero-one loss: 1 where y and ŷ differ; or the squared loss (y − ŷ)²."""
    if loss == "zero_one":
        return np.asarray((y != predicted).astype(float))
    return np.asarray((np.asarray(y, float) - predicted) ** 2)


def no_information(loss: str, y: Array, predicted: Array) -> float:
    """γ: the mean loss over all n² pairs of a target and a prediction; in O(n), not O(n²)."""
    if loss == "squared":
        y = np.asarray(y, float)
        return float(np.var(y) + np.var(predicted) + (np.mean(y) - np.mean(predicted)) ** 2)
    classes, counts = np.unique(y, return_counts=True)
    guesses, often = np.unique(predicted, return_counts=True)
    shares = dict(zip(guesses.tolist(), (often / len(y)).tolist(), strict=True))
    return float(sum(p * (1 - shares.get(c, 0.0)) for c, p in zip(classes.tolist(), counts / len(y), strict=True)))
