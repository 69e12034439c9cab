"""Which samples a bootstrap resample draws: plain, stratified, by group or in moving blocks. It knows no statistic.

What stratum s draws in resample b is a function of (key, s, b), and so the same on any thread, worker and instruction
set. The kernel draws how often each unit is drawn (csrc/resample/draw.inl.h explains how). Sums and order statistics
need no more than these counts; other statistics get the list of the samples drawn, in random order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import integer
from fastopt._native import resample as resample_kernels
from fastopt._types import Array, Rng
from fastopt.validation._samples import column, encode
from fastopt.validation.parallel import seed_sequence

MOST_RESAMPLES = 2**32


def key_from(rng: Rng) -> int:
    """A key of 64 bits: the same for the same seed, another one at each call for None and for a Generator."""
    return int(seed_sequence(rng).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class ResamplingScheme:
    """How resamples of n samples are drawn: in units, which are samples, groups or blocks.

    strata : int64 (k, 3), the first unit, the number of units and the number of draws of each stratum.
    order : (n,) the samples in the order of the units. None: the order of the data.
    starts, lengths : (units,) where each unit begins in `order`, and how many samples it has. None: each unit is one
        sample.
    """

    n: int
    strata: Array
    order: Array | None = None
    starts: Array | None = None
    lengths: Array | None = None

    @property
    def units(self) -> int:
        return self.n if self.starts is None else len(self.starts)

    @property
    def fixed(self) -> bool:
        """Whether every resample equals the data, because no stratum has two units."""
        return bool((self.strata[:, 1] < 2).all())

    def samples_of(self, key: int, resample: int) -> Array:
        """The positions of the samples that one resample draws: stratum by stratum, in random order within each."""
        drawn = resample_kernels.resample_rows(self.strata, key, resample, 1)[0]
        if self.starts is not None and self.lengths is not None:
            lengths = self.lengths[drawn]
            before = np.cumsum(lengths) - lengths
            drawn = np.repeat(self.starts[drawn] - before, lengths) + np.arange(int(lengths.sum()))
        return np.asarray(drawn if self.order is None else self.order[drawn])

    def totals(self, rows: Array) -> Array:
        """(units, columns): the sums of `rows`, (n, columns), over the samples of each unit."""
        if self.starts is None or self.lengths is None:
            return np.ascontiguousarray(rows if self.order is None else rows[self.order])
        if self.order is not None:  # groups, which do not overlap
            unit = np.repeat(np.arange(self.units), self.lengths)
            return np.column_stack([np.bincount(unit, column) for column in rows[self.order].T])
        sums = np.empty((self.units, rows.shape[1]))
        for length in np.unique(self.lengths):
            which = np.flatnonzero(self.lengths == length)
            sums[which] = _windows(rows, int(length))[self.starts[which]]
        return sums


def _windows(rows: Array, length: int) -> Array:
    """(n − length + 1, columns): sums of `length` neighbouring rows, in O(n log length): each adds two sums of half."""
    if length == 1:
        return rows
    half = _windows(rows, length // 2)
    even = half[: len(half) - length // 2] + half[length // 2 :]
    return even if length % 2 == 0 else even[:-1] + rows[length - 1 :]


def scheme_for(
    n: int, *, strata: Any = None, groups: Any = None, block_length: int | None = None, of: str = "X"
) -> ResamplingScheme:
    """The scheme that draws n of n samples, in strata, groups or blocks if one of these arguments is given.

    strata: (n,) labels; each stratum draws as many samples as it has. groups: (n,) labels; whole groups are drawn, as
    many as there are. block_length: moving blocks of so many neighbours are drawn, all equally likely, and the last one
    is cut so that the resample has n samples: Künsch, The jackknife and the bootstrap for general stationary
    observations, Annals of Statistics 17 (1989). of: what error messages call the samples.
    """
    asked = [
        name for name, v in (("strata", strata), ("groups", groups), ("block_length", block_length)) if v is not None
    ]
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(asked)} are different ways to resample: give one of them")
    if n < 1:
        raise ValueError(f"{of} is empty: there are no samples to draw")
    if block_length is not None:
        return _blocks(n, integer("block_length", block_length, 1), of)
    if groups is not None:
        codes, sizes = encode("groups", column("groups", groups, n, of))
        starts = np.cumsum(sizes) - sizes
        order = np.argsort(codes, kind="stable")
        return ResamplingScheme(n, np.array([[0, len(sizes), len(sizes)]], np.int64), order, starts, sizes)
    if strata is not None:
        codes, sizes = encode("strata", column("strata", strata, n, of))
        return ResamplingScheme(n, _strata(sizes), np.argsort(codes, kind="stable"))
    return ResamplingScheme(n, np.array([[0, n, n]], np.int64))


def scheme_for_samples(sizes: Any) -> ResamplingScheme:
    """The scheme for several independent samples, one after another: each is a stratum."""
    return ResamplingScheme(int(sum(sizes)), _strata(np.asarray(sizes)))


def _strata(sizes: Array) -> Array:
    return np.column_stack([np.cumsum(sizes) - sizes, sizes, sizes]).astype(np.int64)


def _blocks(n: int, length: int, of: str) -> ResamplingScheme:
    if length > n:
        raise ValueError(f"block_length={length} is more than there are samples in {of}: {n}")
    blocks, whole, rest = n - length + 1, n // length, n % length
    strata = [[0, blocks, whole]] + [[blocks, n - rest + 1, 1]] * (rest > 0)
    starts = np.concatenate([np.arange(blocks), np.arange(n - rest + 1) if rest else np.zeros(0, int)])
    lengths = np.full(len(starts), length)
    lengths[blocks:] = rest
    return ResamplingScheme(n, np.array(strata, np.int64), None, starts, lengths)
