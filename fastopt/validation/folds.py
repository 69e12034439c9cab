"""Splitters for samples without an order in time. time_series.py and purged.py have splitters for time series.

They follow scikit-learn's protocol: split(X, y, groups) yields (train, test) positions, and get_n_splits gives their
number. Without shuffling, folds are the same as those of scikit-learn's class of the same name.
"""

from __future__ import annotations

import copy
import inspect
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastopt._checks import flag, integer, optional, rng_like, warn
from fastopt._optional import require
from fastopt._types import Array, Rng
from fastopt.validation._samples import column, encode, same_length, samples, take

Split = tuple[Array, Array]


class Splitter(ABC):
    """The base class of all splitters: the protocol, subsets, and a repr that is a valid expression."""

    #: attributes that hold one value per sample; split() takes them, too
    per_sample: tuple[str, ...] = ()
    uses_groups = False

    def split(self, X: Any, y: Any = None, groups: Any = None, **per_sample: Any) -> Iterator[Split]:
        """Yield (train, test): two arrays of positions, each sorted.

        Parameters
        ----------
        X : n samples: array, DataFrame, sparse matrix or list. Only their number is used, and by splitters for time
            the DatetimeIndex of a DataFrame.
        y : (n,) classes, for stratified splitters.
        groups : (n,) labels. A splitter that uses groups never puts one group on both sides; another one warns.
        times, end_times : in place of the splitter's own, if it has them. scikit-learn's metadata routing passes them.

        Raises ValueError or TypeError at the call, not at the first split.
        """
        n = samples(X)
        same_length(n, y=y, groups=groups)
        if groups is not None and not self.uses_groups:
            warn(f"The groups parameter is ignored by {type(self).__name__}")
        return self._with(per_sample)._splits(n, X, y, groups)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, **per_sample: Any) -> int:
        """The number of splits. Some splitters need the samples to know it."""
        return int(self.n_splits)  # type: ignore[attr-defined]

    @property
    def random_state(self) -> Any:
        """`rng` under the name by which scikit-learn's searches check that a splitter repeats its splits."""
        return getattr(self, "rng", 0)

    def get_metadata_routing(self) -> Any:
        """What scikit-learn's metadata routing passes to split(): groups, times and end_times, if they are used."""
        routing = require("sklearn.utils.metadata_routing", "metadata routing", "sklearn")
        request = routing.MetadataRequest(owner=self)
        for name in ("groups",) * self.uses_groups + self.per_sample:
            request.split.add_request(param=name, alias=True)
        return request

    def _with(self, per_sample: dict[str, Any]) -> Splitter:
        """This splitter, or a copy of it with other values per sample."""
        if unknown := per_sample.keys() - set(self.per_sample):
            raise TypeError(f"split() of {type(self).__name__} takes no {', '.join(sorted(unknown))}")
        other = copy.copy(self)
        vars(other).update(per_sample)
        return other

    @abstractmethod
    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        """The splits; split() has checked the lengths."""

    def subset(self, index: Array) -> Splitter:
        """A copy of this splitter for the samples at these positions: its times and end times are reduced to them."""
        values = {name: getattr(self, name) for name in self.per_sample}
        return self._with({k: v if v is None else take(v, index) for k, v in values.items()})

    def __repr__(self) -> str:
        shown = []
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            if name == "self":
                continue
            value = getattr(self, name)
            if name in self.per_sample and value is not None:
                shown.append(f"{name}=<{len(value)}>")
            elif parameter.default is inspect.Parameter.empty or not _equal(value, parameter.default):
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _equal(a: Any, b: Any) -> bool:
    return bool(type(a) is type(b) and a == b)


def generator(rng: Rng) -> np.random.Generator:
    """A seed gives the same folds at every call of split; a Generator continues its stream."""
    return np.random.default_rng(rng)


def enough(n_splits: int, n: int, what: str = "samples in X") -> None:
    if n_splits > n:
        raise ValueError(f"n_splits={n_splits} is more than there are {what}: {n}")


def block_bounds(n: int, k: int) -> Array:
    """k + 1 bounds of k runs of 0 … n−1 whose lengths differ by at most one, the longer ones first."""
    sizes = np.full(k, n // k, dtype=np.intp)
    sizes[: n % k] += 1
    return np.concatenate([[0], np.cumsum(sizes)])


def by_label(folds: Array, n_splits: int) -> Iterator[Split]:
    """The splits, from the number of the fold in which each sample is held out."""
    small = folds.astype(np.min_scalar_type(n_splits), copy=False)  # fewer bytes to compare
    for fold in range(n_splits):
        held_out = small == fold
        yield np.flatnonzero(~held_out), np.flatnonzero(held_out)


class _KFold(Splitter):
    """The arguments of all k-fold splitters."""

    def __init__(self, n_splits: int = 5, *, shuffle: bool = False, rng: Rng = None) -> None:
        self.n_splits = integer("n_splits", n_splits, 2)
        self.shuffle = flag("shuffle", shuffle)
        self.rng = rng_like("rng", rng)
        if rng is not None and not shuffle:
            raise ValueError(f"rng={rng!r} has no effect without shuffle=True")


class KFold(_KFold):
    """k folds of consecutive samples, or of shuffled ones; each fold is held out once.

    Beyond scikit-learn's class of this name: faster on many samples, and rng may be a Generator.

    Parameters
    ----------
    n_splits : k >= 2.
    shuffle : assign the samples to folds in a random order.
    rng : None, a seed (the same folds at every call) or a Generator (other folds at every call).

    Folds differ in size by at most one sample, the larger ones first. Not for time series: see BlockedKFold.

    >>> for train, test in KFold(3).split("abcde".split() * 5):
    ...     print(train, test)
    [2 3 4] [0 1]
    [0 1 4] [2 3]
    [0 1 2 3] [4]
    """

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        enough(self.n_splits, n)
        bounds = block_bounds(n, self.n_splits)
        if self.shuffle:
            folds = np.empty(n, np.intp)
            folds[generator(self.rng).permutation(n)] = np.repeat(np.arange(self.n_splits), np.diff(bounds))
            return by_label(folds, self.n_splits)
        return consecutive(bounds.tolist())


def consecutive(bounds: Sequence[int]) -> Iterator[Split]:
    """Hold out the positions between each two consecutive bounds."""
    everything = np.arange(bounds[-1], dtype=np.intp)
    for start, stop in itertools.pairwise(bounds):
        yield np.concatenate([everything[:start], everything[stop:]]), everything[start:stop].copy()


class StratifiedKFold(_KFold):
    """k folds with the same class proportions as the whole, as nearly as the counts allow.

    Beyond scikit-learn's class of this name: faster on many samples, and rng may be a Generator.

    Sort the samples by class. Fold f gets as many samples of a class as there are among the sorted positions f, f + k,
    f + 2k, … The samples of a class go to the folds in their order in y (in a random order with shuffle=True). Classes
    are ordered by their first appearance, so the folds do not depend on the names of the classes.

    Raises ValueError if no class has n_splits samples; warns if a class has fewer, which some folds then lack.
    """

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        enough(self.n_splits, n)
        codes, counts = classes(y, n, self.n_splits)
        first = np.empty(len(counts), np.intp)
        first[codes[::-1]] = np.arange(n - 1, -1, -1)  # if an index is repeated, NumPy keeps the last assignment
        rank = np.argsort(np.argsort(first))
        codes = rank.astype(np.min_scalar_type(len(counts)))[codes]
        order = np.argsort(codes, kind="stable")  # a radix sort, for up to 65,536 classes
        return by_label(self._deal(codes[order], order, len(counts)), self.n_splits)

    def _deal(self, ordered: Array, order: Array, n_classes: int) -> Array:
        """The fold of each sample, from the sorted classes."""
        share = [np.bincount(ordered[f :: self.n_splits], minlength=n_classes) for f in range(self.n_splits)]
        rng = generator(self.rng) if self.shuffle else None
        dealt = []
        for of_class in np.transpose(share):
            folds = np.repeat(np.arange(self.n_splits, dtype=np.min_scalar_type(self.n_splits)), of_class)
            dealt.append(folds if rng is None else rng.permutation(folds))
        result = np.empty(len(order), np.min_scalar_type(self.n_splits))
        result[order] = np.concatenate(dealt)
        return result


def class_labels(y: Any, n: int) -> Array:
    """(n,) class labels; ValueError for times and for numbers that are not whole."""
    labels = column("y", y, n)
    if labels.dtype.kind in "cmM" or (labels.dtype.kind == "f" and np.any(labels != np.floor(labels))):
        raise ValueError(f"y must hold classes, got {labels.dtype} values such as {labels[0]}")
    return labels


def classes(y: Any, n: int, n_splits: int) -> tuple[Array, Array]:
    """Codes and counts of classes; ValueError if every class has fewer than n_splits samples."""
    if y is None:
        raise ValueError("y is None: stratified folds need the classes")
    codes, counts = encode("y", class_labels(y, n))
    if n_splits > counts.max():
        raise ValueError(f"n_splits={n_splits} is more than any class in y has samples: at most {counts.max()}")
    if n_splits > counts.min():
        warn(f"the smallest class in y has {counts.min()} samples, fewer than n_splits={n_splits}")
    return codes, counts


def group_codes(groups: Any, n: int, n_splits: int) -> tuple[Array, Array]:
    """Codes and counts of groups; ValueError if there are fewer than n_splits."""
    if groups is None:
        raise ValueError("groups is None: this splitter keeps groups together and needs them")
    codes, counts = encode("groups", column("groups", groups, n))
    enough(n_splits, len(counts), "groups")
    return codes, counts


class GroupKFold(_KFold):
    """k folds of about equal size; a group is never divided.

    Beyond scikit-learn's class of this name: faster on many samples, and rng may be a Generator.

    Groups are assigned from the largest to the smallest, each to the first fold with the fewest samples so far. With
    shuffle=True they are assigned at random, an equal number of groups to each fold.
    """

    uses_groups = True

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        codes, counts = group_codes(groups, n, self.n_splits)
        folds = np.empty(len(counts), np.min_scalar_type(self.n_splits))
        if self.shuffle:
            bounds = block_bounds(len(counts), self.n_splits)
            folds[generator(self.rng).permutation(len(counts))] = np.repeat(
                np.arange(self.n_splits, dtype=folds.dtype), np.diff(bounds)
            )
            return by_label(folds[codes], self.n_splits)
        filled = [0] * self.n_splits
        for group in np.argsort(counts, kind="stable")[::-1].tolist():
            lightest = filled.index(min(filled))
            filled[lightest] += int(counts[group])
            folds[group] = lightest
        return by_label(folds[codes], self.n_splits)


class StratifiedGroupKFold(_KFold):
    """k folds that never divide a group, with class proportions as near to those of the whole as that allows.

    Beyond scikit-learn's class of this name: faster on many samples, and rng may be a Generator.

    Groups are assigned one by one, by decreasing standard deviation of their class counts (equal ones in a random order
    with shuffle=True). Each goes to the fold that makes this number smallest: the standard deviation over folds of a
    class's share, averaged over the classes. Of equally good folds, the one with the fewest samples gets it.
    """

    uses_groups = True

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        labels, of_class = classes(y, n, self.n_splits)
        codes, counts = group_codes(groups, n, self.n_splits)
        cells = np.bincount(codes * len(of_class) + labels, minlength=len(counts) * len(of_class))
        table = cells.reshape(len(counts), len(of_class)).astype(float)
        order = generator(self.rng).permutation(len(counts)) if self.shuffle else np.arange(len(counts))
        order = order[np.argsort(-np.std(table[order], axis=1), kind="stable")]
        folds = np.empty(len(counts), np.min_scalar_type(self.n_splits))
        filled = np.zeros((self.n_splits, len(of_class)))
        for group in order:
            best = self._best_fold(filled, table[group], of_class)
            filled[best] += table[group]
            folds[group] = best
        return by_label(folds[codes], self.n_splits)

    def _best_fold(self, filled: Array, group: Array, of_class: Array) -> int:
        """The fold for this group. trial[f] is the table of counts (folds, classes) with the group in fold f."""
        k = self.n_splits
        trial = np.repeat(filled[None], k, axis=0)
        trial[np.arange(k), np.arange(k)] += group
        uneven = np.std(trial / of_class, axis=1).mean(axis=1).tolist()
        sizes = filled.sum(axis=1).tolist()
        best = 0
        for f in range(1, k):
            as_good = abs(uneven[f] - uneven[best]) <= 1e-8 + 1e-5 * abs(uneven[best])
            if uneven[f] < uneven[best] or (as_good and sizes[f] < sizes[best]):
                best = f
        return best


class LeaveOneOut(Splitter):
    """Hold out each sample once, alone: n splits and n fits. Low bias, high variance, O(n²) positions in total.

    Beyond scikit-learn's class of this name: an error, and not an empty training set, for a single sample.
    """

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, **per_sample: Any) -> int:
        if X is None:
            raise ValueError("X is None: LeaveOneOut has as many splits as X has samples")
        return samples(X)

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        if n < 2:
            raise ValueError(f"X has {n} samples: leaving one out leaves nothing to train on")
        return consecutive(range(n + 1))

    def __repr__(self) -> str:
        return "LeaveOneOut()"


class ShuffleSplit(Splitter):
    """Hold out random samples, drawn anew for each split: the test sets of two splits may overlap.

    Beyond scikit-learn's class of this name: rng may be a Generator.

    Parameters
    ----------
    n_splits : how many, >= 1.
    test_size : a share in (0, 1), rounded up, or a count; default 0.1, or all samples that train_size leaves.
    train_size : a share, rounded down, or a count; default all samples that test_size leaves.
    rng : None, a seed or a Generator.

    Positions are in random order, as in scikit-learn.
    """

    def __init__(
        self,
        n_splits: int = 10,
        *,
        test_size: float | int | None = None,
        train_size: float | int | None = None,
        rng: Rng = None,
    ) -> None:
        self.n_splits = integer("n_splits", n_splits, 1)
        self.test_size = optional(share, "test_size", test_size)
        self.train_size = optional(share, "train_size", train_size)
        self.rng = rng_like("rng", rng)

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        return self._draw(n, *self._sizes(n))

    def _draw(self, n: int, n_train: int, n_test: int) -> Iterator[Split]:
        rng = generator(self.rng)
        for _ in range(self.n_splits):
            order = rng.permutation(n)
            yield order[n_test : n_test + n_train], order[:n_test]

    def _sizes(self, n: int) -> tuple[int, int]:
        test = 0.1 if self.test_size is None and self.train_size is None else self.test_size
        n_train = optional(_of, "train_size", self.train_size, n=n, up=False)
        n_test = n - n_train if test is None else _of("test_size", test, n=n, up=True)
        n_train = n - n_test if n_train is None else n_train
        if n_train < 1 or n_test < 1 or n_train + n_test > n:
            raise ValueError(
                f"test_size={self.test_size} and train_size={self.train_size} would hold out {n_test} of {n} samples "
                f"in X and train on {n_train}"
            )
        return n_train, n_test


def share(name: str, value: Any) -> float | int:
    """A float in (0, 1), or a count >= 1."""
    if isinstance(value, (float, np.floating)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must be a share between 0 and 1, both excluded, or a count, got {value!r}")
        return float(value)
    return integer(name, value, 1)


def _of(name: str, value: float | int, n: int, up: bool) -> int:
    if isinstance(value, int):
        return value
    return int(np.ceil(value * n) if up else np.floor(value * n))


class Repeated(Splitter):
    """Repeat another splitter, shuffled differently each time.

    Parameters
    ----------
    splitter : one with shuffle=, of this package or of scikit-learn: KFold(5), StratifiedKFold(5), …
    n_repeats : >= 1.
    rng : None, a seed or a Generator; each repetition gets its own stream.

    >>> Repeated(KFold(5), n_repeats=3, rng=0).get_n_splits()
    15
    """

    def __init__(self, splitter: Any, n_repeats: int = 10, *, rng: Rng = None) -> None:
        if not hasattr(splitter, "split") or not hasattr(splitter, "shuffle"):
            raise TypeError(f"splitter must be one with shuffle=, as KFold has, got {splitter!r}")
        self.splitter = splitter
        self.n_repeats = integer("n_repeats", n_repeats, 1)
        self.rng = rng_like("rng", rng)
        self.uses_groups = getattr(splitter, "uses_groups", True)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, **per_sample: Any) -> int:
        return int(self.n_repeats * self.splitter.get_n_splits(X, y, groups))

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        generators = generator(self.rng).spawn(self.n_repeats)
        for rng in generators:
            again = copy.copy(self.splitter)
            again.shuffle = True
            if isinstance(again, Splitter):
                again.rng = rng  # type: ignore[attr-defined]
            else:
                again.random_state = int(rng.integers(2**31))
            yield from again.split(X, y, groups)
