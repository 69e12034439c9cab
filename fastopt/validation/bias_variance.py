"""Bias, variance and noise of an estimator, over many training sets.

Sources: Geman, Bienenstock and Doursat, Neural networks and the bias/variance dilemma, Neural Computation 4 (1992);
Domingos, A unified bias-variance decomposition and its applications, ICML (2000).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import integer, one_of
from fastopt._plotting import COLOURS
from fastopt._types import Array, Rng
from fastopt.validation import parallel
from fastopt.validation._samples import encode, same_length, samples, take
from fastopt.validation.cross_validation import table
from fastopt.validation.curves import check_param_range
from fastopt.validation.estimators import FitTask, check_estimator, example, fits_in_turn, name_of, predictions
from fastopt.validation.intervals import Interval, t_quantile
from fastopt.validation.plots import axes_or_new, numeric_axis
from fastopt.validation.prediction_error import loss_of, losses, target_of
from fastopt.validation.resampling import ResamplingScheme, key_from, scheme_for

BATCHES = 10  # of training sets, from whose spread the intervals are computed


@dataclass(repr=False, eq=False)
class BiasVariance:
    """What `bias_variance` returns: means over the test samples. `bias` is bias² for the squared loss.

    error : the measured error, over all test samples and training sets. It is bias + variance + noise for the squared
        loss, bias + net_variance + noise_effect for the 0-1 loss.
    bias_interval, variance_interval : 95 %; they allow for the choice of training sets and of test samples.
    net_variance : of the 0-1 loss, how much error variance adds: it adds where the main prediction is right, and
        removes some where it is wrong.
    noise_effect : of the 0-1 loss, how much error noise adds.
    noise_from : "given", "truth", "repeats" or "unknown" (noise is then part of bias).
    main : (m,) mean or most frequent prediction for each test sample.
    against : "truth" or "y_test": what bias is measured against.
    """

    name: str
    loss: str
    error: float
    bias: float
    variance: float
    noise: float
    noise_from: str
    bias_interval: Interval
    variance_interval: Interval
    net_variance: float
    noise_effect: float
    main: Array
    against: str = "y_test"

    @property
    def bias_label(self) -> str:
        """The name of `bias`: bias² or bias, and whether noise is part of it."""
        if self.loss == "squared":
            return "bias² with noise" if self.noise_from == "unknown" else "bias²"
        noisy = self.against == "y_test" and (self.noise_from == "unknown" or self.noise > 0)
        return "bias with noise" if noisy else "bias"

    def __repr__(self) -> str:
        known = self.noise_from != "unknown"
        parts = [f"{self.bias_label} {self.bias_interval}", f"variance {self.variance_interval}"]
        parts += [f"noise {self.noise:.4g} ({self.noise_from})"] * known
        equation = f"{self.name}: {self.loss} error {self.error:.4g} = "
        if self.loss == "squared":
            return equation + " + ".join(parts)
        sums = [f"{self.bias_label} {self.bias:.4g}", f"net variance {self.net_variance:.4g}"]
        sums += [f"noise effect {self.noise_effect:.4g}"] * (self.against == "truth")
        return equation + " + ".join(sums) + "; " + ", ".join(parts)


@dataclass(frozen=True)
class TrainingSets:
    """Resamples of X, y, or the training sets that a sampler draws. Can be pickled."""

    X: Any
    y: Any
    scheme: ResamplingScheme | None
    key: int
    sampler: Callable[..., Any] | None

    def draw(self, i: int, rng: np.random.Generator) -> tuple[Any, Any]:
        if self.scheme is None or self.sampler is not None:
            drawn = self.sampler(rng)  # type: ignore[misc]
            if not isinstance(drawn, tuple) or len(drawn) != 2:
                raise TypeError(f"sampler must return (X, y), got {drawn!r:.80}")
            return drawn
        index = self.scheme.samples_of(self.key, i)
        return take(self.X, index), take(self.y, index)


@dataclass(frozen=True)
class PredictionFit(FitTask):
    """Fit on training set i; the result is the predictions for X_test."""

    training_sets: TrainingSets
    i: int
    X_test: Any
    numbers: bool
    params: Mapping[str, Any] | None

    def training_set(self, rng: np.random.Generator) -> tuple[Any, Any, Mapping[str, Any]]:
        return *self.training_sets.draw(self.i, rng), {}

    def result(self, model: Any, X_train: Any, y_train: Any, fit_time: float) -> Array:
        return predictions(model, self.X_test, samples(self.X_test), self.numbers)


def bias_variance(
    estimator: Any,
    X: Any = None,
    y: Any = None,
    *,
    X_test: Any,
    y_test: Any,
    loss: str | None = None,
    n_resamples: int = 200,
    sampler: Callable[[np.random.Generator], tuple[Any, Any]] | None = None,
    truth: Any = None,
    noise: float | str | None = None,
    n_jobs: int | None = None,
    rng: Rng = None,
    progress: bool = False,
) -> BiasVariance:
    """Bias², variance and noise of the error: E(y − f̂)² = (f − E f̂)² + E(f̂ − E f̂)² + E ε², where y = f + ε.

    Parameters
    ----------
    estimator, n_jobs, rng, progress : as in cross_validate.
    X, y : training samples. `n_resamples` bootstrap resamples of them are the training sets. Instead of X and y:
    sampler : a function of a Generator that draws a fresh training set (X, y).
    X_test, y_test : m samples that are not trained on.
    loss : "squared" or "zero_one"; None: by whether the estimator is a classifier.
    n_resamples : the number of training sets, >= 20. Memory grows with n_resamples · m predictions.
    truth : (m,) f at the test samples, if it is known, as in a simulation.
    noise : E ε² (for labels: the probability that a label is wrong). "repeats": estimated from the spread of y among
        equal rows of X_test. None: computed from `truth` if that is given; otherwise unknown, 0, and part of bias.

    Squared loss. The error is the mean of (y − f̂)² over test samples and training sets, variance is divided by
    n_resamples − 1, and bias² = error − variance − noise. It is unbiased, so a small one may come out below 0. With
    `truth`, bias² is measured against f, and the error is the mean of (f − f̂)² plus the noise. The error on y_test
    differs from it by 2·mean((y − f)(f − f̂)), which is 0 in expectation only.

    0-1 loss, after Domingos (2000). The main prediction is the most frequent one (of equals the first in sorted order).
    Bias is how often it is wrong, variance how often predictions differ from it. Both are measured against `truth`, or
    y_test if that is None. noise_effect is the error on y_test minus the error on the truth.

    >>> import numpy as np
    >>> from fastopt.ensemble import DecisionStumpRegressor
    >>> from fastopt.validation import bias_variance
    >>> x = np.linspace(0, 1, 40)[:, None]
    >>> def sampler(rng):
    ...     return x, x[:, 0] + 0.1 * rng.normal(size=40)
    >>> r = bias_variance(DecisionStumpRegressor(), sampler=sampler, X_test=x, y_test=x[:, 0], truth=x[:, 0], rng=0)
    >>> abs(r.bias + r.variance + r.noise - r.error) < 1e-15, r.bias > r.variance > r.noise == 0
    (True, True)
    """
    experiment = _experiment(
        estimator, X, y, X_test=X_test, y_test=y_test, loss=loss, n_resamples=n_resamples, sampler=sampler,
        truth=truth, noise=noise, rng=rng,
    )  # fmt: skip
    return experiment.run(None, n_jobs, progress)


@dataclass(frozen=True)
class Experiment:
    """The checked arguments of `bias_variance`."""

    estimator: Any
    training_sets: TrainingSets
    X_test: Any
    y_test: Array
    truth: Array | None
    loss: str
    noise: float
    noise_from: str
    resamples: int
    seed: np.random.SeedSequence

    def run(self, params: Mapping[str, Any] | None, n_jobs: Any, progress: Any) -> BiasVariance:
        """Fit one model with these parameters on each training set, and decompose the error of their predictions."""
        numbers = self.loss == "squared"
        tasks = (PredictionFit(self.training_sets, i, self.X_test, numbers, params) for i in range(self.resamples))
        seed = parallel.seed_sequence(self.seed)
        found = fits_in_turn(self.estimator, tasks, self.resamples, n_jobs=n_jobs, seed=seed, progress=progress)
        return self.decompose(np.array(list(found)))

    def decompose(self, predicted: Array) -> BiasVariance:
        """The result for (resamples, m) predictions."""
        target, against = (self.y_test, "y_test") if self.truth is None else (self.truth, "truth")
        parts = _squared if self.loss == "squared" else _zero_one
        bias, variance, main = parts(predicted, target)
        b, v = float(np.mean(bias)), float(np.mean(variance))
        on_target, on_y = (float(np.mean(losses(self.loss, t, predicted))) for t in (target, self.y_test))
        net, effect, error = on_target - b, on_y - on_target, on_y
        if self.loss == "squared":  # noise is part of the distance to y_test, but not of that to the truth
            b, error = (b - self.noise, on_y) if self.truth is None else (b, on_target + self.noise)
            net, effect = v, self.noise
        batches = np.array([np.mean(parts(predicted[i], target)[:2], axis=1) for i in _batches(len(predicted))])
        intervals = _interval(b, batches[:, 0], bias), _interval(v, batches[:, 1], variance)
        return BiasVariance(
            name_of(self.estimator), self.loss, error, b, v, self.noise, self.noise_from,
            *intervals, net, effect, main, against,
        )  # fmt: skip


def _experiment(
    estimator: Any, X: Any, y: Any, *, X_test: Any, y_test: Any, loss: str | None = None, n_resamples: Any = 200,
    sampler: Any = None, truth: Any = None, noise: Any = None, rng: Rng = None,
) -> Experiment:  # fmt: skip
    """Check the arguments of `bias_variance`."""
    check_estimator(estimator)
    loss, m = loss_of(loss, example(estimator)), samples(X_test, "X_test")
    target = target_of(y_test, m, loss, "y_test")
    resamples = integer("n_resamples", n_resamples, 2 * BATCHES)
    f = None if truth is None else target_of(truth, m, loss if loss == "squared" else "any", "truth")
    level, source = _noise(noise, loss, X_test, target, f)
    seeds = parallel.seed_sequence(rng).spawn(2)
    sets = _training_sets(X, y, sampler, key_from(seeds[0]))
    return Experiment(estimator, sets, X_test, target, f, loss, level, source, resamples, seeds[1])


def _training_sets(X: Any, y: Any, sampler: Any, key: int) -> TrainingSets:
    if (sampler is None) == (X is None) or (sampler is not None and y is not None):
        raise TypeError("give either X and y, to be resampled, or sampler")
    if sampler is not None:
        if not callable(sampler):
            raise TypeError(f"sampler must be a function of a Generator that returns (X, y), got {sampler!r}")
        return TrainingSets(None, None, None, key, sampler)
    n = samples(X)
    if y is None:
        raise TypeError("y is None: there is nothing to train on")
    same_length(n, y=y)
    return TrainingSets(X, y, scheme_for(n), key, None)


def _noise(noise: Any, loss: str, X: Any, y: Array, truth: Array | None) -> tuple[float, str]:
    if isinstance(noise, str) and noise == "repeats":
        return _of_repeats(loss, X, y), "repeats"
    if noise is not None:
        most = 1 if loss == "zero_one" else np.finfo(float).max
        if isinstance(noise, bool) or not isinstance(noise, (int, float, np.number)) or not 0 <= noise <= most:
            bound = " and <= 1" if most == 1 else ""
            raise ValueError(f"noise must be a number >= 0{bound}, 'repeats' or None, got {noise!r}")
        return float(noise), "given"
    if truth is None:
        return 0.0, "unknown"
    return float(np.mean(y != truth) if loss == "zero_one" else np.mean((y - truth) ** 2)), "truth"


def _of_repeats(loss: str, X: Any, y: Array) -> float:
    """The noise within groups of equal rows: Σ(y − ȳ)² over its degrees of freedom for numbers.

    For labels N solves 2N(1 − N) = P(two labels of a group differ), which is exact for two classes.
    """
    rows = np.asarray(X.toarray() if hasattr(X, "toarray") else X).reshape(len(y), -1)
    if rows.dtype == object:  # np.unique cannot sort rows of objects
        rows = np.column_stack([encode("X_test", column)[0] for column in rows.T])
    _, codes, sizes = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    codes = codes.reshape(-1)
    if sizes.max() < 2:
        raise ValueError("noise='repeats' needs equal rows in X_test, and no two are")
    if loss == "squared":
        means = np.bincount(codes, y) / sizes
        return float(np.sum((y - means[codes]) ** 2) / (len(y) - len(sizes)))
    _, labels = np.unique(y, return_inverse=True)
    _, same = np.unique(np.column_stack([codes, labels]), axis=0, return_counts=True)
    differ = 1 - float(np.sum(same * (same - 1.0)) / np.sum(sizes * (sizes - 1.0)))
    return (1 - math.sqrt(max(0.0, 1 - 2 * differ))) / 2


def _interval(value: float, batches: Array, points: Array) -> Interval:
    """95 % interval of a mean, from its spread over batches of training sets and over test samples."""
    variance = (
        float(np.var(batches, ddof=1) / len(batches) + np.var(points, ddof=1) / len(points))
        if len(points) > 1
        else math.nan
    )
    half = t_quantile(0.975, len(batches) - 1) * math.sqrt(variance)
    return Interval(value, value - half, value + half)


def _batches(resamples: int) -> list[slice]:
    """The training sets of each batch."""
    bounds = [-(-i * resamples // BATCHES) for i in range(BATCHES + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def _squared(predicted: Array, target: Array) -> tuple[Array, Array, Array]:
    """(m,) bias², variance and mean of (resamples, m) predictions. The mean's own variance is taken from bias²."""
    mean, variance = np.mean(predicted, axis=0), np.var(predicted, axis=0, ddof=1)
    return (np.asarray(target, float) - mean) ** 2 - variance / len(predicted), variance, mean


def _zero_one(predicted: Array, target: Array) -> tuple[Array, Array, Array]:
    """(m,) whether the main prediction is wrong, how often others are made, and the main prediction."""
    labels = np.unique(predicted)
    votes = np.array([np.sum(predicted == label, axis=0) for label in labels])
    main = labels[np.argmax(votes, axis=0)]
    return (main != target).astype(float), 1 - votes.max(axis=0) / len(predicted), main


@dataclass(repr=False, eq=False)
class BiasVarianceCurve:
    """Bias, variance and noise along a parameter: one BiasVariance for each of its values."""

    name: str
    param_name: str
    x: list[Any]
    parts: list[BiasVariance]

    def values(self, of: str) -> Array:
        """(len(x),) of "error", "bias", "variance", "noise", "net_variance" or "noise_effect"."""
        one_of("of", of, ("error", "bias", "variance", "noise", "net_variance", "noise_effect"))
        return np.array([getattr(p, of) for p in self.parts])

    @property
    def best(self) -> Any:
        """The x with the least error."""
        return self.x[int(np.argmin(self.values("error")))]

    def plot(self, ax: Any = None) -> Any:
        """Draw error, bias, variance and known noise along the parameter. Returns the axes (ax.figure.savefig(...))."""
        bias = self.parts[0].bias_label
        with axes_or_new(ax, "plot()") as ax:
            places = numeric_axis(ax, self.x)
            lines = [("error", "error", 0, "-"), ("bias", bias, 4, "--"), ("variance", "variance", 5, "-.")]
            lines += [("noise", "noise", 7, ":")] * (self.parts[0].noise_from != "unknown")
            for of, label, colour, dash in lines:
                ax.plot(places, self.values(of), dash, color=COLOURS[colour], marker="o", markersize=4, label=label)
            for of, colour in (("bias_interval", 4), ("variance_interval", 5)):
                low, high = np.array([getattr(p, of)[1:] for p in self.parts]).T
                ax.fill_between(places, low, high, color=COLOURS[colour], alpha=0.15, linewidth=0)
            low, high = ax.get_ylim()
            ax.set_ylim(min(low, 0), high + 0.12 * (high - min(low, 0)))  # from 0, with room for the legend above
            ax.set_xlabel(self.param_name)
            ax.set_ylabel(f"{self.parts[0].loss.replace('zero_one', '0-1')} loss")
            ax.set_title(f"Bias and variance of {self.name}", loc="left")
            ax.legend(frameon=False, loc="upper left", ncols=len(lines))
        return ax

    def __repr__(self) -> str:
        labels = {"error": "error", "bias": self.parts[0].bias_label, "variance": "variance", "noise": "noise"}
        if self.parts[0].noise_from == "unknown":
            del labels["noise"]
        columns = {label: self.values(of) for of, label in labels.items()}
        return f"Bias and variance of {self.name}\n{table(columns, self.param_name, self.x)}"


def bias_variance_curve(
    estimator: Any,
    X: Any = None,
    y: Any = None,
    *,
    param_name: str,
    param_range: Sequence[Any],
    n_jobs: int | None = None,
    progress: bool = False,
    **arguments: Any,
) -> BiasVarianceCurve:
    """How flexible should a model be? `bias_variance` along a parameter, with the same training sets for each value.

    Parameters
    ----------
    param_name, param_range : set by set_params; "step__alpha" for a nested estimator.
    arguments : X_test, y_test and the other arguments of bias_variance.

    >>> import numpy as np
    >>> from fastopt.ensemble import DecisionStumpRegressor, GradientBoostingRegressor
    >>> from fastopt.validation import bias_variance_curve
    >>> x = np.linspace(0, 1, 40)[:, None]
    >>> y = np.sin(6 * x[:, 0]) + 0.3 * np.random.default_rng(0).normal(size=40)
    >>> model = GradientBoostingRegressor(learning_rate=0.5)
    >>> rounds = {"param_name": "n_estimators", "param_range": [1, 8]}
    >>> curve = bias_variance_curve(model, x, y, **rounds, X_test=x, y_test=np.sin(6 * x[:, 0]), n_resamples=40, rng=0)
    >>> np.diff(curve.values("bias")) < 0, np.diff(curve.values("variance")) > 0
    (array([ True]), array([ True]))
    """
    values = check_param_range(check_estimator(estimator), param_name, param_range)
    experiment = _experiment(estimator, X, y, **arguments)
    with parallel.bar(experiment.resamples * len(values), progress) as bar:
        parts = [experiment.run({param_name: value}, n_jobs, bar) for value in values]
    return BiasVarianceCurve(name_of(estimator), param_name, values, parts)
