"""Splitters without an order in time: against scikit-learn, against their definition, and bad input."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastopt.validation import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    Repeated,
    ShuffleSplit,
    Splitter,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from tests.support.validation_cases import Array, assert_refused, assert_same_splits, containers

NAMESAKES: dict[str, Any] = {
    "KFold": KFold,
    "StratifiedKFold": StratifiedKFold,
    "GroupKFold": GroupKFold,
    "StratifiedGroupKFold": StratifiedGroupKFold,
}


def cases(name: str) -> Any:
    """Random k, labels and groups: few samples, many ties, class names in any order."""

    @st.composite
    def draw(draw: Any) -> tuple[int, Array, Array]:
        k = draw(st.integers(2, 7))
        n = draw(st.integers(k, 60))
        classes = draw(st.sampled_from([["b", "a"], [3, -2, 7], [1.0, 0.0], [True, False], [10**12, 5, -(10**12)]]))
        y = np.array(classes)[draw(st.lists(st.integers(0, len(classes) - 1), min_size=n, max_size=n))]
        groups = np.array(draw(st.lists(st.integers(-3, 12), min_size=n, max_size=n)))
        return k, y, groups

    return draw()


@pytest.mark.peer
@pytest.mark.parametrize("name", NAMESAKES)
@given(data=st.data())
def test_the_folds_of_scikit_learn(name: str, data: Any) -> None:
    pytest.importorskip("sklearn", minversion="1.9", reason="before 1.9 scikit-learn shares out groups otherwise")
    theirs = getattr(pytest.importorskip("sklearn.model_selection"), name)
    k, y, groups = data.draw(cases(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # both libraries warn about small classes
        try:
            expected = list(theirs(k).split(y, y, groups))
        except ValueError:  # more folds than groups, or than samples of any class
            with pytest.raises(ValueError, match="n_splits"):
                list(NAMESAKES[name](k).split(y, y, groups))
            return
        assert_same_splits(NAMESAKES[name](k).split(y, y, groups), expected)


@pytest.mark.peer
@pytest.mark.parametrize("name", NAMESAKES)
def test_the_folds_of_scikit_learn_on_many_samples(name: str) -> None:
    pytest.importorskip("sklearn", minversion="1.9", reason="before 1.9 scikit-learn shares out groups otherwise")
    theirs = getattr(pytest.importorskip("sklearn.model_selection"), name)
    rng = np.random.default_rng(1)
    y = rng.choice(5, size=20_000, p=[0.4, 0.3, 0.2, 0.09, 0.01])
    groups = np.sort(rng.zipf(1.6, size=20_000) % 997)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # splitters that ignore groups warn
        expected = list(theirs(7).split(y, y, groups))
    assert_same_splits(NAMESAKES[name](7).split(y, y, groups), expected)


@pytest.mark.peer
def test_leave_one_out_is_that_of_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.model_selection").LeaveOneOut
    assert_same_splits(LeaveOneOut().split(range(23)), theirs().split(np.arange(23)))
    assert LeaveOneOut().get_n_splits(range(23)) == 23


@pytest.mark.peer
@pytest.mark.parametrize("sizes", [{}, {"test_size": 0.26}, {"train_size": 0.33}, {"test_size": 4, "train_size": 0.5}])
def test_shuffle_split_has_the_sizes_of_scikit_learn(sizes: dict[str, Any]) -> None:
    theirs = pytest.importorskip("sklearn.model_selection").ShuffleSplit
    for n in (10, 31, 100):
        for (a, b), (c, d) in zip(
            ShuffleSplit(3, rng=0, **sizes).split(range(n)), theirs(3, **sizes).split(np.arange(n)), strict=True
        ):
            assert (len(a), len(b)) == (len(c), len(d))
            assert not set(a) & set(b)


@pytest.mark.parametrize("splitter", [KFold, StratifiedKFold, GroupKFold, StratifiedGroupKFold])
@pytest.mark.parametrize("n", [31, 500])
def test_shuffled_folds(splitter: Any, n: int) -> None:
    """Each sample is held out once, a seed repeats the folds, groups stay whole, classes keep their share."""
    y, groups = np.arange(n) % 3, np.arange(n) // 3
    cv = splitter(4, shuffle=True, rng=5)
    folds = list(cv.split(y, y, groups))
    assert_same_splits(folds, cv.split(y, y, groups))
    with pytest.raises(AssertionError):
        assert_same_splits(folds, splitter(4, shuffle=True, rng=6).split(y, y, groups))
    with pytest.raises(AssertionError):
        assert_same_splits(folds, splitter(4).split(y, y, groups))
    assert np.array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(n))
    for train, test in folds:
        assert np.array_equal(np.union1d(train, test), np.arange(n))
        if splitter in (GroupKFold, StratifiedGroupKFold):
            assert not set(groups[train]) & set(groups[test])
        if splitter is StratifiedKFold:
            assert np.ptp(np.bincount(y[test])) <= 1


def test_a_generator_continues_its_stream() -> None:
    rng = np.random.default_rng(0)
    cv = KFold(3, shuffle=True, rng=rng)
    first, second = list(cv.split(range(30))), list(cv.split(range(30)))
    with pytest.raises(AssertionError):
        assert_same_splits(first, second)
    assert_same_splits(first, KFold(3, shuffle=True, rng=0).split(range(30)))


def test_repeated() -> None:
    cv = Repeated(KFold(4), n_repeats=3, rng=1)
    folds = list(cv.split(range(22)))
    assert len(folds) == cv.get_n_splits() == 12
    assert np.array_equal(np.bincount(np.concatenate([test for _, test in folds])), np.full(22, 3))
    assert_same_splits(folds, cv.split(range(22)))
    assert len({tuple(test) for _, test in folds}) == 12
    theirs = pytest.importorskip("sklearn.model_selection").StratifiedKFold(2, shuffle=True)
    y = np.arange(20) % 2
    repeated = Repeated(theirs, n_repeats=2, rng=1)
    assert_same_splits(repeated.split(y, y), repeated.split(y, y))


@pytest.mark.parametrize("kind", ["list", "tuple", "array", "frame", "csr", "coo"])
def test_samples_come_in_any_container(kind: str) -> None:
    x = containers(np.arange(24.0).reshape(12, 2))[kind]
    assert_same_splits(KFold(5).split(x), KFold(5).split(range(12)))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64, np.float32, "U3", object, bool])
def test_classes_of_any_type(dtype: Any) -> None:
    """Compact integers are encoded by counting, other types by sorting; the folds are the same."""
    codes = np.random.default_rng(2).integers(0, 2, 40)
    y = codes.astype(dtype) if dtype is not object else np.array([("x", "y")[c] for c in codes], dtype=object)
    assert_same_splits(StratifiedKFold(3).split(y, y), StratifiedKFold(3).split(codes, codes))


def test_reprs_are_valid_expressions() -> None:
    for text in (
        "KFold(n_splits=7)",
        "KFold()",
        "StratifiedKFold(n_splits=3, shuffle=True, rng=4)",
        "ShuffleSplit(test_size=0.3)",
        "LeaveOneOut()",
        "Repeated(splitter=GroupKFold(), n_repeats=2)",
    ):
        made = eval(text)
        assert isinstance(made, Splitter)
        assert repr(made) == text.replace("n_splits=5", "")


X10 = np.arange(10)


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: KFold(1), ValueError, ["n_splits", "1"]),
        (lambda: KFold(2.5), TypeError, ["n_splits", "2.5"]),
        (lambda: KFold(True), TypeError, ["n_splits", "True"]),
        (lambda: KFold(3, shuffle=1), TypeError, ["shuffle"]),
        (lambda: KFold(3, rng=0), ValueError, ["rng=0", "shuffle"]),
        (lambda: KFold(3, shuffle=True, rng="a"), TypeError, ["rng", "'a'"]),
        (lambda: KFold(11).split(X10), ValueError, ["n_splits=11", "X", "10"]),
        (lambda: KFold(3).split(None), TypeError, ["X", "None"]),
        (lambda: KFold(3).split(np.float64(3)), ValueError, ["X", "no dimensions"]),
        (lambda: KFold(3).split(X10, X10[:9]), ValueError, ["y has 9", "X has 10"]),
        (lambda: KFold(3).split(X10, X10, X10[:4]), ValueError, ["groups has 4", "X has 10"]),
        (lambda: StratifiedKFold(3).split(X10), ValueError, ["y is None"]),
        (lambda: StratifiedKFold(3).split(X10, X10 / 3), ValueError, ["y must hold classes"]),
        (lambda: StratifiedKFold(3).split(X10, np.where(X10, 1.0, np.nan)), ValueError, ["y[0] is nan"]),
        (lambda: StratifiedKFold(3).split(X10, X10.reshape(5, 2)), ValueError, ["y has 5", "X has 10"]),
        (lambda: StratifiedKFold(3).split(X10, np.ones((10, 2))), ValueError, ["y must have one value", "(10, 2)"]),
        (lambda: StratifiedKFold(3).split(X10, X10 // 2), ValueError, ["n_splits=3", "at most 2"]),
        (lambda: StratifiedKFold(2).split(X10, np.array([1, "a"] * 5, dtype=object)), TypeError, ["y holds values"]),
        (lambda: GroupKFold(3).split(X10), ValueError, ["groups is None"]),
        (lambda: GroupKFold(3).split(X10, None, X10 % 2), ValueError, ["n_splits=3", "groups: 2"]),
        (lambda: StratifiedGroupKFold(3).split(X10, X10 % 2), ValueError, ["groups is None"]),
        (lambda: StratifiedGroupKFold(3).split(X10, X10 % 2, X10 % 2), ValueError, ["n_splits=3", "groups: 2"]),
        (lambda: LeaveOneOut().split([1]), ValueError, ["X has 1"]),
        (lambda: LeaveOneOut().get_n_splits(), ValueError, ["X is None"]),
        (lambda: ShuffleSplit(test_size=1.0), ValueError, ["test_size", "1.0"]),
        (lambda: ShuffleSplit(train_size=0), ValueError, ["train_size", "0"]),
        (lambda: ShuffleSplit(test_size=6, train_size=5).split(X10), ValueError, ["test_size=6", "train_size=5", "10"]),
        (lambda: ShuffleSplit(test_size=10).split(X10), ValueError, ["test_size=10", "train on 0"]),
        (lambda: Repeated(3), TypeError, ["splitter", "3"]),
        (lambda: Repeated(LeaveOneOut()), TypeError, ["splitter", "LeaveOneOut"]),
        (lambda: Repeated(KFold(3), 0), ValueError, ["n_repeats", "0"]),
    ],
)
def test_bad_input(call: Any, error: type[Exception], fragments: list[str]) -> None:
    assert_refused(call, error, fragments)


def test_a_small_class_gives_a_warning() -> None:
    with pytest.warns(UserWarning, match="smallest class in y has 1 samples, fewer than n_splits=3"):
        list(StratifiedKFold(3).split(X10, (X10 == 4).astype(int)))
