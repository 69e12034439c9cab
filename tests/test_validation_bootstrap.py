"""The bootstrap's kernel against draws written out in NumPy, intervals against SciPy and against what they promise."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import reference_layers as reference
from rows import ISAS, Array, core
from validation_cases import assert_refused

from fastopt import _core
from fastopt.validation import DegenerateDataWarning, bootstrap
from fastopt.validation.resampling import plan_of

KEY = 0x0123456789ABCDEF
X = np.random.default_rng(1).gamma(2.0, size=300)
Y = 2 * X + np.random.default_rng(2).normal(size=300) + 3
WAYS: list[dict[str, Any]] = [{}, {"strata": X > 1.5}, {"groups": np.arange(300) // 7 % 40}, {"block_length": 11}]


def reference_rows(strata: Array, key: int, resample: int) -> Array:
    """Word by word, in Python's integers."""
    found = []
    for s, (first, rows, draws) in enumerate(strata.tolist()):
        per_word = next((k for k, most in ((5, 256), (4, 1024), (3, 10321), (2, 2**20)) if rows <= most), 1)
        mine: list[int] = []
        block = 0
        while len(mine) < draws:
            counter = np.array([[16 * block + lane, 0, resample, 0x40000000 | s] for lane in range(16)], np.uint32)
            words = reference.philox(counter, (key & 0xFFFFFFFF, key >> 32)).astype(object)
            wide = [int(words[lane, 2 * h]) << 32 | int(words[lane, 2 * h + 1]) for h in (0, 1) for lane in range(16)]
            for _ in range(per_word):
                mine += [w * rows >> 64 for w in wide]
                wide = [w * rows % 2**64 for w in wide]
            block += 1
        found += [first + row for row in mine[:draws]]
    return np.array(found)


#: Around a block of each number of draws per word, and around what is summed at once.
SIZES = (1, 2, 31, 160, 161, 256, 257, 1024, 1025, 2047, 2048, 2049, 10321, 10322)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("n", SIZES)
def test_rows_and_sums(isa: str, threads: int, n: int) -> None:
    """Every row drawn, and the same bits of the sums on every instruction set and number of threads."""
    x = np.random.default_rng(n).normal(size=(n, 11))
    strata = np.array([[0, n, n]])
    wanted = np.array([reference_rows(strata, KEY, b) for b in (5, 6, 7)])
    with core("baseline", threads=1):
        plain = [_core.resample_sums(np.ascontiguousarray(x[:, :m]), strata, KEY, 5, 3) for m in (1, 2, 11)]
    with core(isa, threads=threads, threshold=0):
        assert np.array_equal(_core.resample_rows(strata, KEY, 5, 3), wanted)
        for m, expected in zip((1, 2, 11), plain, strict=True):
            got = _core.resample_sums(np.ascontiguousarray(x[:, :m]), strata, KEY, 5, 3)
            assert got.tobytes() == expected.tobytes()
            assert np.allclose(got, x[wanted][:, :, :m].sum(axis=1), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("isa", ISAS)
def test_strata_have_rows_of_their_own(isa: str) -> None:
    strata = np.array([[0, 3, 3], [3, 1, 2], [4, 2_000_000, 70], [1, 300, 0], [7, 300, 300]])
    with core(isa, threads=2, threshold=0):
        got = _core.resample_rows(strata, KEY, 2**32 - 2, 2)
    assert np.array_equal(got, [reference_rows(strata, KEY, 2**32 - 2), reference_rows(strata, KEY, 2**32 - 1)])


def test_draws_are_uniform() -> None:
    """Each row, and each pair of draws of one word: chi-square within four standard deviations."""
    for n in (7, 250):
        rows = _core.resample_rows(np.array([[0, n, 16000]]), KEY, 0, 200)
        pairs = (rows.reshape(200, -1, 5, 32)[:, :, 0] * n + rows.reshape(200, -1, 5, 32)[:, :, 1]).ravel()
        for counts in (np.bincount(rows.ravel(), minlength=n), np.bincount(pairs, minlength=n * n)):
            expected = counts.sum() / len(counts)
            chi = ((counts - expected) ** 2 / expected).sum()
            assert abs(chi - len(counts) + 1) < 4 * np.sqrt(2 * len(counts))


def of_several(name: str) -> Any:
    return {
        "ratio": lambda a, b: a.sum() / b.sum(),
        "correlation": lambda a, b: np.corrcoef(a, b)[0, 1],
        "mean": np.mean,
        "variance": lambda a, axis: np.var(a, axis=axis, ddof=1),
        "quantile": lambda a, axis: np.quantile(a, 0.3, axis=axis),
    }[name]


@pytest.mark.parametrize("way", WAYS, ids=["plain", "strata", "groups", "blocks"])
@pytest.mark.parametrize("name", ["mean", "variance", "quantile", "ratio", "correlation"])
def test_kernels_against_callables_on_the_same_resamples(name: str, way: dict[str, Any]) -> None:
    data = (X, Y) if name in ("ratio", "correlation") else X
    options = {"n_resamples": 200, "rng": 3, "method": "percentile" if "block_length" in way else "BCa", **way}
    ours = bootstrap(data, name, q=0.3, **options)
    plain = bootstrap(data, of_several(name), paired=True, **options)
    assert np.allclose(ours.bootstrap_distribution, plain.bootstrap_distribution, rtol=1e-12, atol=0)
    assert np.allclose(ours.confidence_interval, plain.confidence_interval, rtol=1e-11, atol=0)
    assert ours.statistic == pytest.approx(plain.statistic, rel=1e-13)


def test_resamples_keep_strata_groups_and_blocks() -> None:
    labels = np.arange(50) % 7 % 3
    strata, groups, blocks = plan_of(50, strata=labels), plan_of(50, groups=labels * 5), plan_of(50, block_length=8)
    for b in range(20):
        assert np.array_equal(np.bincount(labels[strata.samples_of(1, b)]), np.bincount(labels))
        drawn = np.bincount(groups.samples_of(1, b), minlength=50)
        assert all(len(set(drawn[labels == label])) == 1 for label in range(3))
        series = blocks.samples_of(1, b)
        assert len(series) == 50
        assert all((np.diff(series[i : i + 8]) == 1).all() for i in range(0, 50, 8))


@pytest.mark.peer
@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
@pytest.mark.parametrize("name", ["mean", "variance", "quantile", "correlation"])
def test_intervals_against_scipy(name: str, method: str, alternative: str) -> None:
    """Within five Monte Carlo errors of an interval's end, about 2.5 standard errors / √n_resamples each."""
    stats = pytest.importorskip("scipy.stats")
    data = (X, Y) if name == "correlation" else (X,)
    options: dict[str, Any] = {"method": method, "confidence_level": 0.9, "alternative": alternative, "rng": 5}
    theirs = stats.bootstrap(data, of_several(name), paired=len(data) > 1, n_resamples=4000, **options)
    ours = bootstrap(data, name, q=0.3, n_resamples=4000, **options)
    tolerance = 5 * np.sqrt(2) * 2.5 * theirs.standard_error / np.sqrt(4000)
    for a, b in zip(ours.confidence_interval, theirs.confidence_interval, strict=True):
        assert a == b or abs(a - b) < tolerance
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.08)


@pytest.mark.peer
def test_several_samples_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    data = (X[:40], Y[:25])

    def difference(a: Array, b: Array, axis: int = -1) -> Array:
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    theirs = stats.bootstrap(data, difference, n_resamples=4000, rng=1)
    ours = bootstrap(data, difference, n_resamples=4000, rng=1)
    assert np.allclose(ours.confidence_interval, theirs.confidence_interval, atol=0.28 * theirs.standard_error)


@pytest.mark.parametrize("method", ["percentile", "BCa", "studentized"])
def test_coverage_of_the_95_percent_interval(method: str) -> None:
    """Of the mean of 60 skewed samples: 1000 intervals hold it within 91 to 97.5 % (standard deviation 0.7 %)."""
    rng = np.random.default_rng(8)
    held = 0
    for i in range(1000):
        low, high = bootstrap(rng.gamma(4.0, size=60), method=method, n_resamples=999, rng=i).confidence_interval
        held += low < 4.0 < high
    assert 910 <= held <= 975


def test_going_on_with_a_former_result_and_any_number_of_workers() -> None:
    pytest.importorskip("joblib")
    whole = bootstrap(X, "mean", n_resamples=999, rng=4)
    first = pickle.loads(pickle.dumps(bootstrap(X, "mean", n_resamples=400, rng=4)))
    both = bootstrap(X, "mean", n_resamples=599, bootstrap_result=first)
    assert np.array_equal(both.bootstrap_distribution, whole.bootstrap_distribution)
    assert both.confidence_interval == whole.confidence_interval
    here = bootstrap(X, np.median, n_resamples=300, rng=4)
    there = bootstrap(X, np.median, n_resamples=300, rng=4, n_jobs=2, batch=37)
    assert np.array_equal(here.bootstrap_distribution, there.bootstrap_distribution)


def test_studentized_by_formula_by_callable_and_nested() -> None:
    def error(a: Array) -> float:
        return float(np.std(a, ddof=1) / np.sqrt(len(a)))

    closed = bootstrap(X, "mean", method="studentized", n_resamples=500, rng=1)
    given = bootstrap(X, "mean", method="studentized", n_resamples=500, rng=1, standard_error=error)
    nested = bootstrap(X, np.mean, method="studentized", n_resamples=500, rng=1, inner_resamples=200)
    assert np.allclose(closed.errors, given.errors, rtol=1e-12)
    assert np.allclose(closed.confidence_interval, given.confidence_interval, rtol=1e-12)
    assert np.allclose(closed.errors, nested.errors, rtol=0.3)


def test_constant_data_fall_back_to_the_percentile_interval() -> None:
    with pytest.warns(DegenerateDataWarning, match="BCa is not defined") as caught:
        result = bootstrap(np.full(20, 3.7), "mean", n_resamples=50, rng=0)
    assert caught[0].filename == __file__
    assert result.method == "percentile"
    assert result.confidence_interval == (3.7, 3.7)
    assert_refused(
        lambda: bootstrap(np.full(20, 3.0), method="studentized", rng=0), ValueError, ["studentized", "is 0"]
    )


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
@pytest.mark.parametrize("alternative", ["two-sided", "less"])
def test_a_statistic_that_is_not_a_number_in_some_resamples(method: str, alternative: str) -> None:
    """One sample of four differs: a resample without it, of chance (3/4)⁴, is constant and has no correlation."""
    data = np.array([1.0, 1.0, 1.0, 2.0]), np.array([3.0, 1.0, 4.0, 1.5])
    options: dict[str, Any] = {"method": method, "alternative": alternative, "n_resamples": 500, "rng": 1}
    with pytest.warns(DegenerateDataWarning, match=r"not a number in 1\d\d of 500 resamples") as caught:
        result = bootstrap(data, "correlation", **options)
    assert caught[0].filename == __file__
    rows = _core.resample_rows(np.array([[0, 4, 4]]), result.key, 0, 500)
    constant = np.ptp(data[0][rows], axis=1) == 0
    assert np.array_equal(np.isnan(result.bootstrap_distribution), constant)
    low, high = result.confidence_interval
    assert np.isnan(high)
    assert low == -np.inf if alternative == "less" else np.isnan(low)


def test_a_statistic_that_is_not_a_number_of_the_data() -> None:
    with pytest.warns(DegenerateDataWarning, match="not a number in 20 of 20 resamples"):
        result = bootstrap((np.full(9, 2.5), np.arange(9.0)), "correlation", n_resamples=20, rng=0)
    assert np.isnan([result.statistic, *result.confidence_interval]).all()


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: bootstrap(X, n_resamples=0), ValueError, ["n_resamples", "0"]),
        (lambda: bootstrap(X, n_resamples=2.5), TypeError, ["n_resamples", "2.5"]),
        (lambda: bootstrap([]), ValueError, ["data", "empty"]),
        (lambda: bootstrap([1.0, np.nan]), ValueError, ["data", "NaN"]),
        (lambda: bootstrap((X, Y), "mean"), ValueError, ["mean", "1 sample", "2"]),
        (lambda: bootstrap((X, Y[1:]), "ratio"), ValueError, ["300", "299"]),
        (lambda: bootstrap(X, "mode"), ValueError, ["statistic", "mode"]),
        (lambda: bootstrap(X, method="bca"), ValueError, ["method", "bca"]),
        (lambda: bootstrap(X, method="BCa", block_length=3), ValueError, ["BCa", "block_length"]),
        (lambda: bootstrap(X, block_length=301), ValueError, ["block_length=301", "300"]),
        (lambda: bootstrap(X, strata=X[1:]), ValueError, ["strata", "299"]),
        (lambda: bootstrap(X, strata=X, groups=X), ValueError, ["strata and groups"]),
        (lambda: bootstrap(X, confidence_level=1), ValueError, ["confidence_level"]),
        (lambda: bootstrap(X, "quantile", q=1.5), ValueError, ["q", "1.5"]),
        (lambda: bootstrap(X, lambda a: "no", n_resamples=3), TypeError, ["statistic", "'no'"]),
        (lambda: bootstrap(["a", "b"], "mean"), TypeError, ["data", "numbers"]),
    ],
)
def test_refused(call: Any, error: type[Exception], fragments: list[str]) -> None:
    assert_refused(call, error, fragments)
