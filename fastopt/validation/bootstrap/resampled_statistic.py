"""A statistic of the data, of each resample, and of the data without one unit. Knows no confidence interval."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from typing import Any

import numpy as np

from fastopt._types import Array
from fastopt.validation._samples import take
from fastopt.validation.bootstrap.statistics import Named, standard_deviation
from fastopt.validation.resampling import ResamplingScheme, key_from, scheme_for, scheme_for_samples


@dataclasses.dataclass(frozen=True)
class ResampledStatistic:
    """The samples, how they are drawn, and the statistic. Can be pickled."""

    samples: tuple[Any, ...]
    paired: bool
    scheme: ResamplingScheme
    key: int
    statistic: Any  # Named, or a function of the samples
    vectorized: bool
    error: Any = None  # studentized: a function, the number of inner resamples, or True for the closed form

    @property
    def source(self) -> str:
        """The statistic, the sizes of its samples, and a digest of how they are drawn."""
        scheme, digest = self.scheme, hashlib.sha256()
        for array in (scheme.strata, scheme.order, scheme.starts, scheme.lengths):
            digest.update(b"-" if array is None else np.asarray(array, np.int64).tobytes())
        what = self.statistic.label if isinstance(self.statistic, Named) else _name(self.statistic)
        errors = ", studentized" if self.error else ""
        if self.error and self.error is not True:
            how = _name(self.error) if callable(self.error) else f"{self.error} inner resamples"
            errors += f" by {how}"
        sizes = " and ".join(str(len(x)) for x in self.samples)
        return f"{what} of {sizes} samples{errors}, drawn by scheme {digest.hexdigest()[:8]}"

    def observed(self) -> float:
        """The statistic of the data."""
        if isinstance(self.statistic, Named):
            return float(self.statistic.observed())
        return self.once(
            tuple(take(x, np.arange(len(x))) for x in self.samples)
        )  # a function may sort its arguments in place

    def values(self, first: int, resamples: int) -> tuple[Array, Array | None]:
        """The statistic of resamples first, first + 1, …, and its standard errors if `error` is set."""
        if isinstance(self.statistic, Named) and (self.error is None or self.statistic.has_error):
            return self.statistic.resampled(self.scheme, self.key, first, resamples, self.error is not None)
        drawn = [self._drawn(self.scheme.samples_of(self.key, first + b)) for b in range(resamples)]
        return self._of(drawn), None if self.error is None else self._errors(drawn, first)

    def jackknife(self) -> list[Array]:
        """Per stratum the statistic of the data without each of its units."""
        if isinstance(self.statistic, Named):
            left_out = self.statistic.jackknife(self.scheme)
        else:
            left_out = np.array([self.once(self._without(u)) for u in range(self.scheme.units)])
        return np.split(left_out, np.cumsum(self.scheme.strata[:, 1])[:-1])

    def once(self, samples: tuple[Any, ...]) -> float:
        return scalar(self.statistic(*samples, axis=-1) if self.vectorized else self.statistic(*samples))

    def _drawn(self, index: Array) -> tuple[Any, ...]:
        """The samples at these positions, which for several independent samples come one sample after another."""
        if self.paired:
            return tuple(take(s, index) for s in self.samples)
        parts = np.split(index, np.cumsum(self.scheme.strata[:, 2])[:-1])
        return tuple(take(s, i - f) for s, i, f in zip(self.samples, parts, self.scheme.strata[:, 0], strict=True))

    def _without(self, unit: int) -> tuple[Any, ...]:
        """The samples without one unit of the scheme: a sample, or a group."""
        scheme, at = self.scheme, slice(unit, unit + 1)
        if scheme.starts is not None and scheme.lengths is not None:
            at = slice(scheme.starts[unit], scheme.starts[unit] + scheme.lengths[unit])
        every = np.arange(scheme.n)
        kept = np.delete(every, (every if scheme.order is None else scheme.order)[at])
        if self.paired:
            return tuple(take(s, kept) for s in self.samples)
        bounds = np.cumsum([0, *map(len, self.samples)])
        inside = [kept[(kept >= a) & (kept < b)] - a for a, b in itertools.pairwise(bounds)]
        return tuple(take(s, i) for s, i in zip(self.samples, inside, strict=True))

    def _of(self, drawn: list[tuple[Any, ...]]) -> Array:
        if self.vectorized and len({tuple(map(len, samples)) for samples in drawn}) == 1:
            stacked = [np.stack(samples) for samples in zip(*drawn, strict=True)]
            found = np.asarray(self.statistic(*stacked, axis=-1), float)
            if found.shape != (len(drawn),):
                raise ValueError(f"statistic gives shape {found.shape} for {len(drawn)} resamples along axis=-1")
            return found
        return np.array([self.once(samples) for samples in drawn])

    def _errors(self, drawn: list[tuple[Any, ...]], first: int) -> Array:
        if callable(self.error):
            return np.array([scalar(self.error(*samples), "standard_error") for samples in drawn])
        inner = (self._inner(samples, first + b + 1) for b, samples in enumerate(drawn))
        return np.array([standard_deviation(i.values(0, self.error)[0]) for i in inner])

    def _inner(self, samples: tuple[Any, ...], number: int) -> ResampledStatistic:
        """The bootstrap of a resample, with its own key."""
        key = key_from(np.random.SeedSequence([self.key, number]))
        scheme = scheme_for(len(samples[0])) if self.paired else scheme_for_samples([len(s) for s in samples])
        statistic = self.statistic.on(samples, scheme) if isinstance(self.statistic, Named) else self.statistic
        return ResampledStatistic(samples, self.paired, scheme, key, statistic, self.vectorized)


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", "a function"))


def scalar(value: Any, name: str = "statistic") -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must give a number, got {value!r:.80}") from None
