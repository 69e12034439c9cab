"""Held out in the order of time: windows that train on the past alone, and blocks with gaps on both sides.

Samples must be sorted by time. Knows no labels that last: for those see purged.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from fastopt.validation.checks import Array, column, count, encode, is_duration, one_of, optional, size, times_of
from fastopt.validation.folds import Split, Splitter, block_bounds, enough

Length = Any  # int or timedelta64


class _Windows(Splitter):
    """Training windows that end before the test window begins."""

    per_sample = ("times",)
    expanding: bool

    def __init__(
        self,
        n_splits: int | None = None,
        *,
        train_size: Length = None,
        test_size: Length = None,
        step: Length = None,
        gap: Length = 0,
        by: str = "samples",
        times: Any = None,
    ) -> None:
        self.n_splits = optional(count, "n_splits", n_splits)
        self.train_size = optional(size, "train_size", train_size)
        self.test_size = optional(size, "test_size", test_size)
        self.step = optional(size, "step", step)
        self.gap = size("gap", gap, low=0)
        self.by = one_of("by", by, ("samples", "groups"))
        self.times = times
        self._check_kinds()

    def _check_kinds(self) -> None:
        if self.n_splits is None and (self.train_size is None or self.test_size is None):
            raise ValueError("n_splits is None: then train_size and test_size have to be given")
        given = {name: getattr(self, name) for name in ("train_size", "test_size", "step", "gap")}
        given = {name: v for name, v in given.items() if v is not None and not (name == "gap" and v == 0 * v)}
        durations = [name for name, v in given.items() if is_duration(v)]
        counts = [name for name in given if name not in durations]
        if durations and counts:
            raise TypeError(f"{durations[0]} is a duration and {counts[0]} is a count: give all as one or the other")
        self._by_duration = bool(durations)
        if durations and self.by == "groups":
            raise ValueError(f"by='groups' counts groups, {durations[0]}={given[durations[0]]!r} is a duration")
        if durations and self.test_size is None:
            raise ValueError("test_size is None: with durations it has to be one")

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        if self.n_splits is not None:
            return int(self.n_splits)
        if X is None:
            raise ValueError("X is None: without n_splits, the number of windows depends on the samples")
        return sum(1 for _ in self.split(X, y, groups))

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        at, start, end = self._axis(n, X, groups)
        windows = [self._positions(at, *window) for window in self._layout(start, end)]
        for i, (first, stop, test, test_stop) in enumerate(windows):
            if first == stop or test == test_stop:
                part = "training" if first == stop else "test"
                raise ValueError(f"window {i} has an empty {part} set: there are no samples in X at that time")
        labels = None if groups is None else column("groups", groups, n)
        everything = np.arange(n, dtype=np.intp)
        everything.flags.writeable = False  # the windows are views of it: no copies, and nothing to spoil
        return apart((everything[a:b], everything[c:d], labels) for a, b, c, d in windows)

    def _axis(self, n: int, X: Any, groups: Any) -> tuple[Any, Any, Any]:
        """Where each sample is, in groups or in time (None: at its position), where the first begins, the last ends."""
        if n < 2:
            raise ValueError(f"X has {n} samples: there is no past to train on")
        times = times_of(self.times, X, n)
        if self.by == "groups":
            codes = ordered_groups(groups, n)
            return codes, 0, int(codes[-1]) + 1
        if not self._by_duration:
            return None, 0, n
        if times is None or times.dtype.kind != "M":
            raise ValueError("times is None or no datetime64: windows by duration need the time of each sample")
        steps = np.diff(times)
        steps = np.sort(steps[steps > np.timedelta64(0, "ns")])
        if not steps.size:
            raise ValueError(f"times are all the same: {times[0]}")
        return times, times[0], times[-1] + steps[len(steps) // 2]

    def _layout(self, start: Any, end: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Per window: training from, training to, test from, test to; the ends excluded."""
        test = self.test_size if self.test_size is not None else self._equal_test_size(end)
        step = test if self.step is None else self.step
        gap = self.gap or 0 * test  # no gap, in the unit of the others
        last = end - test
        first = start + self.train_size + gap if self.n_splits is None else last - (self.n_splits - 1) * step
        needed = start + gap + (self.train_size if self.train_size is not None else 0 * step)
        if first < needed or first > last or (self.train_size is None and first <= needed):
            raise ValueError(self._too_many(start, end))
        while first <= last:
            stop = first - gap
            yield (
                (start if self.expanding or self.train_size is None else stop - self.train_size),
                stop,
                first,
                (first + test),
            )
            first = first + step

    def _equal_test_size(self, n: int) -> int:
        """As many as a training set has at least: n samples are n_splits + 1 equal parts, the rest goes to training."""
        return max(n // (int(self.n_splits) + 1), 1)

    def _too_many(self, start: Any, end: Any) -> str:
        what = "groups" if self.by == "groups" else "samples in X"
        there = f"{end - start} of time" if self._by_duration else f"{end - start} {what}"
        asked = {name: getattr(self, name) for name in ("n_splits", "train_size", "test_size", "step", "gap")}
        return f"{', '.join(f'{k}={v}' for k, v in asked.items() if v is not None)} do not fit into {there}"

    def _positions(self, at: Any, *bounds: Any) -> tuple[int, ...]:
        return tuple(int(bound if at is None else np.searchsorted(at, bound)) for bound in bounds)


class ExpandingWindow(_Windows):
    """Train on all of the past, test on what comes next; then the tested part joins the past.

    With a cut moving by `step`: train on [start, cut), leave out `gap`, test on `test_size`.

    Parameters
    ----------
    n_splits : how many windows, the last of which ends with the data. None: as many as fit, from the start on.
    train_size : what the first window trains on. With n_splits None it has to be given.
    test_size, step : what a window tests, and how far it moves (by what it tests). With n_splits alone, the data are
        n_splits + 1 equal parts, as in scikit-learn's TimeSeriesSplit.
    gap : left out between training and test, 0 or more.
    by : "samples", or "groups": then the sizes count groups, which must follow one another in time.
    times : (n,) datetime64, sorted; needed when sizes are durations. A DataFrame's DatetimeIndex serves as well.

    Sizes are all counts, or all durations with a fixed length (timedelta64, timedelta, pandas.Timedelta). Durations lay
    half-open windows [from, to) on the axis of time, which ends one median spacing after the last sample.
    When split() is given groups, training samples of groups that occur in the test window are left out.

    >>> for train, test in ExpandingWindow(train_size=2, test_size=2, gap=1).split(range(8)):
    ...     print(train, test)
    [0 1] [3 4]
    [0 1 2 3] [5 6]
    """

    expanding = True


class SlidingWindow(_Windows):
    """Train on the `train_size` before the gap and test on what comes next: the past that is too old is forgotten.

    The parameters are those of ExpandingWindow; every window trains on `train_size` (on all of the past if it is None).

    >>> for train, test in SlidingWindow(train_size=3, test_size=2).split(range(8)):
    ...     print(train, test)
    [0 1 2] [3 4]
    [2 3 4] [5 6]
    """

    expanding = False


class BlockedKFold(Splitter):
    """k blocks of consecutive samples, each held out once; training leaves out a gap before and after the block.

    Neighbours in time resemble each other: without the gap a model is tested on what it has nearly seen. The future is
    trained on, so that this measures how a model of the process does, not how a forecast does.

    Parameters
    ----------
    n_splits : k >= 2.
    gap : samples left out on each side of the block, or a duration (both ends included).
    times : (n,) datetime64, sorted; for a gap that is a duration. A DataFrame's DatetimeIndex serves as well.

    When split() is given groups, training samples of groups that occur in the block are left out.

    Source: h-block cross-validation, Burman, Chow and Nolan (1994); hv-block, Racine (2000).

    >>> for train, test in BlockedKFold(3, gap=1).split(range(9)):
    ...     print(train, test)
    [4 5 6 7 8] [0 1 2]
    [0 1 7 8] [3 4 5]
    [0 1 2 3 4] [6 7 8]
    """

    per_sample = ("times",)

    def __init__(self, n_splits: int = 5, *, gap: Length = 0, times: Any = None) -> None:
        self.n_splits = count("n_splits", n_splits, low=2)
        self.gap: Any = size("gap", gap, low=0)
        self.times = times

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        enough(self.n_splits, n)
        times = times_of(self.times, X, n)
        if is_duration(self.gap) and (times is None or times.dtype.kind != "M"):
            raise ValueError("times is None or no datetime64: a gap by duration needs the time of each sample")
        blocks = list(pairwise(block_bounds(n, self.n_splits).tolist()))
        labels = None if groups is None else column("groups", groups, n)
        sets = []
        for i, (start, stop) in enumerate(blocks):
            before, after = self._gap_ends(n, times, start, stop)
            if before == 0 and after == n:
                raise ValueError(f"gap={self.gap} leaves nothing to train on beside block {i} of X")
            sets.append((before, after, start, stop))
        return apart((_range(0, a, b, n), _range(c, d), labels) for a, b, c, d in sets)

    def _gap_ends(self, n: int, times: Any, start: int, stop: int) -> tuple[int, int]:
        """Training ends before the one and begins again at the other."""
        if not is_duration(self.gap):
            return max(start - self.gap, 0), min(stop + self.gap, n)
        before = np.searchsorted(times, times[start] - self.gap, side="left")
        after = np.searchsorted(times, times[stop - 1] + self.gap, side="right")
        return min(int(before), start), max(int(after), stop)


def _range(*bounds: int) -> Array:
    """Positions in [a, b), or in [a, b) and [c, d)."""
    return np.concatenate([np.arange(a, b, dtype=np.intp) for a, b in zip(bounds[::2], bounds[1::2], strict=True)])


def apart(sets: Iterator[tuple[Array, Array, Any]]) -> Iterator[Split]:
    """(train, test) without the training samples of groups that are tested; nothing left to train on is an error."""
    for i, (train, test, groups) in enumerate(sets):
        if groups is not None:
            train = train[~np.isin(groups[train], groups[test])]
            if not train.size:
                raise ValueError(f"groups leave nothing to train on in split {i}: all of its groups are tested")
        yield train, test


def ordered_groups(groups: Any, n: int) -> Array:
    """0, 1, … in the order of time; a group must not come back after another one."""
    if groups is None:
        raise ValueError("groups is None: by='groups' counts them")
    labels = column("groups", groups, n)
    codes, counts = encode("groups", labels)
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    if len(starts) != len(counts):
        seen = np.unique(codes[starts], return_index=True)[1]
        again = int(starts[np.setdiff1d(np.arange(len(starts)), seen)[0]])
        raise ValueError(f"groups must follow one another in time: groups[{again}] = {labels[again]!r} comes back")
    return np.cumsum(np.isin(np.arange(n), starts)) - 1
