"""Windows, blocks and purged folds: against scikit-learn, sktime and skfolio, definitions, leakage, bad input."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fastopt.validation import (
    BlockedKFold,
    CombinatorialPurgedKFold,
    ExpandingWindow,
    KFold,
    PurgedKFold,
    ShuffleSplit,
    SlidingWindow,
    leakage,
)
from tests.support.validation_cases import Array, assert_refused, assert_same_splits

DAY = np.timedelta64(1, "D")
DAYS = np.datetime64("2020-02-25") + np.arange(100) * DAY

# -- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.peer
@given(
    k=st.integers(2, 6),
    n=st.integers(7, 60),
    test=st.none() | st.integers(1, 5),
    gap=st.integers(0, 4),
    most=st.none() | st.integers(1, 9),
)
def test_the_time_series_split_of_scikit_learn(k: int, n: int, test: Any, gap: int, most: int | None) -> None:
    theirs = pytest.importorskip("sklearn.model_selection").TimeSeriesSplit
    theirs = theirs(k, max_train_size=most, test_size=test, gap=gap)
    try:
        expected = list(theirs.split(np.arange(n)))
    except ValueError:
        with pytest.raises(ValueError, match=f"n_splits={k}"):
            list(ExpandingWindow(k, test_size=test, gap=gap).split(range(n)))
        return
    got = ExpandingWindow(k, test_size=test, gap=gap)
    assert got.get_n_splits() == k
    splits = [(train if most is None else train[-most:], part) for train, part in got.split(range(n))]
    assert_same_splits(splits, expected)
    if most is not None and len(expected[0][0]) == most:  # otherwise the first windows of scikit-learn are shorter
        assert_same_splits(SlidingWindow(k, train_size=most, test_size=test, gap=gap).split(range(n)), expected)


@pytest.mark.peer
@pytest.mark.parametrize("n", [12, 29, 30, 31])
@pytest.mark.parametrize(("train", "test", "step", "gap"), [(5, 1, 1, 0), (4, 3, 2, 0), (6, 2, 5, 3), (7, 3, None, 1)])
def test_the_windows_of_sktime(n: int, train: int, test: int, step: int | None, gap: int) -> None:
    split = pytest.importorskip("sktime.split")
    y = np.arange(float(n))
    common = {"fh": np.arange(gap + 1, gap + test + 1), "step_length": step or test}
    sizes: dict[str, Any] = {"train_size": train, "test_size": test, "step": step, "gap": gap}
    sliding = split.SlidingWindowSplitter(window_length=train, **common)
    assert_same_splits(SlidingWindow(**sizes).split(y), sliding.split(y))
    expanding = split.ExpandingWindowSplitter(initial_window=train, **common)
    assert_same_splits(ExpandingWindow(**sizes).split(y), expanding.split(y))
    assert ExpandingWindow(**sizes).get_n_splits(y) == expanding.get_n_splits(y)


@pytest.mark.peer
@pytest.mark.parametrize(("train", "step"), [(10, 1), (14, 7), (30, 3)])
def test_the_windows_by_duration_of_sktime(train: int, step: int) -> None:
    """sktime omits the last window by duration if the steps do not end with the data (30, 3), but gives it for the
    same sizes as counts."""
    split, pandas = pytest.importorskip("sktime.split"), pytest.importorskip("pandas")
    y = pandas.Series(np.arange(100.0), index=pandas.date_range("2020-02-25", periods=100, freq="D"))
    days = [pandas.Timedelta(days=d) for d in (1, 2, 3, train, step)]
    sizes: dict[str, Any] = {"train_size": train * DAY, "test_size": 3 * DAY, "step": step * DAY}
    for ours, theirs, name in (
        (SlidingWindow(**sizes, times=DAYS), split.SlidingWindowSplitter, "window_length"),
        (ExpandingWindow(**sizes), split.ExpandingWindowSplitter, "initial_window"),  # y's own DatetimeIndex
    ):
        got = list(ours.split(y))
        by_duration = list(theirs(fh=days[:3], step_length=days[4], **{name: days[3]}).split(y))
        assert_same_splits(got[: len(by_duration)], by_duration)
        assert len(got) - len(by_duration) == (1 if (train, step) == (30, 3) else 0)
        assert_same_splits(got, theirs(fh=[1, 2, 3], step_length=step, **{name: train}).split(y.to_numpy()))


@pytest.mark.parametrize("window", [ExpandingWindow, SlidingWindow])
@given(
    train=st.integers(1, 20), test=st.integers(1, 9), step=st.integers(1, 9), gap=st.integers(0, 9), k=st.integers(1, 4)
)
def test_durations_on_regular_times_are_counts(window: Any, train: int, test: int, step: int, gap: int, k: int) -> None:
    counts: dict[str, Any] = {"train_size": train, "test_size": test, "step": step, "gap": gap}
    durations = {name: v * DAY for name, v in counts.items()}
    for n_splits in (None, k):
        expected = list(window(n_splits, **counts).split(DAYS))
        assert_same_splits(window(n_splits, **durations, times=DAYS).split(DAYS), expected)
        assert window(n_splits, **durations, times=DAYS).get_n_splits(DAYS) == len(expected) > 0


@given(st.data())
def test_windows_by_duration_on_irregular_times(data: Any) -> None:
    """By definition: half-open intervals on the time axis."""
    hours = np.sort(np.array(data.draw(st.lists(st.integers(0, 400), min_size=30, max_size=60))))
    times = np.datetime64("2021-03-01T05") + hours.astype("timedelta64[h]")
    train, test, gap = (data.draw(st.integers(low, 90)) for low in (40, 20, 0))
    hour = datetime.timedelta(hours=1)
    sizes: dict[str, Any] = {"train_size": train * hour, "test_size": test * hour, "gap": gap * hour, "times": times}
    assume(np.ptp(hours) > 0)
    steps = np.sort(np.diff(hours)[np.diff(hours) > 0])
    end, cut = hours[-1] + steps[len(steps) // 2], hours[0] + train
    expected, old = [], []
    while cut + gap + test <= end:
        past, tested = hours < cut, (hours >= cut + gap) & (hours < cut + gap + test)
        expected.append((np.flatnonzero(past), np.flatnonzero(tested)))
        old.append((np.flatnonzero(past & (hours >= cut - train)), np.flatnonzero(tested)))
        cut += test
    for window, wanted in ((ExpandingWindow(**sizes), expected), (SlidingWindow(**sizes), old)):
        if not wanted or not all(a.size and b.size for a, b in wanted):
            with pytest.raises(ValueError, match=r"do not fit|has an empty"):
                list(window.split(times))
        else:
            assert_same_splits(window.split(times), wanted)


def test_windows_of_groups() -> None:
    """Sizes count groups; groups of unequal size are never divided."""
    groups = np.repeat([7, 3, 9, 1, 4, 8], [2, 1, 3, 1, 2, 4])
    cv = ExpandingWindow(train_size=2, test_size=1, gap=1, by="groups")
    got = [(groups[train].tolist(), groups[test].tolist()) for train, test in cv.split(groups, None, groups)]
    assert got == [([7, 7, 3], [1]), ([7, 7, 3, 9, 9, 9], [4, 4]), ([7, 7, 3, 9, 9, 9, 1], [8, 8, 8, 8])]
    slid = [
        groups[train].tolist()
        for train, _ in SlidingWindow(2, train_size=1, test_size=1, by="groups").split(groups, None, groups)
    ]
    assert slid == [[1], [4, 4]]


@pytest.mark.parametrize(
    "cv",
    [
        ExpandingWindow(4),
        SlidingWindow(4, train_size=20),
        BlockedKFold(4, gap=3),
        PurgedKFold(4, horizon=3),
        CombinatorialPurgedKFold(4, 2, horizon=1),
    ],
    ids=repr,
)
def test_groups_are_never_on_both_sides(cv: Any) -> None:
    groups = np.random.default_rng(0).integers(0, 60, 100)
    plain, grouped = list(cv.split(DAYS)), list(cv.split(DAYS, None, groups))
    assert len(plain) == len(grouped)
    lost = 0
    for (a, b), (c, d) in zip(plain, grouped, strict=True):
        assert np.array_equal(b, d)
        assert np.array_equal(c, [i for i in a if groups[i] not in set(groups[b])])
        lost += len(a) - len(c)
    assert lost > 0


def test_blocked_folds_and_their_gaps() -> None:
    assert_same_splits(BlockedKFold(7).split(range(30)), KFold(7).split(range(30)))
    for train, test in BlockedKFold(4, gap=5).split(range(43)):
        distance = np.abs(np.arange(43)[:, None] - test).min(axis=1)
        assert np.array_equal(train, np.flatnonzero(distance > 5))
    counted = BlockedKFold(4, gap=6).split(DAYS)
    assert_same_splits(BlockedKFold(4, gap=6 * DAY, times=DAYS).split(DAYS), counted)


# -- purged -----------------------------------------------------------------------------------------------------------


@st.composite
def labels(draw: Any) -> tuple[Array, Array, int]:
    """Random intervals sorted by start: ties, points, and some longer than a fold."""
    start = np.sort(np.array(draw(st.lists(st.integers(0, 120), min_size=12, max_size=60))))
    lasts = draw(st.lists(st.integers(0, 3) | st.integers(0, 40), min_size=len(start), max_size=len(start)))
    return start, start + np.array(lasts), draw(st.integers(0, 10))


def whole_timestamps(start: Array, k: int) -> list[Array]:
    """k blocks of equal size; a bound between two equal times moves to the next time."""
    bounds = np.cumsum([len(part) for part in np.array_split(start, k)])[:-1].tolist()
    first = [i for i in range(len(start)) if i == 0 or start[i] != start[i - 1]] + [len(start)]
    return np.split(np.arange(len(start)), [min(i for i in first if i >= b) for b in bounds])


@given(labels(), st.integers(2, 5), st.booleans())
def test_no_training_label_overlaps_the_test_block(case: Any, k: int, dates: bool) -> None:
    """Checked pair by pair; and no other sample is left out."""
    start, end, embargo = case
    times, ends = (DAYS[0] + start * DAY, DAYS[0] + end * DAY) if dates else (start, end)
    options = {"times": times, "end_times": ends, "embargo": embargo * DAY if dates else 0}
    embargo = embargo if dates else 0
    for cv, blocks in (
        (PurgedKFold(k, **options), [(f,) for f in range(k)]),
        (CombinatorialPurgedKFold(k + 1, 2, **options), list(itertools.combinations(range(k + 1), 2))),
    ):
        folds = whole_timestamps(start, blocks[-1][-1] + 1)
        if not all(map(len, folds)):
            with pytest.raises(ValueError, match="one of them would be empty"):
                cv.split(times)
            continue
        beside = [(end < start[b].min()) | (start > end[b].max() + embargo) for b in folds]
        kept = [np.logical_and.reduce([beside[f] for f in chosen]) for chosen in blocks]
        if not all(k.any() for k in kept):
            with pytest.raises(ValueError, match="leave nothing to train on"):
                cv.split(times)
            continue
        splits = list(cv.split(times))
        assert len(splits) == len(blocks) == cv.get_n_splits()
        for (train, test), chosen, apart in zip(splits, blocks, kept, strict=True):
            assert np.array_equal(test, np.concatenate([folds[f] for f in chosen]))
            assert np.array_equal(train, np.flatnonzero(apart))
            touching = (start[train, None] <= end[test]) & (end[train, None] >= start[test])
            assert not touching.any()


@given(labels(), st.integers(2, 5))
def test_leakage_counts_what_overlaps(case: Any, k: int) -> None:
    start, end, _ = case
    for cv in (KFold(k), ShuffleSplit(3, test_size=0.3, rng=1)):
        report = leakage(cv, start, end)
        for i, (train, test) in enumerate(cv.split(start)):
            touching = (start[train, None] <= end[test]) & (end[train, None] >= start[test])
            assert report.n_train[i] == len(train)
            assert report.n_test[i] == len(test)
            assert report.overlapping[i] == touching.any(axis=1).sum()
            assert report.touched[i] == touching.any(axis=0).sum()
            assert report.future[i] == (start[train] > start[test].min()).sum()
        assert report.clean == (not report.overlapping.any())


def test_leakage_shows_what_plain_folds_leak() -> None:
    end = DAYS + 5 * DAY
    report = leakage(KFold(5), DAYS, end)
    assert report.overlapping.tolist() == [5, 10, 10, 10, 5]
    assert not report.clean
    assert "10 (12.5 %)" in repr(report)
    assert "training labels overlap test labels" in repr(report)
    clean = leakage(PurgedKFold(5, times=DAYS, end_times=end), DAYS, end)
    assert clean.clean
    assert clean.future.tolist() == [75, 55, 35, 15, 0]
    past = leakage(ExpandingWindow(5, gap=5), DAYS, end)
    assert past.clean
    assert not past.future.any()
    assert leakage(list(KFold(5).split(DAYS)), DAYS, end).overlapping.tolist() == report.overlapping.tolist()


@pytest.mark.peer
@pytest.mark.parametrize(("folds", "tests"), [(4, 2), (5, 3), (6, 2), (6, 5)])
@pytest.mark.parametrize(("purge", "embargo"), [(0, 0), (3, 0), (0, 2), (2, 3)])
def test_the_index_sets_of_skfolio(folds: int, tests: int, purge: int, embargo: int) -> None:
    """On equal folds only: skfolio gives the remainder to the last fold, López de Prado to the first."""
    model_selection = pytest.importorskip("skfolio.model_selection")
    n = folds * 11
    theirs = model_selection.CombinatorialPurgedCV(folds, tests, purged_size=purge, embargo_size=embargo)
    expected = [(train, np.concatenate(parts)) for train, parts in theirs.split(np.zeros((n, 2)))]
    cv = CombinatorialPurgedKFold(folds, tests, horizon=purge, embargo=embargo)
    assert_same_splits(cv.split(range(n)), expected)
    assert cv.get_n_splits() == theirs.n_splits
    assert cv.n_paths == theirs.n_test_paths
    assert np.array_equal(cv.paths().T, theirs.recombined_paths)


def test_paths_test_every_block_once() -> None:
    cv = CombinatorialPurgedKFold(6, 2, horizon=0)
    assert cv.paths().shape == (5, 6)
    for path in cv.paths():
        for fold, split in enumerate(path):
            assert fold in cv.test_folds()[split]
    assert {(fold, int(split)) for path in cv.paths() for fold, split in enumerate(path)} == {
        (fold, split) for split, folds in enumerate(cv.test_folds()) for fold in folds
    }


def test_kinds_of_horizon_and_embargo_agree() -> None:
    """A count, a duration, a share and explicit end times give the same splits on regular times."""
    expected = list(PurgedKFold(4, horizon=3, embargo=7).split(DAYS))
    for options in (
        {"horizon": 3 * DAY, "embargo": 7 * DAY, "times": DAYS},
        {"horizon": 3, "embargo": 0.07},
        {"end_times": np.arange(100) + 3, "embargo": 7, "times": np.arange(100)},
        {"end_times": (DAYS + 3 * DAY).astype("datetime64[ns]"), "embargo": datetime.timedelta(days=7), "times": DAYS},
    ):
        assert_same_splits(PurgedKFold(4, **options).split(DAYS), expected)


def test_times_of_pandas() -> None:
    """A DatetimeIndex, with and without a time zone, a Series and the index of X."""
    pandas = pytest.importorskip("pandas")
    index = pandas.DatetimeIndex(DAYS)
    expected = list(PurgedKFold(4, times=DAYS, end_times=DAYS + 2 * DAY).split(DAYS))
    ends = pandas.Series(index + pandas.Timedelta(days=2), index=index)
    assert_same_splits(PurgedKFold(4, times=index, end_times=ends).split(DAYS), expected)
    assert_same_splits(PurgedKFold(4, end_times=ends).split(pandas.DataFrame({"x": 1.0}, index=index)), expected)
    aware = index.tz_localize("Europe/Berlin")
    assert_same_splits(PurgedKFold(4, times=aware, end_times=aware + pandas.Timedelta(days=2)).split(DAYS), expected)
    dates = [datetime.date(2020, 2, 25) + datetime.timedelta(days=i) for i in range(100)]
    assert_same_splits(PurgedKFold(4, times=dates, end_times=DAYS + 2 * DAY).split(DAYS), expected)


def test_a_subset_keeps_the_times_of_its_samples() -> None:
    index = np.r_[3:50, 60:99]
    cv = PurgedKFold(3, times=DAYS, end_times=DAYS + 4 * DAY)
    expected = PurgedKFold(3, times=DAYS[index], end_times=DAYS[index] + 4 * DAY).split(index)
    assert_same_splits(cv.subset(index).split(index), expected)
    assert len(cv.times) == 100


def test_reprs() -> None:
    assert repr(PurgedKFold(4, horizon=2, embargo=0.01)) == "PurgedKFold(n_splits=4, horizon=2, embargo=0.01)"
    assert repr(BlockedKFold(gap=2, times=DAYS)) == "BlockedKFold(gap=2, times=<100>)"
    assert repr(ExpandingWindow(train_size=3, test_size=1)) == "ExpandingWindow(train_size=3, test_size=1)"


SHUFFLED = DAYS[[0, 1, 3, 2, *range(4, 100)]]
HOLED = np.where(np.arange(100) == 7, np.datetime64("NaT", "D"), DAYS)
IRREGULAR = DAYS + np.where(np.arange(100) > 50, 30, 0) * DAY


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: ExpandingWindow(), ValueError, ["n_splits", "train_size"]),
        (lambda: ExpandingWindow(0), ValueError, ["n_splits", "0"]),
        (lambda: ExpandingWindow(3, gap=-1), ValueError, ["gap", "-1"]),
        (lambda: ExpandingWindow(3, test_size=0), ValueError, ["test_size", "0"]),
        (lambda: ExpandingWindow(3, test_size=1.5), TypeError, ["test_size", "1.5"]),
        (lambda: ExpandingWindow(3, test_size=-DAY), ValueError, ["test_size", "longer than 0"]),
        (lambda: ExpandingWindow(3, test_size=np.timedelta64("NaT", "D")), ValueError, ["test_size is NaT"]),
        (lambda: ExpandingWindow(3, test_size=np.timedelta64(1, "M")), ValueError, ["test_size", "fixed length"]),
        (lambda: ExpandingWindow(3, test_size=DAY, gap=2), TypeError, ["test_size is a duration", "gap is a count"]),
        (lambda: ExpandingWindow(3, gap=DAY), ValueError, ["test_size is None"]),
        (lambda: ExpandingWindow(3, by="days"), ValueError, ["by", "'days'"]),
        (lambda: ExpandingWindow(3, test_size=DAY, by="groups"), ValueError, ["by='groups'", "test_size"]),
        (lambda: ExpandingWindow(3, test_size=DAY).split(DAYS), ValueError, ["times is None"]),
        (lambda: ExpandingWindow(3, test_size=DAY, times=np.arange(100)).split(DAYS), ValueError, ["no datetime64"]),
        (lambda: ExpandingWindow(3, times=SHUFFLED).split(DAYS), ValueError, ["times must be sorted", "times[3]"]),
        (lambda: ExpandingWindow(3, times=HOLED).split(DAYS), ValueError, ["times[7] is NaT"]),
        (lambda: ExpandingWindow(3, times=DAYS[:9]).split(DAYS), ValueError, ["times has 9", "X has 100"]),
        (lambda: ExpandingWindow(3, times=["a"] * 100).split(DAYS), TypeError, ["times must hold datetime64"]),
        (
            lambda: ExpandingWindow(3, times=DAYS[:1].repeat(9), test_size=DAY).split(range(9)),
            ValueError,
            ["all the same"],
        ),
        (lambda: ExpandingWindow(60, test_size=2).split(DAYS), ValueError, ["n_splits=60", "100 samples in X"]),
        (lambda: SlidingWindow(train_size=99, test_size=2).split(DAYS), ValueError, ["train_size=99", "do not fit"]),
        (lambda: SlidingWindow(train_size=9, test_size=2).get_n_splits(), ValueError, ["X is None"]),
        (lambda: SlidingWindow(3, by="groups").split(DAYS), ValueError, ["groups is None"]),
        (
            lambda: SlidingWindow(3, by="groups").split(DAYS, None, np.arange(100) % 4),
            ValueError,
            ["groups must follow", "groups[4] ="],
        ),
        (
            lambda: SlidingWindow(train_size=5 * DAY, test_size=5 * DAY, times=IRREGULAR).split(DAYS),
            ValueError,
            ["window 10 has an empty test set", "X"],
        ),
        (lambda: BlockedKFold(3, gap=90).split(DAYS), ValueError, ["gap=90", "nothing to train on"]),
        (lambda: BlockedKFold(101).split(DAYS), ValueError, ["n_splits=101", "100"]),
        (lambda: BlockedKFold(3, gap=DAY).split(DAYS), ValueError, ["times is None"]),
        (lambda: BlockedKFold(3, times=SHUFFLED).split(DAYS), ValueError, ["times must be sorted"]),
        (lambda: list(BlockedKFold(3).split(DAYS, None, DAYS[0] > DAYS)), ValueError, ["groups leave nothing"]),
        (lambda: PurgedKFold(3), ValueError, ["end_times or horizon"]),
        (lambda: PurgedKFold(3, horizon=1, end_times=DAYS), ValueError, ["end_times or horizon"]),
        (lambda: PurgedKFold(3, horizon=-1), ValueError, ["horizon", "-1"]),
        (lambda: PurgedKFold(3, horizon=1, embargo=1.0), ValueError, ["embargo", "1.0"]),
        (lambda: PurgedKFold(3, horizon=1, embargo=-0.1), ValueError, ["embargo", "-0.1"]),
        (lambda: PurgedKFold(3, end_times=DAYS).split(DAYS), ValueError, ["times is None"]),
        (lambda: PurgedKFold(3, horizon=DAY).split(DAYS), ValueError, ["times is None"]),
        (lambda: PurgedKFold(3, horizon=1, embargo=DAY).split(DAYS), ValueError, ["times is None", "embargo"]),
        (lambda: PurgedKFold(3, times=DAYS, end_times=HOLED).split(DAYS), ValueError, ["end_times[7] is NaT"]),
        (lambda: PurgedKFold(3, times=DAYS, end_times=DAYS[:5]).split(DAYS), ValueError, ["end_times has 5"]),
        (lambda: PurgedKFold(3, times=DAYS, end_times=np.arange(100)).split(DAYS), TypeError, ["end_times are int64"]),
        (lambda: PurgedKFold(3, times=DAYS, end_times=DAYS - DAY).split(DAYS), ValueError, ["end_times[0]", "before"]),
        (lambda: PurgedKFold(3, horizon=99).split(DAYS), ValueError, ["nothing to train on"]),
        (lambda: PurgedKFold(101, horizon=1).split(DAYS), ValueError, ["n_splits=101"]),
        (lambda: CombinatorialPurgedKFold(3, 3, horizon=1), ValueError, ["n_test_folds=3", "n_folds=3"]),
        (lambda: CombinatorialPurgedKFold(2, 1, horizon=1), ValueError, ["n_folds", "2"]),
        (lambda: CombinatorialPurgedKFold(101, 2, horizon=1).split(DAYS), ValueError, ["n_folds=101"]),
        (lambda: leakage(KFold(3), SHUFFLED, SHUFFLED), ValueError, ["times must be sorted"]),
        (lambda: leakage(KFold(3), DAYS, DAYS[:3]), ValueError, ["end_times has 3"]),
    ],
)
def test_bad_input(call: Any, error: type[Exception], fragments: list[str]) -> None:
    assert_refused(call, error, fragments)


def test_leakage_takes_masks_and_refuses_invalid_splits() -> None:
    times = np.arange(20)
    train, test = times < 12, times >= 12
    masks = leakage([(train, test)], times, times + 3)
    positions = leakage([(np.flatnonzero(train), np.flatnonzero(test))], times, times + 3)
    assert masks.n_train.tolist() == [12]
    assert masks.overlapping.tolist() == positions.overlapping.tolist() == [3]
    with pytest.raises(ValueError, match="splitter: the test set of split 0 is empty"):
        leakage([(times, times[:0])], times, times)
    with pytest.raises(ValueError, match="splitter: the test set of split 0 has positions beyond the 20 samples"):
        leakage([(times[:5], [20])], times, times)


@pytest.mark.parametrize("embargo", [-0.1, 1.0, float("nan")])
def test_an_embargo_as_a_share_is_below_one(embargo: float) -> None:
    with pytest.raises(ValueError, match=r"embargo as a share must be in \[0, 1\), got"):
        PurgedKFold(3, horizon=0, embargo=embargo)


@pytest.mark.parametrize(("share", "count"), [(0.15, 1), (0.19, 1), (0.2, 2), (0.29, 2)])
def test_an_embargo_as_a_share_is_rounded_down(share: float, count: int) -> None:
    """Of 10 samples; the block 0 … 4 and the embargo after it leave the rest."""
    train, test = next(PurgedKFold(2, horizon=0, embargo=share).split(range(10)))
    assert test.tolist() == [0, 1, 2, 3, 4]
    assert train.tolist() == [*range(5 + count, 10)]
