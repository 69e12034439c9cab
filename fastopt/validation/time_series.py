"""Splitters for samples sorted by time: windows that train on the past alone. purged.py has splitters into blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastopt._checks import integer, one_of, optional
from fastopt._types import Array
from fastopt.validation._samples import column, encode, is_duration, size, times_of
from fastopt.validation.folds import Split, Splitter

Length = Any  # int or timedelta64


class _Windows(Splitter):
    """Training windows that end before the test window begins."""

    per_sample = ("times",)
    uses_groups = True
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
        self.n_splits = optional(integer, "n_splits", n_splits, 1)
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

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, **per_sample: Any) -> int:
        if self.n_splits is not None:
            return int(self.n_splits)
        if X is None:
            raise ValueError("X is None: without n_splits, the number of windows depends on the samples")
        return sum(1 for _ in self.split(X, y, groups, **per_sample))

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        at, start, end = self._axis(n, X, groups)
        windows = [self._positions(at, *window) for window in self._layout(start, end)]
        for i, (first, stop, test, test_stop) in enumerate(windows):
            if first == stop or test == test_stop:
                part = "training" if first == stop else "test"
                raise ValueError(f"window {i} has an empty {part} set: there are no samples in X at that time")
        labels = None if groups is None else column("groups", groups, n)
        everything = np.arange(n, dtype=np.intp)
        everything.flags.writeable = False  # the windows are views of it, which callers must not change
        return apart((everything[a:b], everything[c:d], labels) for a, b, c, d in windows)

    def _axis(self, n: int, X: Any, groups: Any) -> tuple[Any, Any, Any]:
        """(place of each sample, start, end): in groups or in time; None for the place means its position."""
        if n < 2:
            raise ValueError(f"X has {n} samples: there is no past to train on")
        times = times_of(self.times, X, n, self.test_size if self._by_duration else None, "windows")
        if self.by == "groups":
            codes = ordered_groups(groups, n)
            return codes, 0, int(codes[-1]) + 1
        if not self._by_duration or times is None:  # a bound inside of one timestamp moves to the next timestamp
            return (None if times is None else np.searchsorted(times, times)), 0, n
        steps = np.diff(times)
        steps = np.sort(steps[steps > np.timedelta64(0, "ns")])
        if not steps.size:
            raise ValueError(f"times are all the same: {times[0]}")
        return times, times[0], times[-1] + steps[len(steps) // 2]

    def _layout(self, start: Any, end: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
        """(training start, training end, test start, test end) of each window; ends are excluded."""
        test = self.test_size if self.test_size is not None else self._equal_test_size(end)
        step = test if self.step is None else self.step
        gap = self.gap or 0 * test  # 0 in the unit of the other sizes
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
        """n // (n_splits + 1); the first training set also gets the remainder."""
        return max(n // (int(self.n_splits) + 1), 1)

    def _too_many(self, start: Any, end: Any) -> str:
        what = "groups" if self.by == "groups" else "samples in X"
        there = f"{end - start} of time" if self._by_duration else f"{end - start} {what}"
        asked = {name: getattr(self, name) for name in ("n_splits", "train_size", "test_size", "step", "gap")}
        return f"{', '.join(f'{k}={v}' for k, v in asked.items() if v is not None)} do not fit into {there}"

    def _positions(self, at: Any, *bounds: Any) -> tuple[int, ...]:
        return tuple(int(bound if at is None else np.searchsorted(at, bound)) for bound in bounds)


class ExpandingWindow(_Windows):
    """Train on all of the past and test on what follows. The training window grows with each split.

    Each split trains on [start, cut), leaves out `gap`, and tests on the next `test_size`. The cut moves by `step`.

    Parameters
    ----------
    n_splits : the number of windows; the last one ends with the data. None: as many as fit, counted from the start.
    train_size : the length of the first training window. Required if n_splits is None.
    test_size, step : the length of a test window, and how far it moves (default: test_size). With n_splits alone, the
        data are divided into n_splits + 1 equal parts, as in scikit-learn's TimeSeriesSplit.
    gap : left out between training and test, >= 0.
    by : "samples", or "groups": then sizes count groups, and each group must be consecutive in time.
    times : (n,) datetime64, sorted; needed for durations. Default: the DatetimeIndex of a DataFrame X.

    Sizes are all counts, or all durations with a fixed length (timedelta64, timedelta, pandas.Timedelta). Windows by
    duration are half-open intervals [from, to); the time axis ends one median spacing after the last sample.
    If split() is given groups, training samples of groups in the test window are left out.

    >>> for train, test in ExpandingWindow(train_size=2, test_size=2, gap=1).split(range(8)):
    ...     print(train, test)
    [0 1] [3 4]
    [0 1 2 3] [5 6]
    """

    expanding = True


class SlidingWindow(_Windows):
    """Train on the last `train_size` before the gap and test on what follows. Older samples are not used.

    The parameters are those of ExpandingWindow. With train_size=None every window trains on all of the past.

    >>> for train, test in SlidingWindow(train_size=3, test_size=2).split(range(8)):
    ...     print(train, test)
    [0 1 2] [3 4]
    [2 3 4] [5 6]
    """

    expanding = False


def apart(sets: Iterator[tuple[Array, Array, Any]]) -> Iterator[Split]:
    """Remove training samples whose group is in the test set; ValueError if no training sample remains."""
    for i, (train, test, groups) in enumerate(sets):
        if groups is not None:
            train = train[~np.isin(groups[train], groups[test])]
            if not train.size:
                raise ValueError(f"groups leave nothing to train on in split {i}: all of its groups are tested")
        yield train, test


def ordered_groups(groups: Any, n: int) -> Array:
    """(n,) 0, 1, … in the order of time; ValueError if a group is interrupted by another one."""
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
