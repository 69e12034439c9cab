"""Which samples a resample draws: plain, stratified, by group or in moving blocks. Knows no statistic and no estimator.

What stratum s draws in resample b is a function of (key, s, b): the same on any thread, worker and instruction set. The
kernel draws how often each unit is drawn (csrc/resample.h says how), and statistics that it knows need no more; others
get the samples in random order. Where it draws one by one, a random word of 64 bits makes k draws of n as long as
nᵏ <= 2⁴⁰, so that no tuple's chance is off by more than a share of 2⁻²⁴ (k = 1 for any n below 2³²).
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
    """64 bits: the same for a seed, new ones at each call for None and for a Generator."""
    return int(seed_sequence(rng).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class Plan:
    """How a resample of n samples is drawn, in units (samples, groups or blocks) of `members` samples each.

    strata : int64 (k, 3): first unit, units, draws.
    order : (n,) the samples in the order of the units; None: as they stand.
    starts, lengths : where each unit begins in that order, and how many samples it has; None: units are samples.
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
        """Whether every resample is the samples themselves: no stratum has two units."""
        return bool((self.strata[:, 1] < 2).all())

    def samples_of(self, key: int, resample: int) -> Array:
        """The positions that one resample draws: stratum by stratum, each in random order."""
        drawn = resample_kernels.resample_rows(self.strata, key, resample, 1)[0]
        if self.starts is not None and self.lengths is not None:
            lengths = self.lengths[drawn]
            before = np.cumsum(lengths) - lengths
            drawn = np.repeat(self.starts[drawn] - before, lengths) + np.arange(int(lengths.sum()))
        return np.asarray(drawn if self.order is None else self.order[drawn])

    def totals(self, rows: Array) -> Array:
        """(units, columns): the sums of the samples' rows over each unit."""
        if self.starts is None or self.lengths is None:
            return np.ascontiguousarray(rows if self.order is None else rows[self.order])
        if self.order is not None:  # groups: one after another, none overlaps
            unit = np.repeat(np.arange(self.units), self.lengths)
            return np.column_stack([np.bincount(unit, column) for column in rows[self.order].T])
        sums = np.empty((self.units, rows.shape[1]))
        for length in np.unique(self.lengths):
            which = np.flatnonzero(self.lengths == length)
            sums[which] = _windows(rows, int(length))[self.starts[which]]
        return sums


def _windows(rows: Array, length: int) -> Array:
    """(n − length + 1, columns): sums of so many neighbouring rows, from those of half as many: in O(n ln length)."""
    if length == 1:
        return rows
    half = _windows(rows, length // 2)
    even = half[: len(half) - length // 2] + half[length // 2 :]
    return even if length % 2 == 0 else even[:-1] + rows[length - 1 :]


def plan_of(n: int, *, strata: Any = None, groups: Any = None, block_length: int | None = None, of: str = "X") -> Plan:
    """Draws n of n samples; within each stratum; whole groups, as many as there are; or blocks up to n samples. Errors
    say what they are samples of.

    Blocks are moving ones, Künsch, The jackknife and the bootstrap for general stationary observations, Annals of
    Statistics 17 (1989): every run of `block_length` neighbours is as likely, and the last one is cut to fit.
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
        return Plan(n, np.array([[0, len(sizes), len(sizes)]], np.int64), order, starts, sizes)
    if strata is not None:
        codes, sizes = encode("strata", column("strata", strata, n, of))
        return Plan(n, _strata(sizes), np.argsort(codes, kind="stable"))
    return Plan(n, np.array([[0, n, n]], np.int64))


def apart(sizes: Any) -> Plan:
    """Several samples one after another, each resampled for itself."""
    return Plan(int(sum(sizes)), _strata(np.asarray(sizes)))


def _strata(sizes: Array) -> Array:
    return np.column_stack([np.cumsum(sizes) - sizes, sizes, sizes]).astype(np.int64)


def _blocks(n: int, length: int, of: str) -> Plan:
    if length > n:
        raise ValueError(f"block_length={length} is more than there are samples in {of}: {n}")
    blocks, whole, rest = n - length + 1, n // length, n % length
    strata = [[0, blocks, whole]] + [[blocks, n - rest + 1, 1]] * (rest > 0)
    starts = np.concatenate([np.arange(blocks), np.arange(n - rest + 1) if rest else np.zeros(0, int)])
    lengths = np.full(len(starts), length)
    lengths[blocks:] = rest
    return Plan(n, np.array(strata, np.int64), None, starts, lengths)
