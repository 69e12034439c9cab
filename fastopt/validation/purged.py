"""Splitters into blocks of samples sorted by time, with gaps or purged labels, and a report of leakage.

A label depends on the time from its sample's time to its end time, both included: the return of the next five days
depends on five days. Training labels that overlap the test set's labels are left out (purged).
Source: López de Prado, Advances in Financial Machine Learning (2018), chapters 7 and 12.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import integer
from fastopt._types import Array
from fastopt.validation._samples import as_times, column, is_duration, samples, size, sorted_times, times_of
from fastopt.validation.cross_validation import splits_of
from fastopt.validation.folds import Split, Splitter, block_bounds, enough
from fastopt.validation.time_series import apart


class _Purged(Splitter):
    """Blocks of consecutive samples; training leaves out their neighbourhood in time."""

    per_sample: tuple[str, ...] = ("times", "end_times")
    uses_groups = True
    embargo: Any = 0

    def _set_labels(self, times: Any, end_times: Any, horizon: Any, embargo: Any) -> None:
        self.times = times
        self.end_times = end_times
        self.horizon: Any = None if horizon is None else size("horizon", horizon, low=0)
        if isinstance(embargo, (float, np.floating)):
            if not 0.0 <= embargo < 1.0:
                raise ValueError(f"embargo as a share must be in [0, 1), got {embargo!r}")
            self.embargo = float(embargo)
        else:
            self.embargo = size("embargo", embargo, low=0)
        if (end_times is None) == (horizon is None):
            raise ValueError("give end_times or horizon: when does a label end? (horizon=0: at its own time)")

    def _intervals(self, n: int, X: Any) -> tuple[Array, Array]:
        """(start, end) of each label: times, or positions if there are no times."""
        times_of(self.times, X, n, self.embargo, "an embargo")
        times = times_of(self.times, X, n, self.horizon, "a horizon")
        if self.end_times is not None:
            if times is None:
                raise ValueError("times is None: end_times have to be compared with the times of the samples")
            return times, end_times_of(self.end_times, times)
        if times is None:
            return np.arange(n), np.arange(n) + self.horizon
        if is_duration(self.horizon):
            return times, times + self.horizon
        return times, times[np.minimum(np.arange(n) + self.horizon, n - 1)]

    def _outside(self, start: Array, end: Array, block: tuple[int, int]) -> Array:
        """(n,) mask of the samples that may be trained on while this block is tested."""
        first, stop = block
        opens, closes = start[first], end[first:stop].max()
        after = int(np.searchsorted(start, closes, side="right"))
        keep = np.empty(len(start), bool)
        keep[:first] = end[:first] < opens
        keep[first:] = False
        keep[max(self._end_of_embargo(start, closes, after), stop) :] = True
        return keep

    def _end_of_embargo(self, start: Array, closes: Any, after: int) -> int:
        if is_duration(self.embargo):
            return int(np.searchsorted(start, closes + self.embargo, side="right"))
        if isinstance(self.embargo, float):
            return after + int(self.embargo * len(start))  # rounded down, as in the book
        return after + int(self.embargo)

    def _combine(self, n: int, X: Any, groups: Any, n_folds: int, chosen: list[tuple[int, ...]]) -> Iterator[Split]:
        """One split per choice of test blocks."""
        start, end = self._intervals(n, X)
        bounds, times = block_bounds(n, n_folds), times_of(self.times, X, n)
        if times is not None:  # rows of one timestamp stay in one block
            bounds = np.searchsorted(np.searchsorted(times, times), bounds)
            if (np.diff(bounds) == 0).any():
                distinct = len(np.unique(times))
                raise ValueError(f"{n_folds} blocks of whole times: one of them would be empty, with {distinct} times")
        blocks = list(itertools.pairwise(bounds.tolist()))
        keep = [self._outside(start, end, block) for block in blocks]
        labels = None if groups is None else column("groups", groups, n)
        for i, folds in enumerate(chosen):
            if not np.logical_and.reduce([keep[f] for f in folds]).any():
                raise ValueError(f"{self!r} would leave nothing to train on in split {i}")
        return apart(
            (
                np.flatnonzero(np.logical_and.reduce([keep[f] for f in folds])),
                np.concatenate([np.arange(*blocks[f], dtype=np.intp) for f in folds]),
                labels,
            )
            for folds in chosen
        )


class PurgedKFold(_Purged):
    """k blocks of consecutive samples, each held out once, without training labels that overlap the block in time.

    A test block lasts from the time of its first sample to the latest of its end times. A sample is trained on if its
    label ends before the block begins, or if it begins after the block and its embargo have ended.

    Parameters
    ----------
    n_splits : k >= 2.
    times : (n,) datetime64 or numbers, sorted: the time of each sample. Default: the DatetimeIndex of a DataFrame X.
    end_times : (n,) of the same kind, each at or after its time: the end of the period that the label depends on.
    horizon : instead of end_times, if all labels have the same length: a count of samples or a duration.
    embargo : also left out after a test block, since features may contain past values: a share of the n samples (a
        float in [0, 1)), a count of samples or a duration.

    O(n log n) for all folds together. If split() is given groups, training samples of groups in the block are left out.

    Raises ValueError for unsorted times, NaT, lengths that differ, labels that end before they begin.

    >>> for train, test in PurgedKFold(3, horizon=1, embargo=1).split(range(9)):
    ...     print(train, test)
    [5 6 7 8] [0 1 2]
    [0 1 8] [3 4 5]
    [0 1 2 3 4] [6 7 8]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        times: Any = None,
        end_times: Any = None,
        horizon: Any = None,
        embargo: Any = 0,
    ) -> None:
        self.n_splits = integer("n_splits", n_splits, 2)
        self._set_labels(times, end_times, horizon, embargo)

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        enough(self.n_splits, n)
        return self._combine(n, X, groups, self.n_splits, [(f,) for f in range(self.n_splits)])


class BlockedKFold(_Purged):
    """k blocks of consecutive samples, each held out once; training leaves out a gap before and after the block.

    Neighbours in time are correlated: without the gap, test samples would resemble training samples too closely. Later
    samples are trained on, too, so this estimates the error of a model of the process, not of a forecast.

    Parameters
    ----------
    n_splits : k >= 2.
    gap : samples left out on each side of the block, or a duration (both ends included).
    times : (n,) datetime64, sorted; for a gap that is a duration. Default: the DatetimeIndex of a DataFrame X.

    If split() is given groups, training samples of groups in the block are left out.

    Source: h-block cross-validation, Burman, Chow and Nolan (1994); hv-block, Racine (2000).

    >>> for train, test in BlockedKFold(3, gap=1).split(range(9)):
    ...     print(train, test)
    [4 5 6 7 8] [0 1 2]
    [0 1 7 8] [3 4 5]
    [0 1 2 3 4] [6 7 8]
    """

    per_sample = ("times",)

    def __init__(self, n_splits: int = 5, *, gap: Any = 0, times: Any = None) -> None:
        self.n_splits = integer("n_splits", n_splits, 2)
        self.gap: Any = size("gap", gap, low=0)
        self.times = times

    def _intervals(self, n: int, X: Any) -> tuple[Array, Array]:
        """A label from its time to the gap's end: purging it leaves out the gap on both sides of a block."""
        times = times_of(self.times, X, n, self.gap, "a gap")
        places = times if times is not None and is_duration(self.gap) else np.arange(n)
        return places, places + self.gap

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        enough(self.n_splits, n)
        return self._combine(n, X, groups, self.n_splits, [(f,) for f in range(self.n_splits)])


class CombinatorialPurgedKFold(_Purged):
    """Every choice of `n_test_folds` of `n_folds` blocks held out, purged and embargoed as in PurgedKFold.

    There are C(N, k) splits in lexicographic order. Every block is tested C(N−1, k−1) times, so the predictions form as
    many complete backtest paths. `paths()` gives the splits that make up each path.

    Parameters
    ----------
    n_folds : N >= 3.
    n_test_folds : k in [1, N).
    times, end_times, horizon, embargo : as for PurgedKFold.

    >>> cv = CombinatorialPurgedKFold(4, 2, horizon=0)
    >>> cv.get_n_splits(), cv.n_paths
    (6, 3)
    """

    def __init__(
        self,
        n_folds: int = 6,
        n_test_folds: int = 2,
        *,
        times: Any = None,
        end_times: Any = None,
        horizon: Any = None,
        embargo: Any = 0,
    ) -> None:
        self.n_folds = integer("n_folds", n_folds, 3)
        self.n_test_folds = integer("n_test_folds", n_test_folds, 1)
        if self.n_test_folds >= self.n_folds:
            raise ValueError(f"n_test_folds={n_test_folds} must be less than n_folds={n_folds}")
        self._set_labels(times, end_times, horizon, embargo)

    @property
    def n_splits(self) -> int:
        return math.comb(self.n_folds, self.n_test_folds)

    @property
    def n_paths(self) -> int:
        return math.comb(self.n_folds - 1, self.n_test_folds - 1)

    def test_folds(self) -> list[tuple[int, ...]]:
        """The blocks that each split holds out."""
        return list(itertools.combinations(range(self.n_folds), self.n_test_folds))

    def paths(self) -> Array:
        """(n_paths, n_folds): path i takes the predictions of block j from split paths()[i, j]."""
        served: list[list[int]] = [[] for _ in range(self.n_folds)]
        for split, folds in enumerate(self.test_folds()):
            for fold in folds:
                served[fold].append(split)
        return np.array(served).T

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        if self.n_folds > n:
            raise ValueError(f"n_folds={self.n_folds} is more than there are samples in X: {n}")
        return self._combine(n, X, groups, self.n_folds, self.test_folds())


def end_times_of(values: Any, times: Array) -> Array:
    """(n,) end times; an error if their kind differs from that of the times, or one is before its time."""
    end = as_times("end_times", values, len(times))
    if (end.dtype.kind == "M") != (times.dtype.kind == "M"):
        raise TypeError(f"end_times are {end.dtype}, times are {times.dtype}")
    wrong = np.flatnonzero(end < times)
    if wrong.size:
        i = int(wrong[0])
        raise ValueError(f"end_times[{i}] = {end[i]} is before times[{i}] = {times[i]}")
    return end


@dataclass(frozen=True, eq=False)
class Leakage:
    """What `leakage` found: numbers of samples, one entry per split.

    n_train, n_test : sizes.
    overlapping : training samples whose label overlaps the label of a test sample in time.
    touched : test samples whose label overlaps the label of a training sample.
    future : training samples later than the first test sample; a forecast could not use them.
    """

    n_train: Array
    n_test: Array
    overlapping: Array
    touched: Array
    future: Array

    @property
    def clean(self) -> bool:
        """Whether no training label overlaps a test label. Later samples may still be trained on: see `future`."""
        return not self.overlapping.any()

    def __repr__(self) -> str:
        head = f"{'split':>5} {'train':>9} {'test':>9} {'overlapping':>20} {'test touched':>20} {'future':>20}"
        lines = [head]
        for i in range(len(self.n_train)):
            train, test = int(self.n_train[i]), int(self.n_test[i])
            cells = [_share(self.overlapping[i], train), _share(self.touched[i], test), _share(self.future[i], train)]
            lines.append(f"{i:>5} {train:>9,} {test:>9,} " + " ".join(f"{cell:>20}" for cell in cells))
        lines.append("no training label overlaps a test label" if self.clean else "training labels overlap test labels")
        return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{int(part):,} ({100 * part / whole:.1f} %)" if whole else "0"


def leakage(splitter: Any, times: Any, end_times: Any, X: Any = None, y: Any = None, groups: Any = None) -> Leakage:
    """Count the training labels of a splitter that overlap test labels, if labels last from times to end_times.

    Parameters
    ----------
    splitter : any with split(X, y, groups), or a list of (train, test), positions or masks.
    times, end_times : (n,) datetime64 or numbers, times sorted.
    X, y, groups : arguments of split(); X is the times by default.

    O(n log n) per split. Intervals are closed: two labels overlap if they share an instant.

    >>> from fastopt.validation import KFold
    >>> report = leakage(KFold(5), np.arange(100), np.arange(100) + 4)
    >>> report.overlapping.tolist(), PurgedKFold(5, horizon=4).get_n_splits()
    ([4, 8, 8, 8, 4], 5)
    """
    start = sorted_times("times", times, samples(times, "times"))
    end = end_times_of(end_times, start)
    splits = splits_of(splitter, start if X is None else X, y, groups, name="splitter")
    rows = [_leaks(start, end, train, test) for train, test in splits]
    return Leakage(*np.array(rows).reshape(-1, 5).T)


def _leaks(start: Array, end: Array, train: Array, test: Array) -> tuple[int, ...]:
    train, test = np.sort(train), np.sort(test)
    overlapping = meets(start[train], end[train], start[test], end[test])
    touched = meets(start[test], end[test], start[train], end[train])
    future = start[train] > start[test].min()
    return len(train), len(test), int(overlapping.sum()), int(touched.sum()), int(future.sum())


def meets(start: Array, end: Array, other_start: Array, other_end: Array) -> Array:
    """(n,) mask of the closed intervals that share an instant with at least one of the others.

    The starts of the others must be sorted. An interval overlaps if, among the others that begin before it ends, the
    latest end is not before its own start.
    """
    latest = np.maximum.accumulate(other_end)
    begun = np.searchsorted(other_start, end, side="right")
    found: Array = (begun > 0) & (latest[np.maximum(begun, 1) - 1] >= start)
    return found
