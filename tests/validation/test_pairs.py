"""Two features at once, by hand: groups and classes with nested cross-validation, bootstraps and shuffled folds."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from fastopt.validation import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    bias_variance,
    bootstrap,
    bootstrap_score,
    cross_validate,
    nested_cross_validate,
)
from tests.support.validation_cases import Array
from tests.validation.test_bootstrap import WAYS, X, Y, reference_rows

N = 60
ROWS = np.arange(N, dtype=float)[:, None]
GROUPS = np.random.default_rng(0).integers(0, 14, N)
TARGETS = np.random.default_rng(1).normal(size=N) + GROUPS % 4


class Shrunken:
    """Predicts `share` times the mean of its training set. Records which rows each fit got."""

    fits: ClassVar[list[Array]] = []

    def __init__(self, share: float = 1.0) -> None:
        self.share = share

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"share": self.share}

    def set_params(self, share: float) -> Any:
        self.share = share
        return self

    def fit(self, x: Any, y: Any) -> Any:
        self.fits.append(np.asarray(x)[:, 0].astype(int))
        self.mean = self.share * np.mean(y)
        return self

    def predict(self, x: Any) -> Array:
        return np.full(len(x), self.mean)

    def score(self, x: Any, y: Any) -> float:
        return -float(np.mean((y - self.mean) ** 2))


class Together(Shrunken):
    """Fits many models in one call."""

    @staticmethod
    def fit_many(models: Any, xs: Any, ys: Any, sample_weights: Any = None) -> Any:
        return [model.fit(x, y) for model, x, y in zip(models, xs, ys, strict=True)]


def folds_by_hand(k: int, rows: Array) -> list[tuple[Array, Array]]:
    """Largest group first (of equal ones the last), into the fold with the fewest samples."""
    labels, sizes = np.unique(GROUPS[rows], return_counts=True)
    filled, fold = [0] * k, {}
    for i in sorted(range(len(labels)), key=lambda i: (-sizes[i], -i)):
        fold[labels[i]] = int(np.argmin(filled))
        filled[fold[labels[i]]] += sizes[i]
    of_row = np.array([fold[g] for g in GROUPS[rows]])
    return [(rows[of_row != f], rows[of_row == f]) for f in range(k)]


def error(share: float, train: Array, test: Array) -> float:
    return float(np.mean((TARGETS[test] - share * TARGETS[train].mean()) ** 2))


@pytest.mark.parametrize("estimator", [Shrunken, Together])
def test_groups_are_whole_in_both_loops_of_nested_cross_validation(estimator: Any) -> None:
    shares = [0.0, 0.7, 1.0]
    got = nested_cross_validate(
        estimator(), {"share": shares}, ROWS, TARGETS, groups=GROUPS, inner=GroupKFold(3), outer=GroupKFold(4)
    )
    for i, (train, test) in enumerate(folds_by_hand(4, np.arange(N))):
        assert not set(GROUPS[train]) & set(GROUPS[test])
        inner = [np.mean([error(s, a, b) for a, b in folds_by_hand(3, train)]) for s in shares]
        np.testing.assert_allclose(got.inner_scores[i], np.negative(inner), rtol=1e-12)
        assert got.chosen[i] == {"share": shares[int(np.argmin(inner))]}
        assert got.scores()[i] == pytest.approx(-error(got.chosen[i]["share"], train, test), rel=1e-12)


@pytest.mark.parametrize("estimator", [Shrunken, Together])
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["samples", "groups"])
def test_bootstrap_score_by_hand_from_the_rows_of_each_fit(groups: Any, estimator: Any) -> None:
    Shrunken.fits.clear()
    got = bootstrap_score(estimator(), ROWS, TARGETS, groups=groups, n_resamples=25, loss="squared", rng=3)
    assert sorted(Shrunken.fits[0]) == list(range(N))
    errors = np.full((25, N), np.nan)
    for b, rows in enumerate(Shrunken.fits[1:]):
        counts = np.bincount(rows, minlength=N)
        units = np.arange(N) if groups is None else groups
        for unit in np.unique(units):
            assert np.ptp(counts[units == unit]) == 0, "a group was divided"
        assert sum(counts[units == unit][0] for unit in np.unique(units)) == len(np.unique(units))
        errors[b, counts == 0] = (TARGETS[counts == 0] - TARGETS[rows].mean()) ** 2
    np.testing.assert_allclose(got.out_of_bag_errors, np.nanmean(errors, axis=1), rtol=1e-12)
    assert got.out_of_bag == pytest.approx(np.nanmean(np.nanmean(errors, axis=0)), rel=1e-12)
    assert got.apparent == pytest.approx(np.var(TARGETS), rel=1e-12)


def test_models_fitted_together_have_the_error_of_their_own_rows() -> None:
    """Bias and variance, and the scores of folds, from the means of the rows that each fit got."""
    Shrunken.fits.clear()
    got = bias_variance(Together(), ROWS, TARGETS, X_test=ROWS[:5], y_test=TARGETS[:5], n_resamples=39, rng=4)
    means = np.array([TARGETS[rows].mean() for rows in Shrunken.fits])
    assert len(means) == 39
    assert got.variance == pytest.approx(np.var(means, ddof=1), rel=1e-9)
    assert got.error == pytest.approx(np.mean((TARGETS[:5, None] - means) ** 2), rel=1e-9)
    Shrunken.fits.clear()
    scores = cross_validate(Together(), ROWS, TARGETS, cv=KFold(4)).scores()
    for k, (score, rows) in enumerate(zip(scores, Shrunken.fits, strict=True)):
        held_out = np.arange(15 * k, 15 * k + 15)
        assert sorted([*rows, *held_out]) == list(range(N))
        assert score == pytest.approx(-error(1.0, rows, held_out), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_stratified_groups_keep_groups_and_classes(seed: int) -> None:
    """12 groups of 4 samples of each of two classes, in any order: each of 4 folds gets 3 of either class."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(24), 4))
    y = groups % 2
    folds = [test for _, test in StratifiedGroupKFold(4, shuffle=True, rng=seed).split(y, y, groups)]
    plain = [test for _, test in StratifiedGroupKFold(4).split(y, y, groups)]
    for test in folds:
        assert np.array_equal(np.unique(groups[test], return_counts=True)[1], [4] * 6)
        assert np.array_equal(np.bincount(y[test]), [12, 12])
    assert {frozenset(groups[t]) for t in folds} != {frozenset(groups[t]) for t in plain}


def test_shuffling_decides_only_between_equal_groups() -> None:
    """Groups of 1, 2, … samples of one class: the order by spread has no ties."""
    groups = np.repeat(np.arange(10), np.arange(1, 11))
    y = (groups % 3 == 0).astype(int)
    parts = [
        {frozenset(groups[test]) for _, test in cv.split(y, y, groups)}
        for cv in (StratifiedGroupKFold(3), *(StratifiedGroupKFold(3, shuffle=True, rng=s) for s in range(4)))
    ]
    assert all(part == parts[0] for part in parts)


def units_by_hand(way: dict[str, Any]) -> tuple[list[list[int]], list[list[int]]]:
    """(units, strata): the samples of each unit; first unit, units and draws of each stratum."""
    n = len(X)
    if "block_length" in way:
        size, rest = way["block_length"], n % way["block_length"]
        blocks = [list(range(i, i + size)) for i in range(n - size + 1)]
        ends = [list(range(i, i + rest)) for i in range(n - rest + 1)]
        return blocks + ends, [[0, len(blocks), n // size], [len(blocks), len(ends), 1]]
    labels = way.get("strata", way.get("groups", np.arange(n)))
    members = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    if "strata" not in way:
        return members, [[0, len(members), len(members)]]
    sizes = [len(m) for m in members]
    return [[i] for m in members for i in m], [[sum(sizes[:k]), s, s] for k, s in enumerate(sizes)]


STATISTICS: dict[str, Any] = {
    "mean": lambda x, y: x.sum() / len(x),
    "variance": lambda x, y: ((x - x.mean()) ** 2).sum() / (len(x) - 1),
    "quantile": lambda x, y: np.quantile(x, 0.3),
    "ratio": lambda x, y: x.sum() / y.sum(),
    "correlation": lambda x, y: np.corrcoef(x, y)[0, 1],
}


@pytest.mark.parametrize("way", WAYS, ids=["plain", "strata", "groups", "blocks"])
@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("called", [False, True], ids=["by name", "by function"])
def test_resamples_and_statistics_written_out(name: str, way: dict[str, Any], called: bool) -> None:
    """Rows drawn in Python's integers, units listed by hand, statistics in NumPy."""
    pair = name in ("ratio", "correlation")
    function: Any = (lambda x, y: STATISTICS[name](x, y)) if pair else lambda x: STATISTICS[name](x, None)
    options = {"n_resamples": 6, "rng": 3, "method": "percentile", "q": 0.3, "paired": pair, **way}
    got = bootstrap((X, Y) if pair else X, function if called else name, **options)
    units, strata = units_by_hand(way)
    for b, value in enumerate(got.bootstrap_distribution):
        rows = np.concatenate([units[u] for u in reference_rows(np.array(strata), got.key, b)]).astype(int)
        assert value == pytest.approx(STATISTICS[name](X[rows], Y[rows]), rel=1e-11)
    assert got.statistic == pytest.approx(STATISTICS[name](X, Y), rel=1e-12)
    assert got.standard_error == pytest.approx(np.std(got.bootstrap_distribution, ddof=1), rel=1e-12)
    low, high = np.quantile(got.bootstrap_distribution, [0.025, 0.975])
    assert got.confidence_interval == pytest.approx((low, high), rel=1e-12)
