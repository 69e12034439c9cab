"""How sure is a number? The bootstrap of a statistic: its standard error and four kinds of confidence interval.

Sources: Efron and Tibshirani, An Introduction to the Bootstrap (1993); Davison and Hinkley, Bootstrap Methods and their
Application (1997). Names and conventions are those of scipy.stats.bootstrap.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from fastopt.conventions import flag
from fastopt.validation import parallel
from fastopt.validation.checks import Array, Rng, count, number, one_of, take, warn
from fastopt.validation.resampling import MOST_RESAMPLES, Plan, apart, key_from, plan_of
from fastopt.validation.statistics import NAMES, Named, named, standard_deviation

METHODS = ("percentile", "basic", "BCa", "studentized")
AT_ONCE = 1 << 20  # elements that a callable's batch of resamples holds, unless batch says otherwise


class DegenerateDataWarning(UserWarning):
    """The interval asked for is not defined for these data; the message says what was given instead."""


class ConfidenceInterval(NamedTuple):
    """From low to high."""

    low: float
    high: float


@dataclass(repr=False, eq=False)
class BootstrapResult:
    """What `bootstrap` returns.

    confidence_interval : (low, high).
    bootstrap_distribution : (n_resamples,) the statistic of each resample.
    standard_error : its standard deviation (divided by n_resamples − 1).
    statistic : of the data themselves.
    bias : mean of the distribution − statistic.
    method : of the interval; "percentile" where BCa is not defined.
    """

    confidence_interval: ConfidenceInterval
    bootstrap_distribution: Array
    standard_error: float
    statistic: float
    method: str
    confidence_level: float
    key: int = field(default=0)
    errors: Array | None = None  # studentized: the standard error in each resample
    source: str = ""  # the statistic and what is drawn, by which a call that goes on knows its own

    @property
    def bias(self) -> float:
        return float(np.mean(self.bootstrap_distribution)) - self.statistic

    def __repr__(self) -> str:
        low, high = self.confidence_interval
        return (
            f"{self.statistic:.6g} [{low:.6g}, {high:.6g}] ({self.confidence_level:.4g} confidence, {self.method}), "
            f"standard error {self.standard_error:.4g}, bias {self.bias:.2g}, "
            f"{len(self.bootstrap_distribution)} resamples"
        )


@dataclass(frozen=True)
class Job:
    """What a batch of resamples needs: all of it can be pickled."""

    samples: tuple[Any, ...]  # as the statistic gets them
    paired: bool
    plan: Plan
    key: int
    statistic: Any  # Named, or a callable
    vectorized: bool
    error: Any = None  # studentized: a callable, or how many inner resamples

    @property
    def source(self) -> str:
        """Which statistic, of how many samples, and a digest of how they are drawn."""
        plan, named = self.plan, isinstance(self.statistic, Named)
        digest = hashlib.sha256()
        for array in (plan.strata, plan.order, plan.starts, plan.lengths):
            digest.update(b"-" if array is None else np.asarray(array, np.int64).tobytes())
        what = self.statistic.label if named else _name(self.statistic)
        errors = ", studentized" if self.error else ""
        if self.error and self.error is not True:
            how = _name(self.error) if callable(self.error) else f"{self.error} inner resamples"
            errors += f" by {how}"
        sizes = " and ".join(str(len(x)) for x in self.samples)
        return f"{what} of {sizes} samples{errors}, drawn by plan {digest.hexdigest()[:8]}"

    def values(self, first: int, resamples: int) -> tuple[Array, Array | None]:
        """The statistic of these resamples, and its standard errors if they are asked for."""
        if isinstance(self.statistic, Named) and (self.error is None or self.statistic.has_error):
            return self.statistic.resampled(self.plan, self.key, first, resamples, self.error is not None)
        drawn = [self.drawn(self.plan.samples_of(self.key, first + b)) for b in range(resamples)]
        return self._of(drawn), None if self.error is None else self._errors(drawn, first)

    def drawn(self, index: Array) -> tuple[Any, ...]:
        if self.paired:
            return tuple(take(s, index) for s in self.samples)
        parts = np.split(index, np.cumsum(self.plan.strata[:, 2])[:-1])
        return tuple(take(s, i - f) for s, i, f in zip(self.samples, parts, self.plan.strata[:, 0], strict=True))

    def drawn_without(self, unit: int) -> tuple[Any, ...]:
        """The samples less one unit of the plan: a sample, or a group."""
        plan = self.plan
        at = slice(unit, unit + 1)
        if plan.starts is not None and plan.lengths is not None:
            at = slice(plan.starts[unit], plan.starts[unit] + plan.lengths[unit])
        every = np.arange(plan.n)
        kept = np.delete(every, (every if plan.order is None else plan.order)[at])
        if self.paired:
            return tuple(take(s, kept) for s in self.samples)
        bounds = np.cumsum([0, *map(len, self.samples)])
        return tuple(
            take(s, kept[(kept >= a) & (kept < b)] - a)
            for s, a, b in zip(self.samples, bounds[:-1], bounds[1:], strict=True)
        )

    def _of(self, drawn: list[tuple[Any, ...]]) -> Array:
        if self.vectorized and len({tuple(map(len, samples)) for samples in drawn}) == 1:
            stacked = [np.stack(samples) for samples in zip(*drawn, strict=True)]
            found = np.asarray(self.statistic(*stacked, axis=-1), float)
            if found.shape != (len(drawn),):
                raise ValueError(f"statistic gives shape {found.shape} for {len(drawn)} resamples along axis=-1")
            return found
        return np.array([self.once(samples) for samples in drawn])

    def once(self, samples: tuple[Any, ...]) -> float:
        return scalar(self.statistic(*samples, axis=-1) if self.vectorized else self.statistic(*samples))

    def _errors(self, drawn: list[tuple[Any, ...]], first: int) -> Array:
        if callable(self.error):
            return np.array([scalar(self.error(*samples), "standard_error") for samples in drawn])
        errors = np.empty(len(drawn))
        for b, samples in enumerate(drawn):
            inner = self.inside(samples, first + b + 1)
            errors[b] = standard_deviation(inner.values(0, self.error)[0])
        return errors

    def inside(self, samples: tuple[Any, ...], number: int) -> Job:
        """The bootstrap within a resample, under a key of its own."""
        key = key_from(np.random.SeedSequence([self.key, number]))
        plan = plan_of(len(samples[0])) if self.paired else apart([len(s) for s in samples])
        statistic = self.statistic.on(samples, plan) if isinstance(self.statistic, Named) else self.statistic
        return Job(samples, self.paired, plan, key, statistic, self.vectorized)


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", "a function"))


def scalar(value: Any, name: str = "statistic") -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must give a number, got {value!r:.80}") from None


def _batch(job: Job, first: int, resamples: int, rng: Any) -> tuple[Array, Array | None]:
    del rng  # draws are a function of the key and of the resample's number
    return job.values(first, resamples)


def bootstrap(
    data: Any,
    statistic: str | Callable[..., Any] = "mean",
    *,
    n_resamples: int = 9999,
    method: str | None = None,
    confidence_level: float = 0.95,
    alternative: str = "two-sided",
    paired: bool = False,
    strata: Any = None,
    groups: Any = None,
    block_length: int | None = None,
    q: float = 0.5,
    ddof: int = 1,
    vectorized: bool | None = None,
    standard_error: Callable[..., Any] | None = None,
    inner_resamples: int = 50,
    bootstrap_result: BootstrapResult | None = None,
    batch: int | None = None,
    n_jobs: int | None = None,
    rng: Rng = None,
) -> BootstrapResult:
    """The distribution of a statistic over resamples of the data, its standard error and a confidence interval.

    Parameters
    ----------
    data : a sample (n,), or a tuple or list of samples, which a statistic of several takes in this order. A function
        may take samples of any shape (n, …), pandas' objects, and NaN or infinities if it knows what to do with them
        (numpy.nanmean); the kernels refuse these. Two samples (groups, blocks) at least: resamples of one would not
        differ.
    statistic : "mean", "variance", "quantile", "ratio" (Σx / Σy) or "correlation", by a C kernel in float64; or a
        function of the samples that gives a number (with an argument `axis`, it is given batches along axis=-1).
    n_resamples : how many, >= 1.
    method : "percentile", "basic", "BCa" or "studentized". None: "BCa", or "percentile" with block_length, for which
        BCa is not defined: resamples of blocks are not centred on the data. Where BCa is not defined for the data (a
        statistic that does not vary, as of constant data, or that lies outside its distribution) the interval is the
        percentile one, with a DegenerateDataWarning. Where the statistic of some resamples is not a finite number, as
        the correlation of a constant or a ratio to 0, the interval is NaN, with the same warning. Studentized,
        resamples with a standard error of 0 or NaN are left out, with the same warning.
    confidence_level : in (0, 1).
    alternative : "two-sided", "less" (low is −∞) or "greater" (high is ∞).
    paired : several samples are drawn with the same index; always so for "ratio" and "correlation".
    strata : (n,) labels: as many draws within each as it has samples.
    groups : (n,) labels: whole groups are drawn, as many as there are.
    block_length : runs of so many neighbours are drawn (moving blocks, for a series).
    q, ddof : of the quantile (linear, as numpy.quantile's), and of the variance.
    vectorized : whether a callable takes `axis`; None: look at its signature.
    standard_error : studentized: a function of the samples. By default "mean" and "ratio" have a closed form, anything
        else a bootstrap of `inner_resamples` within each resample (drawn plainly; not with strata, groups or blocks).
    bootstrap_result : of a former call with the same data: its resamples are kept, and n_resamples (>= 0) more are
        drawn under its key: 5,000 and 4,999 are the 9,999 of one call.
    batch : resamples that a callable gets at once, and that a worker does at once.
    n_jobs : of a callable, as in cross_validate. No result depends on it.
    rng : None, a seed, a Generator or a SeedSequence.

    Raises TypeError or ValueError naming the argument.

    >>> r = bootstrap([2.0, 4.0, 4.0, 5.0, 7.0, 9.0], "mean", rng=0)
    >>> r.statistic, r.confidence_interval.low < r.statistic < r.confidence_interval.high
    (5.166666666666667, True)
    """
    options = _options(method, confidence_level, alternative, block_length)
    if standard_error is not None and options["method"] != "studentized":
        raise ValueError(f"standard_error is for method='studentized', not for {options['method']!r}")
    former = _former(bootstrap_result, rng)
    resamples = count("n_resamples", n_resamples, low=0 if former else 1)
    drawn = len(former.bootstrap_distribution) if former else 0
    if drawn + resamples > MOST_RESAMPLES:
        raise ValueError(f"n_resamples={n_resamples} is more than 2**32 in all")
    samples = _samples(data, numbers=isinstance(statistic, str))
    paired = flag("paired", paired) or statistic in ("ratio", "correlation")
    plan = _plan(samples, paired, strata=strata, groups=groups, block_length=block_length)
    key = former.key if former else key_from(rng)
    job = Job(
        samples, paired or len(samples) == 1, plan, key, *_statistic(statistic, samples, plan, q, ddof, vectorized)
    )
    if options["method"] == "studentized":
        job = _studentized(job, standard_error, count("inner_resamples", inner_resamples, low=2))
    observed = _observed(job)
    if former is not None:
        _check_former(former, job, observed)
    values, errors = _run(job, drawn, resamples, batch, n_jobs)
    return _result(job, former, observed, values, errors, options)


def _options(method: Any, level: Any, alternative: Any, block_length: Any) -> dict[str, Any]:
    chosen = ("BCa" if block_length is None else "percentile") if method is None else one_of("method", method, METHODS)
    if chosen == "BCa" and block_length is not None:
        raise ValueError(
            "method='BCa' is not defined with block_length, whose resamples are not centred on the data: ask for "
            "'percentile' or 'basic', or for 'studentized' with a standard_error= that allows for dependence"
        )
    one_of("alternative", alternative, ("two-sided", "less", "greater"))
    level = number("confidence_level", level, 0, 1)
    return {"method": chosen, "level": level, "alternative": alternative}


def _former(result: Any, rng: Rng) -> BootstrapResult | None:
    if result is not None and not isinstance(result, BootstrapResult):
        raise TypeError(f"bootstrap_result must be what bootstrap() returned, got {result!r:.80}")
    if result is not None and rng is not None:
        raise TypeError("give bootstrap_result or rng, not both: the former result has its key")
    return result


def _samples(data: Any, numbers: bool) -> tuple[Any, ...]:
    many = isinstance(data, tuple) or (
        isinstance(data, list) and len(data) > 0 and all(np.ndim(x) > 0 or hasattr(x, "iloc") for x in data)
    )
    samples = tuple(x if hasattr(x, "iloc") else np.asanyarray(x) for x in (data if many else (data,)))
    if not samples:
        raise ValueError("data is empty: there are no samples")
    for i, x in enumerate(samples):
        _check_sample(i, x)
        if numbers:
            _check_numbers(i, x)
    return samples


def _check_sample(i: int, x: Any) -> None:
    if x.ndim == 0:
        raise ValueError(f"data: sample {i} is {x!s:.80}, expected many values")
    if len(x) == 0:
        raise ValueError(f"data: sample {i} is empty, shape {x.shape}")
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise TypeError(f"data: sample {i} has masked values: fill or drop them")


def _check_numbers(i: int, x: Any) -> None:
    bad = x.isna().to_numpy() if hasattr(x, "isna") else np.zeros(1, bool)
    if getattr(getattr(x, "dtype", None), "kind", "") == "f":
        bad = bad | ~np.isfinite(np.asarray(x, float))
    if bad.any():
        raise ValueError(f"data: sample {i} has NaN or infinities, at {np.argwhere(bad)[0].tolist()} first: drop them")


def _plan(samples: tuple[Any, ...], paired: bool, **ways: Any) -> Plan:
    sizes = [len(x) for x in samples]
    if paired and len(set(sizes)) > 1:
        raise ValueError(f"data: paired samples must have the same length, got {sizes}")
    given = [name for name, value in ways.items() if value is not None]
    if given and not paired and len(samples) > 1:
        raise ValueError(f"{given[0]} is for one sample, or for several with paired=True")
    plan = plan_of(sizes[0], of="data", **ways) if paired or len(samples) == 1 else apart(sizes)
    if plan.fixed:
        by = f", drawn by {given[0]}," if given else ""
        raise ValueError(f"data: every resample of {plan.n} sample(s){by} would be the data themselves")
    return plan


def _statistic(statistic: Any, samples: Any, plan: Plan, q: Any, ddof: Any, vectorized: Any) -> tuple[Any, bool]:
    if isinstance(statistic, str):
        return named(one_of("statistic", statistic, NAMES), samples, plan, q, ddof), False
    if not callable(statistic):
        raise TypeError(f"statistic must be one of {', '.join(NAMES)} or a function of the samples, got {statistic!r}")
    if vectorized is not None:
        flag("vectorized", vectorized)
    else:
        try:
            vectorized = "axis" in inspect.signature(statistic).parameters
        except (TypeError, ValueError):
            vectorized = False
    return statistic, bool(vectorized) and all(isinstance(x, np.ndarray) and x.ndim == 1 for x in samples)


def _studentized(job: Job, standard_error: Any, inner: int) -> Job:
    if standard_error is not None and not callable(standard_error):
        raise TypeError(f"standard_error must be a function of the samples, got {standard_error!r}")
    closed = isinstance(job.statistic, Named) and job.statistic.has_error
    plain = job.plan.order is None and job.plan.starts is None
    if standard_error is None and not plain:
        raise ValueError("method='studentized' with strata, groups or block_length needs standard_error=")
    if standard_error is not None and isinstance(job.statistic, Named):
        plain_statistic: Any = job.statistic.__call__
        return Job(job.samples, job.paired, job.plan, job.key, plain_statistic, False, standard_error)
    return Job(
        job.samples, job.paired, job.plan, job.key, job.statistic, job.vectorized,
        standard_error or (True if closed else inner),
    )  # fmt: skip


def _run(job: Job, first: int, resamples: int, batch: Any, n_jobs: int | None) -> tuple[Array, Array | None]:
    size = max(1, AT_ONCE // max(1, job.plan.n)) if batch is None else count("batch", batch)
    if isinstance(job.statistic, Named) and job.error in (None, True) and n_jobs is None:
        size = max(resamples, 1)
    starts = range(first, first + resamples, size)
    items = [(job, start, min(size, first + resamples - start)) for start in starts]
    parts = parallel.run(_batch, items, n_jobs=n_jobs, rng=0, label="batches")
    values = np.concatenate([np.empty(0), *(v for v, _ in parts)])
    return values, None if job.error is None else np.concatenate([np.empty(0), *(e for _, e in parts)])


def _check_former(former: BootstrapResult, job: Job, observed: float) -> None:
    if former.source != job.source:
        raise ValueError(f"bootstrap_result is of {former.source or 'something else'}, this call of {job.source}")
    if not np.array_equal([former.statistic], [observed], equal_nan=True):
        raise ValueError(f"bootstrap_result is of other data: their statistic is {former.statistic}, here {observed}")


def _result(
    job: Job, former: Any, observed: float, values: Array, errors: Array | None, options: dict[str, Any]
) -> BootstrapResult:
    if former is not None:
        values = np.concatenate([former.bootstrap_distribution, values])
        errors = None if errors is None else np.concatenate([former.errors, errors])
    low, high, method = _interval(job, observed, values, errors, options)
    low = -math.inf if options["alternative"] == "less" else low
    high = math.inf if options["alternative"] == "greater" else high
    spread = standard_deviation(values)
    return BootstrapResult(
        ConfidenceInterval(low, high), values, spread, observed, method, options["level"], job.key, errors, job.source
    )


def _interval(
    job: Job, observed: float, values: Array, errors: Array | None, options: dict[str, Any]
) -> tuple[float, float, str]:
    """Low, high, and their method; NaN where the statistic is: to drop such resamples would bias it."""
    method = options["method"]
    undefined = int(np.count_nonzero(~np.isfinite(values)))
    if undefined or not math.isfinite(observed):
        where = f"in {undefined} of {len(values)} resamples" if undefined else "of the data"
        examples = "the correlation of a constant, a ratio to 0 or the mean of a NaN"
        message = f"the statistic is not a finite number {where}, as {examples}: the interval is NaN"
        warn(message, DegenerateDataWarning)
        return math.nan, math.nan, method
    if method == "BCa":
        return _bca(job, observed, values, options)
    low, high = _tails(options)
    if method == "studentized":
        return *_student(job, observed, values, errors, low, high), method
    low, high = _quantiles(values, low, high)
    return (2 * observed - high, 2 * observed - low, method) if method == "basic" else (low, high, method)


def _observed(job: Job) -> float:
    if isinstance(job.statistic, Named):
        return float(job.statistic.observed())
    return job.once(tuple(x.copy() for x in job.samples))  # a function may sort what it is given


def _tails(options: dict[str, Any]) -> tuple[float, float]:
    tail = (1 - options["level"]) / (2 if options["alternative"] == "two-sided" else 1)
    return tail, 1 - tail


def _quantiles(values: Array, low: float, high: float) -> tuple[float, float]:
    found = np.quantile(values, [low, high])
    return float(found[0]), float(found[1])


def _bca(job: Job, observed: float, values: Array, options: dict[str, Any]) -> tuple[float, float, str]:
    """Bias-corrected and accelerated: Efron, Better bootstrap confidence intervals, JASA 82 (1987)."""
    low, high = _tails(options)
    share = float(np.mean(values < observed) + np.mean(values <= observed)) / 2
    acceleration = _acceleration(job)
    if not 0 < share < 1 or not math.isfinite(acceleration) or np.ptp(values) == 0:
        what = "statistic does not vary over the data or lies outside of its bootstrap distribution"
        if np.ptp(values) > 0 and math.isnan(acceleration):
            what = "statistic of the data less one of them is not a number"
        message = f"BCa is not defined: the {what}. The interval is the percentile one"
        warn(message, DegenerateDataWarning)
        return *_quantiles(values, low, high), "percentile"
    normal, shift = NormalDist(), NormalDist().inv_cdf(share)
    levels = []
    for z in (shift + normal.inv_cdf(low), shift - normal.inv_cdf(low)):
        room = 1 - acceleration * z  # at 0 the level has reached its end, and beyond it comes back from the other one
        levels.append(normal.cdf(shift + z / room) if room > 0 else float(z > 0))
    return *_quantiles(values, *levels), "BCa"


def _acceleration(job: Job) -> float:
    """Σ U³/n³ / 6 (Σ U²/n²)^1.5 over the strata, U the jackknife's influences of one unit left out; infinite where they
    are all 0, NaN where one is no number."""
    with np.errstate(all="ignore"):
        influences = [(len(left) - 1) * (np.mean(left) - left) for left in _jackknife(job)]
    largest = float(np.abs(np.concatenate(influences)).max())
    if not 0 < largest < math.inf:
        return math.inf if largest == 0 else math.nan
    shares = [u / largest for u in influences]  # only ratios count, and third powers would overflow
    top = sum(float(np.sum(u * u * u)) / len(u) ** 3 for u in shares)
    bottom = sum(float(np.sum(u * u)) / len(u) ** 2 for u in shares)
    return float(top / (6 * bottom**1.5))


def _jackknife(job: Job) -> list[Array]:
    """Per stratum the statistic without each of its units."""
    if isinstance(job.statistic, Named):
        left_out = job.statistic.jackknife(job.plan)
    else:
        left_out = np.array([job.once(job.drawn_without(u)) for u in range(job.plan.units)])
    return np.split(left_out, np.cumsum(job.plan.strata[:, 1])[:-1])


def _student(job: Job, observed: float, values: Array, errors: Any, low: float, high: float) -> tuple[float, float]:
    """observed − t · its standard error, t the quantiles of (value − observed) / error."""
    if isinstance(job.statistic, Named) and job.error is True:
        error = job.statistic.error()
    elif callable(job.error):
        error = scalar(job.error(*job.samples), "standard_error")
    else:
        error = standard_deviation(values)
    if error < 0 or (errors < 0).any():
        raise ValueError(f"standard_error must give a number >= 0, got {np.nanmin([error, *errors])}")
    good = (errors > 0) & np.isfinite(errors)
    if not good.any() or not 0 < error < math.inf:
        first = errors[0] if 0 < error < math.inf else error
        what = f"the standard error is {first:g}" + ", as that of constant data" * (first == 0)
        raise ValueError(f"method='studentized' is not defined: {what}")
    t = (values[good] - observed) / errors[good]
    if np.ptp(t) == 0:
        which = f"{len(t)} of {len(values)} resamples have a standard error"
        raise ValueError(f"method='studentized' is not defined: {which}, all with the same t, {t[0]}")
    if len(t) < len(values):
        lost = f"{len(values) - len(t)} of {len(values)} resamples"
        warn(f"{lost} have a standard error of 0 or none and are left out", DegenerateDataWarning)
    first, last = _quantiles(t, low, high)
    return observed - last * error, observed - first * error
