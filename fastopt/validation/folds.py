"""Which samples are held out: splitters for samples that come in no order. Time has splitters of its own.

scikit-learn's protocol: split(X, y, groups) yields (train, test) positions, get_n_splits says how many. Without
shuffling, the folds of a class that scikit-learn has too are the same as its folds.
"""

from __future__ import annotations

import copy
import inspect
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastopt.conventions import flag
from fastopt.validation.checks import Array, Rng, column, count, encode, optional, rng_like, same_length, samples, warn

Split = tuple[Array, Array]


class Splitter(ABC):
    """What all splitters have: the protocol, copies for a part of the samples, a repr that could be typed in."""

    #: attributes that hold one value per sample
    per_sample: tuple[str, ...] = ()

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yield (train, test): two arrays of positions, each sorted.

        Parameters
        ----------
        X : n samples: array, DataFrame, sparse matrix or list. Only their number counts, and for splitters of time a
            DataFrame's DatetimeIndex.
        y : (n,) classes, for the stratified ones.
        groups : (n,) labels; samples of one group are never on both sides, where the class knows groups.

        Raises ValueError or TypeError, when it is called, for lengths that differ and for what cannot be split.
        """
        n = samples(X)
        same_length(n, y=y, groups=groups)
        return self._splits(n, X, y, groups)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """How many splits there will be. Some splitters have to see the samples first."""
        return int(self.n_splits)  # type: ignore[attr-defined]

    @abstractmethod
    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        """The splits of n samples that agree in length."""

    def subset(self, index: Array) -> Splitter:
        """This splitter for some of the samples: a copy, with its times and end times at these positions."""
        other = copy.copy(self)
        for name in self.per_sample:
            values = getattr(self, name)
            setattr(other, name, None if values is None else np.asarray(values)[index])
        return other

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
    """A seed gives the same folds at every call of split, a Generator goes on where it stands."""
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
    """The splits of samples that carry the number of the fold in which they are held out."""
    small = folds.astype(np.min_scalar_type(n_splits), copy=False)  # fewer bytes to compare
    for fold in range(n_splits):
        held_out = small == fold
        yield np.flatnonzero(~held_out), np.flatnonzero(held_out)


class _KFold(Splitter):
    """n_splits, shuffle and rng, as all k-fold splitters have them."""

    def __init__(self, n_splits: int = 5, *, shuffle: bool = False, rng: Rng = None) -> None:
        self.n_splits = count("n_splits", n_splits, low=2)
        self.shuffle = flag("shuffle", shuffle)
        self.rng = rng_like("rng", rng)
        if rng is not None and not shuffle:
            raise ValueError(f"rng={rng!r} has no effect without shuffle=True")


class KFold(_KFold):
    """k folds of consecutive samples (of shuffled ones with shuffle=True); each is held out once.

    Parameters
    ----------
    n_splits : k >= 2.
    shuffle : deal the samples in a random order.
    rng : None, a seed (the same folds at every call) or a Generator, which the calls draw from one after another.

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
    """Each run of positions between two bounds held out in turn."""
    everything = np.arange(bounds[-1], dtype=np.intp)
    for start, stop in itertools.pairwise(bounds):
        yield np.concatenate([everything[:start], everything[stop:]]), everything[start:stop].copy()


class StratifiedKFold(_KFold):
    """k folds in which every class has, as nearly as its count allows, its share of the whole.

    Fold f gets as many samples of a class as it has among every k-th of the samples sorted by class, from the f-th on;
    the samples of a class are dealt to the folds in the order in which they stand (in a random one with shuffle=True).
    Classes are taken in the order of their first appearance, so that the folds do not depend on their names.

    Raises ValueError if no class has n_splits samples, warns if one has fewer: it is then missing in some folds.
    """

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        enough(self.n_splits, n)
        codes, counts = classes(y, n, self.n_splits)
        first = np.empty(len(counts), np.intp)
        first[codes[::-1]] = np.arange(n - 1, -1, -1)  # the assignment that counts is the last one
        rank = np.argsort(np.argsort(first))
        codes = rank.astype(np.min_scalar_type(len(counts)))[codes]
        order = np.argsort(codes, kind="stable")  # a radix sort, for up to 65,536 classes
        return by_label(self._deal(codes[order], order, len(counts)), self.n_splits)

    def _deal(self, ordered: Array, order: Array, n_classes: int) -> Array:
        """Per sample its fold, from the classes in order."""
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
    """(n,) what can be classes: no times, and no numbers that are not whole."""
    labels = column("y", y, n)
    if labels.dtype.kind in "cmM" or (labels.dtype.kind == "f" and np.any(labels != np.floor(labels))):
        raise ValueError(f"y must hold classes, got {labels.dtype} values such as {labels[0]}")
    return labels


def classes(y: Any, n: int, n_splits: int) -> tuple[Array, Array]:
    """Codes and counts of classes, of which at least one has a sample for each fold."""
    if y is None:
        raise ValueError("y is None: stratified folds need the classes")
    codes, counts = encode("y", class_labels(y, n))
    if n_splits > counts.max():
        raise ValueError(f"n_splits={n_splits} is more than any class in y has samples: at most {counts.max()}")
    if n_splits > counts.min():
        warn(f"the smallest class in y has {counts.min()} samples, fewer than n_splits={n_splits}")
    return codes, counts


def group_codes(groups: Any, n: int, n_splits: int) -> tuple[Array, Array]:
    """Codes and counts of groups, of which there are enough."""
    if groups is None:
        raise ValueError("groups is None: this splitter keeps groups together, it has to know them")
    codes, counts = encode("groups", column("groups", groups, n))
    enough(n_splits, len(counts), "groups")
    return codes, counts


class GroupKFold(_KFold):
    """k folds of about equal size that never divide a group.

    Groups go to the folds from the largest to the smallest, each to the fold that has the fewest samples so far (the
    first of these). With shuffle=True the groups are instead dealt at random, an equal number to each fold.
    """

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
    """k folds that never divide a group and in which classes have, as nearly as that allows, their share of the whole.

    Groups go to the folds from the one with the most uneven classes (the largest standard deviation of its counts) to
    the most even one, each to the fold for which the standard deviation over folds of each class's share, averaged over
    the classes, becomes smallest; of those that are as good, to the fold with the fewest samples. With shuffle=True,
    groups that are equally uneven come in a random order.
    """

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
        """All folds are tried in one pass: trial[f] is the table of counts with the group in fold f."""
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
    """Every sample held out once, alone: n splits, n fits. Little bias, much variance, and O(n²) positions."""

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
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
    """Random parts held out, each split drawn anew: test parts of two splits overlap.

    Parameters
    ----------
    n_splits : how many, >= 1.
    test_size : a share in (0, 1), rounded up, or a count; 0.1 by default, or what train_size leaves.
    train_size : a share, rounded down, or a count; all that test_size leaves by default.
    rng : None, a seed or a Generator.

    Positions are in random order, as scikit-learn's are.
    """

    def __init__(
        self,
        n_splits: int = 10,
        *,
        test_size: float | int | None = None,
        train_size: float | int | None = None,
        rng: Rng = None,
    ) -> None:
        self.n_splits = count("n_splits", n_splits)
        self.test_size = optional(share, "test_size", test_size)
        self.train_size = optional(share, "train_size", train_size)
        self.rng = rng_like("rng", rng)

    def _splits(self, n: int, X: Any, y: Any, groups: Any) -> Iterator[Split]:
        n_train, n_test = self._sizes(n)
        return self._draw(n, n_train, n_test)

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
    """A fraction strictly between 0 and 1, or a count."""
    if isinstance(value, (float, np.floating)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must be a share between 0 and 1, both excluded, or a count, got {value!r}")
        return float(value)
    return count(name, value)


def _of(name: str, value: float | int, n: int, up: bool) -> int:
    if isinstance(value, int):
        return value
    return int(np.ceil(value * n) if up else np.floor(value * n))


class Repeated(Splitter):
    """Another splitter, several times over, shuffled differently each time.

    Parameters
    ----------
    splitter : one that shuffles: KFold(5), StratifiedKFold(5), ... (this package's or scikit-learn's).
    n_repeats : how often, >= 1.
    rng : None, a seed or a Generator; each repetition gets a stream of its own.

    >>> Repeated(KFold(5), n_repeats=3, rng=0).get_n_splits()
    15
    """

    def __init__(self, splitter: Any, n_repeats: int = 10, *, rng: Rng = None) -> None:
        if not hasattr(splitter, "split") or not hasattr(splitter, "shuffle"):
            raise TypeError(f"splitter must be one with shuffle=, as KFold has, got {splitter!r}")
        self.splitter = splitter
        self.n_repeats = count("n_repeats", n_repeats)
        self.rng = rng_like("rng", rng)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
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
