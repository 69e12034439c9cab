"""Where does the error come from? Bias, variance and noise, over training sets drawn anew.

Sources: Geman, Bienenstock and Doursat, Neural networks and the bias/variance dilemma, Neural Computation 4 (1992);
Domingos, A unified bias-variance decomposition and its applications, ICML (2000).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._plotting import COLOURS
from fastopt.validation import parallel
from fastopt.validation.checks import Array, Rng, count, encode, one_of, same_length, samples, take
from fastopt.validation.estimators import check_estimator, example, fit, fit_parts, fits_together, fresh, predictions
from fastopt.validation.evaluate import name_of, table
from fastopt.validation.intervals import Interval, t_quantile
from fastopt.validation.out_of_bag import AT_ONCE, loss_of, target_of
from fastopt.validation.plots import axes_or_new, numeric_axis
from fastopt.validation.resampling import Plan, key_from, plan_of

BATCHES = 10  # of training sets, from whose spread the intervals come


@dataclass(repr=False, eq=False)
class BiasVariance:
    """What `bias_variance` returns: means over the test samples. `bias` is bias² for the squared loss.

    error : measured, over all test samples and training sets: bias + variance + noise for the squared loss;
        bias + net_variance + noise_effect for the 0-1 loss.
    bias_interval, variance_interval : 95 %, for the training sets and the test samples being a sample of them.
    net_variance, noise_effect : 0-1 loss: variance where the main prediction is right less what variance mends where it
        is wrong; and what noise adds to the error.
    noise_from : "given", "truth", "repeats" or "unknown" (bias then holds it).
    against : "truth" or "y_test", which bias is measured against. Of the 0-1 loss it holds the noise of y_test.
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
    main: Array  # (m,) mean or commonest predictions
    against: str = "y_test"

    @property
    def bias_label(self) -> str:
        """What `bias` is: bias², or bias; with the noise in it, if that is unknown or cannot be taken from it."""
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
class Draws:
    """Where training sets come from: resamples of X, y, or a sampler. Can be pickled."""

    X: Any
    y: Any
    plan: Plan | None
    key: int
    sampler: Callable[..., Any] | None

    def __call__(self, i: int, rng: np.random.Generator) -> tuple[Any, Any]:
        if self.plan is None or self.sampler is not None:
            drawn = self.sampler(rng)  # type: ignore[misc]
            if not isinstance(drawn, tuple) or len(drawn) != 2:
                raise TypeError(f"sampler must return (X, y), got {drawn!r:.80}")
            return drawn
        index = self.plan.samples_of(self.key, i)
        return take(self.X, index), take(self.y, index)


def _fit(estimator: Any, draws: Draws, i: int, X: Any, squared: bool, params: Any, rng: np.random.Generator) -> Array:
    X_train, y_train = draws(i, rng)
    return predictions(fit(fresh(estimator, rng, params), X_train, y_train, {}), X, samples(X), squared)


def _fit_together(tasks: list[Any], stream: np.random.SeedSequence) -> list[Array]:
    """[_fit(*task, rng=...) ...] by the class's own fit_many: the streams are those of parallel.run."""
    estimator, draws, _, X, squared, params = tasks[0]
    streams = [np.random.default_rng(seed) for seed in stream.spawn(len(tasks))]
    parts = [(rng, *draws(task[2], rng)) for rng, task in zip(streams, tasks, strict=True)]
    return [predictions(made, X, samples(X), squared) for made in fit_parts(estimator, parts, params)]


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
    """The parts of the error: E(y − f̂)² = (f − E f̂)² + E(f̂ − E f̂)² + E ε², where y = f + ε.

    Parameters
    ----------
    estimator, n_jobs, rng, progress : as in cross_validate.
    X, y : training samples, of which `n_resamples` bootstrap resamples are drawn; or
    sampler : a function of a Generator that draws a fresh training set (X, y).
    X_test, y_test : m samples that are not trained on.
    loss : "squared" or "zero_one"; None: by whether the estimator is a classifier.
    n_resamples : training sets, >= 20.
    truth : (m,) f at the test samples, if it is known, as in a simulation.
    noise : E ε² (for labels: the chance that one is not the true one); or "repeats": estimated by the spread of y among
        equal rows of X_test; or None: from `truth` if that is given, and otherwise unknown: 0, and part of the bias.

    Squared loss. The measured error is the mean of (y − f̂)² over test samples and training sets, and bias² is what it
    leaves beside variance (divided by n_resamples − 1, hence unbiased) and noise: it may come out below 0 where it is
    small. With `truth` bias² is measured against f, and the measured error is the mean of (f − f̂)² plus the noise: that
    on y_test differs from it by 2·mean((y − f)(f − f̂)), which is 0 in expectation only.

    0-1 loss, as Domingos (2000): the main prediction is the commonest one (the first of equals in order), bias whether
    it is wrong, variance how often predictions differ from it, both against `truth`, or y_test if that is None;
    noise_effect is the error on y_test less that on the truth.

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
    check_estimator(estimator)
    loss = loss_of(loss, example(estimator))
    m = samples(X_test, "X_test")
    target = target_of(y_test, m, loss, "y_test")
    resamples = count("n_resamples", n_resamples, low=2 * BATCHES)
    f = None if truth is None else target_of(truth, m, loss if loss == "squared" else "any", "truth")
    level, source = _noise(noise, loss, X_test, target, f)
    seeds = parallel.seed_sequence(rng).spawn(2)
    draws = _draws(X, y, sampler, key_from(seeds[0]))
    items = (estimator, draws, X_test, target, None)
    together = fits_together(estimator, n_jobs, progress)
    with parallel.bar(resamples, progress) as bar:
        tally = _tally(loss, items, resamples, f, together, n_jobs, seeds[1], bar)
    return tally.result(name_of(estimator), level, source)  # type: ignore[no-any-return]


def _draws(X: Any, y: Any, sampler: Any, key: int) -> Draws:
    if (sampler is None) == (X is None) or (sampler is not None and y is not None):
        raise TypeError("give either X and y, to be resampled, or sampler")
    if sampler is not None:
        if not callable(sampler):
            raise TypeError(f"sampler must be a function of a Generator that returns (X, y), got {sampler!r}")
        return Draws(None, None, None, key, sampler)
    n = samples(X)
    if y is None:
        raise TypeError("y is None: there is nothing to train on")
    same_length(n, y=y)
    return Draws(X, y if hasattr(y, "iloc") else np.asarray(y), plan_of(n), key, None)


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
    """Pure error: Σ(y − ȳ)² within groups of equal rows over its degrees of freedom; of labels half of the chance that
    two differ solves 2N(1 − N) = chance, as for two classes."""
    rows = np.asarray(X.toarray() if hasattr(X, "toarray") else X).reshape(len(y), -1)
    if rows.dtype == object:  # np.unique sorts no rows of objects
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


def _tally(loss: str, items: Any, resamples: int, truth: Any, together: bool, n_jobs: Any, seed: Any, bar: Any) -> Any:
    """All predictions, some training sets at a time: what is kept is linear in the test samples."""
    estimator, draws, X, y, params = items
    tally = (_Squared if loss == "squared" else _ZeroOne)(y, truth, resamples)
    for start, stream in zip(range(0, resamples, AT_ONCE), seed.spawn(-(-resamples // AT_ONCE)), strict=True):
        chunk = range(start, min(start + AT_ONCE, resamples))
        tasks = [(estimator, draws, i, X, loss == "squared", params) for i in chunk]
        if together:
            found = _fit_together(tasks, stream)
        else:
            found = parallel.run(_fit, tasks, n_jobs=n_jobs, rng=stream, progress=bar)
        for i, predicted in zip(chunk, found, strict=True):
            tally.add(i * BATCHES // resamples, predicted)
    return tally


def _interval(value: float, batches: Array, points: Array) -> Interval:
    """By the spread over batches of training sets and over test samples."""
    variance = (
        float(np.var(batches, ddof=1) / len(batches) + np.var(points, ddof=1) / len(points))
        if len(points) > 1
        else math.nan
    )
    half = t_quantile(0.975, len(batches) - 1) * math.sqrt(variance)
    return Interval(value, value - half, value + half)


class _Squared:
    """Σf̂ and Σf̂² about the first prediction, for each batch of training sets."""

    def __init__(self, y: Array, truth: Array | None, resamples: int) -> None:
        self.against = np.asarray(y if truth is None else truth, float)
        self.has_truth = truth is not None
        self.often = np.zeros(BATCHES, int)
        self.sums = np.zeros((BATCHES, 2, len(y)))
        self.centre: Array | None = None
        self.error = 0.0

    def add(self, batch: int, predicted: Array) -> None:
        predicted = np.asarray(predicted, float)
        self.centre = predicted if self.centre is None else self.centre
        d = predicted - self.centre
        self.often[batch] += 1
        self.sums[batch, 0] += d
        self.sums[batch, 1] += d * d
        self.error += float(np.mean((self.against - predicted) ** 2))

    def parts(self, sums: Array, often: int) -> tuple[Array, Array, Array]:
        """Per test sample: (target − mean)² − variance / often, variance, mean."""
        mean = self.centre + sums[0] / often
        variance = np.maximum(sums[1] - sums[0] ** 2 / often, 0) / (often - 1)
        return (self.against - mean) ** 2 - variance / often, variance, mean

    def result(self, name: str, noise: float, source: str) -> BiasVariance:
        bias, variance, mean = self.parts(self.sums.sum(axis=0), int(self.often.sum()))
        part = [self.parts(s, int(k))[:2] for s, k in zip(self.sums, self.often, strict=True)]
        batches = np.mean(np.array(part), axis=2)
        taken = 0.0 if self.has_truth else noise
        b, v = float(np.mean(bias)) - taken, float(np.mean(variance))
        error = self.error / int(self.often.sum()) + (noise if self.has_truth else 0.0)
        intervals = _interval(b, batches[:, 0], bias), _interval(v, batches[:, 1], variance)
        against = "truth" if self.has_truth else "y_test"
        return BiasVariance(name, "squared", error, b, v, noise, source, *intervals, v, noise, mean, against)


class _ZeroOne:
    """How often each class is predicted, for each batch of training sets: (batches, classes, m)."""

    def __init__(self, y: Array, truth: Array | None, resamples: int) -> None:
        self.y, self.truth = y, y if truth is None else truth
        self.against = "y_test" if truth is None else "truth"
        self.often = np.zeros(BATCHES, int)
        self.votes: dict[Any, Array] = {}

    def add(self, batch: int, predicted: Array) -> None:
        self.often[batch] += 1
        for label in np.unique(predicted):
            votes = self.votes.setdefault(label, np.zeros((BATCHES, len(self.y)), np.int64))
            votes[batch] += predicted == label

    def parts(self, votes: Array, often: int, labels: Array) -> tuple[Array, ...]:
        """Per test sample: is the main prediction wrong, how often others are made, the shares wrong, the main one."""
        main = labels[np.argmax(votes, axis=0)]
        variance = 1 - votes.max(axis=0) / often
        wrong = [1 - np.sum(votes * (labels[:, None] == t), axis=0) / often for t in (self.truth, self.y)]
        return (main != self.truth).astype(float), variance, *wrong, main

    def result(self, name: str, noise: float, source: str) -> BiasVariance:
        labels = np.array(sorted(self.votes))
        votes = np.stack([self.votes[label] for label in sorted(self.votes)])
        bias, variance, wrong, error, main = self.parts(votes.sum(axis=1), int(self.often.sum()), labels)
        part = [self.parts(votes[:, k], int(n), labels)[:2] for k, n in enumerate(self.often)]
        batches = np.mean(np.array(part), axis=2)
        b, v, on_truth, on_y = (float(np.mean(p)) for p in (bias, variance, wrong, error))
        intervals = _interval(b, batches[:, 0], bias), _interval(v, batches[:, 1], variance)
        net, effect = on_truth - b, on_y - on_truth
        return BiasVariance(name, "zero_one", on_y, b, v, noise, source, *intervals, net, effect, main, self.against)


# -- over complexity --------------------------------------------------------------------------------------------------


@dataclass(repr=False, eq=False)
class BiasVarianceCurve:
    """The parts of the error along a parameter: one BiasVariance for each of its values."""

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
        """The tradeoff: bias falls and variance grows with complexity, and the error is least in between. Returns the
        axes (ax.figure.savefig(...))."""
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
            ax.set_ylim(min(low, 0), high + 0.12 * (high - min(low, 0)))  # parts of a whole, below a line of names
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
) -> BiasVarianceCurve:
    """How flexible should it be? `bias_variance` along the values of a parameter, on the same training sets for each.

    Parameters
    ----------
    param_name, param_range : set by set_params; "step__alpha" for a part.
    The others as in bias_variance.

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
    if isinstance(param_range, str) or not hasattr(param_range, "__iter__"):
        raise TypeError(f"param_range must be a sequence of values, got {param_range!r:.60}")
    values = list(param_range)
    if not values:
        raise ValueError("param_range is empty")
    made = example(check_estimator(estimator))
    if not hasattr(made, "set_params"):
        raise TypeError(f"estimator must have set_params to vary param_name={param_name!r}: it has none")
    loss, m = loss_of(loss, made), samples(X_test, "X_test")
    target = target_of(y_test, m, loss, "y_test")
    resamples = count("n_resamples", n_resamples, low=2 * BATCHES)
    f = None if truth is None else target_of(truth, m, loss if loss == "squared" else "any", "truth")
    level, source = _noise(noise, loss, X_test, target, f)
    seeds = parallel.seed_sequence(rng).spawn(2)
    draws = _draws(X, y, sampler, key_from(seeds[0]))
    name, parts, together = name_of(estimator), [], fits_together(estimator, n_jobs, progress)
    with parallel.bar(resamples * len(values), progress) as bar:
        for value in values:
            items = (estimator, draws, X_test, target, {param_name: value})
            stream = parallel.seed_sequence(seeds[1])
            parts.append(_tally(loss, items, resamples, f, together, n_jobs, stream, bar).result(name, level, source))
    return BiasVarianceCurve(name, param_name, values, parts)
