"""The bootstrap of a statistic: the public function and the checks of its arguments.

Sources: Efron and Tibshirani, An Introduction to the Bootstrap (1993); Davison and Hinkley, Bootstrap Methods and their
Application (1997). Names and conventions are those of scipy.stats.bootstrap.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from fastopt._checks import flag, integer, one_of
from fastopt._types import Array, Rng
from fastopt.validation import parallel
from fastopt.validation._samples import is_table
from fastopt.validation.bootstrap.intervals import IntervalOptions, confidence_interval
from fastopt.validation.bootstrap.resampled_statistic import ResampledStatistic
from fastopt.validation.bootstrap.results import BootstrapResult, ConfidenceInterval
from fastopt.validation.bootstrap.statistics import NAMES, Named, named, standard_deviation
from fastopt.validation.resampling import MOST_RESAMPLES, ResamplingScheme, key_from, scheme_for, scheme_for_samples

AT_ONCE = 1 << 20  # elements of the resamples that a function gets at once, unless batch is given


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
    """Bootstrap a statistic: its distribution over resamples, its standard error and a confidence interval.

    Parameters
    ----------
    data : a sample (n,), or a tuple or list of samples, the arguments of a statistic of several. At least two samples
        (groups, blocks). The kernels need finite numbers. A function may take samples of any shape (n, …), pandas
        objects, and NaN or infinities (numpy.nanmean).
    statistic : "mean", "variance", "quantile", "ratio" (Σx / Σy) or "correlation": a C kernel in float64. Or a function
        of the samples that returns a number. If it has an argument `axis`, it gets batches and axis=-1.
    n_resamples : >= 1.
    method : "percentile", "basic", "BCa" or "studentized". None: "BCa", or "percentile" with block_length, where BCa is
        not defined because resamples of blocks are not centred on the data. Three cases raise a DegenerateDataWarning.
        If BCa is not defined for the data (a statistic that does not vary, or lies outside its distribution), the
        interval is the percentile one. If the statistic of some resamples is not finite (the correlation of a constant,
        a ratio to 0), the interval is NaN. Studentized leaves out resamples with a standard error of 0 or NaN.
    confidence_level : in (0, 1).
    alternative : "two-sided", "less" (low is −∞) or "greater" (high is ∞).
    paired : draw several samples with the same index; always so for "ratio" and "correlation".
    strata : (n,) labels: draw within each stratum as many samples as it has.
    groups : (n,) labels: draw whole groups, as many as there are.
    block_length : draw runs of this many consecutive samples (moving blocks, for a series).
    q, ddof : of the quantile (linear, as numpy.quantile), and of the variance.
    vectorized : whether a function takes `axis`; None: by its signature.
    standard_error : studentized: a function of the samples. By default "mean" and "ratio" have a closed form; others
        use a bootstrap of `inner_resamples` within each resample (not with strata, groups or blocks).
    bootstrap_result : of an earlier call with the same data. Its resamples are kept, and n_resamples (>= 0) more are
        drawn with its key: 5,000 and then 4,999 give the 9,999 of one call.
    batch : the number of resamples that a function, or a worker, gets at once.
    n_jobs : for functions, as in cross_validate. Results do not depend on it.
    rng : None, a seed, a Generator or a SeedSequence.

    Raises TypeError or ValueError naming the argument.

    >>> r = bootstrap([2.0, 4.0, 4.0, 5.0, 7.0, 9.0], "mean", rng=0)
    >>> r.statistic, r.confidence_interval.low < r.statistic < r.confidence_interval.high
    (5.166666666666667, True)
    """
    options = IntervalOptions.check(method, confidence_level, alternative, block_length)
    if standard_error is not None and options.method != "studentized":
        raise ValueError(f"standard_error is for method='studentized', not for {options.method!r}")
    former = _former(bootstrap_result, rng)
    resamples = integer("n_resamples", n_resamples, 0 if former else 1)
    drawn = len(former.bootstrap_distribution) if former else 0
    if drawn + resamples > MOST_RESAMPLES:
        raise ValueError(f"n_resamples={n_resamples} is more than 2**32 in all")
    samples = _samples(data, numbers=isinstance(statistic, str))
    paired = flag("paired", paired) or statistic in ("ratio", "correlation")
    scheme = _scheme(samples, paired, strata=strata, groups=groups, block_length=block_length)
    key = former.key if former else key_from(rng)
    function, vectorized = _statistic(statistic, samples, scheme, q, ddof, vectorized)
    r = ResampledStatistic(samples, paired or len(samples) == 1, scheme, key, function, bool(vectorized))
    if options.method == "studentized":
        r = _studentized(r, standard_error, integer("inner_resamples", inner_resamples, 2))
    observed = r.observed()
    if former is not None:
        _check_former(former, r, observed)
    values, errors = _run(r, drawn, resamples, batch, n_jobs)
    if former is not None:
        values = np.concatenate([former.bootstrap_distribution, values])
        errors = None if errors is None else np.concatenate([former.errors, errors])
    low, high, method = confidence_interval(r, observed, values, errors, options)
    interval, spread = ConfidenceInterval(low, high), standard_deviation(values)
    return BootstrapResult(interval, values, spread, observed, method, options.level, key, errors, r.source)


def _former(result: Any, rng: Rng) -> BootstrapResult | None:
    if result is not None and not isinstance(result, BootstrapResult):
        raise TypeError(f"bootstrap_result must be what bootstrap() returned, got {result!r:.80}")
    if result is not None and rng is not None:
        raise TypeError("give bootstrap_result or rng, not both: the earlier result has its key")
    return result


def _samples(data: Any, numbers: bool) -> tuple[Any, ...]:
    many = isinstance(data, tuple) or (
        isinstance(data, list) and len(data) > 0 and all(np.ndim(x) > 0 or hasattr(x, "iloc") for x in data)
    )
    # a function of the samples gets each of them in its own container
    samples = tuple(
        x if hasattr(x, "iloc") or (is_table(x) and not numbers) else np.asanyarray(x)
        for x in (data if many else (data,))
    )
    if not samples:
        raise ValueError("data is empty: there are no samples")
    for i, x in enumerate(samples):
        _check_sample(i, x)
        if numbers:
            _check_numbers(i, x)
    return samples


def _check_sample(i: int, x: Any) -> None:
    if getattr(x, "ndim", 1) == 0:
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


def _scheme(samples: tuple[Any, ...], paired: bool, **ways: Any) -> ResamplingScheme:
    sizes = [len(x) for x in samples]
    if paired and len(set(sizes)) > 1:
        raise ValueError(f"data: paired samples must have the same length, got {sizes}")
    given = [name for name, value in ways.items() if value is not None]
    if given and not paired and len(samples) > 1:
        raise ValueError(f"{given[0]} is for one sample, or for several with paired=True")
    scheme = scheme_for(sizes[0], of="data", **ways) if paired or len(samples) == 1 else scheme_for_samples(sizes)
    if scheme.fixed:
        by = f", drawn by {given[0]}," if given else ""
        raise ValueError(f"data: every resample of {scheme.n} sample(s){by} would be the data themselves")
    return scheme


def _statistic(
    statistic: Any, samples: Any, scheme: ResamplingScheme, q: Any, ddof: Any, vectorized: Any
) -> tuple[Any, bool]:
    if isinstance(statistic, str):
        return named(one_of("statistic", statistic, NAMES), samples, scheme, q, ddof), False
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


def _studentized(r: ResampledStatistic, standard_error: Any, inner: int) -> ResampledStatistic:
    """With the standard errors of each resample: by the function, a closed form, or inner resamples."""
    if standard_error is not None and not callable(standard_error):
        raise TypeError(f"standard_error must be a function of the samples, got {standard_error!r}")
    if standard_error is None and not (r.scheme.order is None and r.scheme.starts is None):
        raise ValueError("method='studentized' with strata, groups or block_length needs standard_error=")
    if standard_error is None:
        closed_form = isinstance(r.statistic, Named) and r.statistic.has_error
        return dataclasses.replace(r, error=closed_form or inner)
    function = r.statistic.__call__ if isinstance(r.statistic, Named) else r.statistic
    return dataclasses.replace(r, statistic=function, error=standard_error)


def _run(
    r: ResampledStatistic, first: int, resamples: int, batch: Any, n_jobs: int | None
) -> tuple[Array, Array | None]:
    size = max(1, AT_ONCE // max(1, r.scheme.n)) if batch is None else integer("batch", batch, 1)
    if isinstance(r.statistic, Named) and r.error in (None, True) and n_jobs is None:
        size = max(resamples, 1)
    starts = range(first, first + resamples, size)
    items = [(r, start, min(size, first + resamples - start)) for start in starts]
    parts = parallel.run(_batch, items, n_jobs=n_jobs, rng=0, label="batches")
    values = np.concatenate([np.empty(0), *(v for v, _ in parts)])
    return values, None if r.error is None else np.concatenate([np.empty(0), *(e for _, e in parts)])


def _check_former(former: BootstrapResult, r: ResampledStatistic, observed: float) -> None:
    if former.source != r.source:
        raise ValueError(f"bootstrap_result is of {former.source or 'something else'}, this call of {r.source}")
    if not np.array_equal([former.statistic], [observed], equal_nan=True):
        raise ValueError(f"bootstrap_result is of other data: their statistic is {former.statistic}, here {observed}")


def _batch(r: ResampledStatistic, first: int, resamples: int, rng: Any) -> tuple[Array, Array | None]:
    del rng  # resamples depend on the key and their numbers only
    return r.values(first, resamples)
