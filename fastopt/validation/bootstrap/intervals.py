"""Confidence intervals from a bootstrap distribution: percentile, basic, BCa and studentized."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from fastopt._checks import number, one_of, warn
from fastopt._types import Array
from fastopt.validation.bootstrap.resampled_statistic import ResampledStatistic, scalar
from fastopt.validation.bootstrap.results import DegenerateDataWarning
from fastopt.validation.bootstrap.statistics import Named, standard_deviation

METHODS = ("percentile", "basic", "BCa", "studentized")


@dataclass(frozen=True)
class IntervalOptions:
    """Which interval is computed. `check` makes one from the arguments of `bootstrap`."""

    method: str
    level: float
    alternative: str

    @classmethod
    def check(cls, method: Any, level: Any, alternative: Any, block_length: Any) -> IntervalOptions:
        default = "BCa" if block_length is None else "percentile"
        chosen = default if method is None else one_of("method", method, METHODS)
        if chosen == "BCa" and block_length is not None:
            raise ValueError(
                "method='BCa' is not defined with block_length, whose resamples are not centred on the data: ask for "
                "'percentile' or 'basic', or for 'studentized' with a standard_error= that allows for dependence"
            )
        one_of("alternative", alternative, ("two-sided", "less", "greater"))
        return cls(chosen, number("confidence_level", level, 0, 1, above=True, below=True), alternative)

    @property
    def tails(self) -> tuple[float, float]:
        """The levels of the two quantiles."""
        tail = (1 - self.level) / (2 if self.alternative == "two-sided" else 1)
        return tail, 1 - tail


def confidence_interval(
    r: ResampledStatistic, observed: float, values: Array, errors: Array | None, options: IntervalOptions
) -> tuple[float, float, str]:
    """(low, high, method). A one-sided interval is infinite on its other side."""
    low, high, method = _two_ends(r, observed, values, errors, options)
    low = -math.inf if options.alternative == "less" else low
    high = math.inf if options.alternative == "greater" else high
    return low, high, method


def _two_ends(
    r: ResampledStatistic, observed: float, values: Array, errors: Array | None, options: IntervalOptions
) -> tuple[float, float, str]:
    """NaN if the statistic of any resample is not finite: without these resamples the interval would be biased."""
    method = options.method
    undefined = int(np.count_nonzero(~np.isfinite(values)))
    if undefined or not math.isfinite(observed):
        where = f"in {undefined} of {len(values)} resamples" if undefined else "of the data"
        examples = "the correlation of a constant, a ratio to 0 or the mean of a NaN"
        message = f"the statistic is not a finite number {where}, as {examples}: the interval is NaN"
        warn(message, DegenerateDataWarning)
        return math.nan, math.nan, method
    if method == "BCa":
        return _bca(r, observed, values, options)
    low, high = options.tails
    if method == "studentized":
        return *_student(r, observed, values, errors, low, high), method
    low, high = _quantiles(values, low, high)
    return (2 * observed - high, 2 * observed - low, method) if method == "basic" else (low, high, method)


def _quantiles(values: Array, low: float, high: float) -> tuple[float, float]:
    found = np.quantile(values, [low, high])
    return float(found[0]), float(found[1])


def _bca(r: ResampledStatistic, observed: float, values: Array, options: IntervalOptions) -> tuple[float, float, str]:
    """Bias-corrected and accelerated: Efron, Better bootstrap confidence intervals, JASA 82 (1987)."""
    low, high = options.tails
    share = float(np.mean(values < observed) + np.mean(values <= observed)) / 2
    acceleration = _acceleration(r)
    if not 0 < share < 1 or not math.isfinite(acceleration) or np.ptp(values) == 0:
        what = "statistic does not vary over the data or lies outside of its bootstrap distribution"
        if np.ptp(values) > 0 and math.isnan(acceleration):
            what = "statistic of the data without one of them is not a number"
        message = f"BCa is not defined: the {what}. The interval is the percentile one"
        warn(message, DegenerateDataWarning)
        return *_quantiles(values, low, high), "percentile"
    normal, shift = NormalDist(), NormalDist().inv_cdf(share)
    levels = []
    for z in (shift + normal.inv_cdf(low), shift - normal.inv_cdf(low)):
        room = 1 - acceleration * z  # <= 0: the level has reached 0 or 1, and the formula would pass it
        levels.append(normal.cdf(shift + z / room) if room > 0 else float(z > 0))
    return *_quantiles(values, *levels), "BCa"


def _acceleration(r: ResampledStatistic) -> float:
    """Σ U³/n³ / 6 (Σ U²/n²)^1.5 over the strata, where U is the jackknife influence of each unit.

    Infinite if all influences are 0, NaN if one is not finite.
    """
    with np.errstate(all="ignore"):
        influences = [(len(left) - 1) * (np.mean(left) - left) for left in r.jackknife()]
    largest = float(np.abs(np.concatenate(influences)).max())
    if not 0 < largest < math.inf:
        return math.inf if largest == 0 else math.nan
    shares = [u / largest for u in influences]  # only ratios matter; third powers could overflow
    top = sum(float(np.sum(u * u * u)) / len(u) ** 3 for u in shares)
    bottom = sum(float(np.sum(u * u)) / len(u) ** 2 for u in shares)
    return float(top / (6 * bottom**1.5))


def _student(
    r: ResampledStatistic, observed: float, values: Array, errors: Any, low: float, high: float
) -> tuple[float, float]:
    """observed − t · standard error, with t the quantiles of (value − observed) / error over the resamples."""
    if isinstance(r.statistic, Named) and r.error is True:
        error = r.statistic.error()
    elif callable(r.error):
        error = scalar(r.error(*r.samples), "standard_error")
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
