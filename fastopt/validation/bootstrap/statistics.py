"""Statistics that C kernels resample: functions of sums over the drawn samples, or of their order statistics.

Samples are scaled by a power of two and centred before they are summed. Otherwise squares could overflow or underflow,
and a large mean would cost digits. The centre is the median, since one outlier does not move it. A mean moved by an
outlier would cost digits in the resamples without that outlier.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import integer, number
from fastopt._native import resample as resample_kernels
from fastopt._types import Array
from fastopt.validation.resampling import ResamplingScheme

NAMES = ("mean", "variance", "quantile", "ratio", "correlation")
SAMPLES = {"ratio": 2, "correlation": 2}
ROUNDING = 1e-14  # a centred sum of squares below this share of the raw one counts as 0


@dataclass(frozen=True)
class Named:
    """A statistic by name, and its samples in float64. Call it to get the statistic of other samples."""

    name: str
    samples: tuple[Array, ...]
    q: float
    ddof: int

    has_error = property(lambda self: self.name in ("mean", "ratio"))

    @property
    def label(self) -> str:
        own = {"quantile": f" at q={self.q}", "variance": f" with ddof={self.ddof}"}
        return self.name + own.get(self.name, "")

    def __call__(self, *samples: Any) -> float:
        return named(self.name, samples, None, self.q, self.ddof).observed()  # type: ignore[no-any-return]

    def on(self, samples: tuple[Any, ...], scheme: ResamplingScheme) -> Any:
        return named(self.name, samples, scheme, self.q, self.ddof)

    @functools.cached_property
    def _exponents(self) -> list[int]:
        """Exponents e with |x| < 2^e for all values x of each sample."""
        return [math.frexp(float(np.abs(x).max()))[1] for x in self.samples]

    @functools.cached_property
    def _scaled(self) -> list[Array]:
        return [_times(x, -e) for x, e in zip(self.samples, self._exponents, strict=True)]

    @functools.cached_property
    def _centre(self) -> float:
        return float(np.median(self._scaled[0]))

    def columns(self, errors: bool = False) -> Array:
        """(n, m) terms whose sums determine the statistic. The last column is 1 and counts the samples."""
        x = self._scaled[0]
        if self.name == "ratio":
            y = self._scaled[1]
            parts = [x, y, x * x, y * y, x * y] if errors else [x, y]
        elif self.name == "correlation":
            x, y = x - self._centre, self._scaled[1] - np.median(self._scaled[1])
            parts = [x, y, x * x, y * y, x * y]
        else:
            d = x - self._centre
            parts = [d, d * d] if errors or self.name == "variance" else [d]
        return np.column_stack([*parts, np.ones(len(x))])

    def value(self, sums: Array) -> Array:
        """(k,) the statistic, from (k, m) sums of the columns."""
        n = sums[:, -1]
        with np.errstate(all="ignore"):
            if self.name == "mean":
                return _times(self._centre + sums[:, 0] / n, self._exponents[0])
            if self.name == "ratio":
                return _times(sums[:, 0] / sums[:, 1], self._exponents[0] - self._exponents[1])
            if self.name == "variance":
                found = _squares(sums[:, 1], sums[:, 0], n) / (n - self.ddof)
                return _times(found, 2 * self._exponents[0])
            xx, yy = _squares(sums[:, 2], sums[:, 0], n), _squares(sums[:, 3], sums[:, 1], n)
            found = (sums[:, 4] - sums[:, 0] * sums[:, 1] / n) / np.sqrt(xx) / np.sqrt(yy)
            return np.clip(found, -1, 1)

    def errors(self, sums: Array) -> Array:
        """(k,) standard errors of mean and ratio (linearized), from (k, m) sums of the columns."""
        n = sums[:, -1]
        with np.errstate(all="ignore"):
            if self.name == "mean":
                return _times(np.sqrt(_squares(sums[:, 1], sums[:, 0], n) / (n * (n - 1))), self._exponents[0])
            r = sums[:, 0] / sums[:, 1]
            residual = np.maximum(sums[:, 2] - 2 * r * sums[:, 4] + r * r * sums[:, 3], 0)
            found = np.sqrt(residual * n / (n - 1)) / np.abs(sums[:, 1])
            return _times(found, self._exponents[0] - self._exponents[1])

    def resampled(
        self, scheme: ResamplingScheme, key: int, first: int, resamples: int, errors: bool
    ) -> tuple[Array, Array | None]:
        if self.name == "quantile":
            return self._quantiles(scheme, key, first, resamples), None
        totals = scheme.totals(self.columns(errors))
        if scheme.starts is None:  # every resample has n samples: no need to count
            sums = np.full((resamples, totals.shape[1]), float(scheme.n))
            summed = np.ascontiguousarray(totals[:, :-1].T)
            sums[:, :-1] = resample_kernels.resample_sums(summed, scheme.strata, key, first, resamples)
        else:
            sums = resample_kernels.resample_sums(np.ascontiguousarray(totals.T), scheme.strata, key, first, resamples)
        return self.value(sums), self.errors(sums) if errors else None

    def observed(self) -> float:
        if self.name == "quantile":
            return float(np.quantile(self.samples[0], self.q))
        return float(self.value(self._sums())[0])

    def error(self) -> float:
        return float(self.errors(self._sums(True))[0])

    def _sums(self, errors: bool = False) -> Array:
        """(1, m) sums over the data. Columns are contiguous, so that NumPy adds pairwise."""
        return np.atleast_2d(np.ascontiguousarray(self.columns(errors).T).sum(axis=1))

    def jackknife(self, scheme: ResamplingScheme) -> Array:
        """(units,) the statistic without each unit of the scheme, in O(n) after sorting."""
        if self.name != "quantile":
            return self.value(_sums_without_each(scheme.totals(self.columns())))
        x, order = self._sorted(scheme)
        rank = np.empty(len(x), np.int64)
        rank[order] = np.arange(len(x))
        at, share = _place(len(x) - 1, self.q)
        if len(x) < 2:
            return np.full(1, np.nan)
        low, high = at + (at >= rank), np.minimum(at + 1, len(x) - 2)
        return _between(x[low], x[high + (high >= rank)], share)

    def _sorted(self, scheme: ResamplingScheme) -> tuple[Array, Array]:
        x = self.samples[0] if scheme.order is None else self.samples[0][scheme.order]
        order = np.argsort(x, kind="stable").astype(np.uint32)
        return np.ascontiguousarray(x[order]), order

    def _quantiles(self, scheme: ResamplingScheme, key: int, first: int, resamples: int) -> Array:
        x, order = self._sorted(scheme)
        at, share = _place(len(x), self.q)
        places = np.array([at, min(at + 1, len(x) - 1)], np.int64)
        found = resample_kernels.resample_places(x, order, places, scheme.strata, key, first, resamples)
        return _between(found[:, 0], found[:, 1], share)


def standard_deviation(x: Array) -> float:
    """Divided by n − 1; NaN for one value or if one is not finite. Scaled so that squares do not overflow."""
    if len(x) < 2 or not np.isfinite(x).all():
        return math.nan
    exponent = math.frexp(float(np.abs(x).max()))[1]
    return float(np.ldexp(np.std(np.ldexp(x, -exponent), ddof=1), exponent))


def _sums_without_each(rows: Array) -> Array:
    """(n, m) sums of all other rows. They are summed anew: total − row would lose digits if the row is an outlier."""
    sums = np.zeros_like(rows)
    sums[1:] = np.cumsum(rows[:-1], axis=0)
    sums[:-1] += np.cumsum(rows[:0:-1], axis=0)[::-1]
    return sums


def _times(x: Array, exponent: int) -> Array:
    """x · 2^exponent."""
    return np.asarray(np.ldexp(x, exponent))


def _squares(squares: Array, sums: Array, n: Array) -> Array:
    """Σ(x − x̄)² from Σx² and Σx; 0 if it is within the rounding error."""
    found = squares - sums * sums / n
    return np.where(found <= ROUNDING * squares, 0.0, found)


def _place(n: int, q: float) -> tuple[int, float]:
    """The place (n − 1) q of a quantile, as integer and fraction."""
    at = (n - 1) * q
    return int(at), at - int(at)


def _between(low: Array, high: Array, share: float) -> Array:
    """Linear interpolation, with the same bits as numpy.quantile."""
    step = high - low
    return high - step * (1 - share) if share >= 0.5 else low + step * share


def named(name: str, samples: Any, scheme: ResamplingScheme | None, q: float = 0.5, ddof: int = 1) -> Any:
    """The statistic of these samples. A quantile of groups or blocks has no kernel and is a plain function."""
    wanted = SAMPLES.get(name, 1)
    if len(samples) != wanted:
        raise ValueError(f"data: statistic={name!r} is of {wanted} sample(s), got {len(samples)}")
    q = number("q", q, 0, 1)
    integer("ddof", ddof)
    arrays = tuple(_numbers(i, x) for i, x in enumerate(samples))
    if name == "variance" and len(arrays[0]) <= ddof:
        raise ValueError(f"ddof={ddof} leaves no degrees of freedom to {len(arrays[0])} samples")
    if name == "quantile" and scheme is not None and scheme.starts is not None:
        return functools.partial(np.quantile, q=q)
    return Named(name, arrays, q, ddof)


def _numbers(i: int, x: Any) -> Array:
    a = np.asarray(x)
    if a.ndim != 1 or a.dtype.kind not in "biuf":
        raise TypeError(f"data: sample {i} must be real numbers of shape (n,), got {a.dtype} of shape {a.shape}")
    return a.astype(np.float64)
