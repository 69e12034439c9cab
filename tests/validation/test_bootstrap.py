"""The bootstrap's kernel against draws written out in NumPy, intervals against SciPy and against what they promise."""

from __future__ import annotations

import functools
import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest

from fastopt._native import resample as resample_kernels
from fastopt.validation import DegenerateDataWarning, bootstrap
from fastopt.validation.bootstrap.statistics import named
from fastopt.validation.resampling import scheme_for
from tests.support import reference_layers as reference
from tests.support.rows import ISAS, Array, core
from tests.support.validation_cases import assert_refused

KEY = 0x0123456789ABCDEF
X = np.random.default_rng(1).gamma(2.0, size=300)
Y = 2 * X + np.random.default_rng(2).normal(size=300) + 3
WAYS: list[dict[str, Any]] = [{}, {"strata": X > 1.5}, {"groups": np.arange(300) // 7 % 40}, {"block_length": 11}]


FOR_COUNTS, FOR_ORDER = range(2)
MASK = 2**64 - 1


def rotated(x: int, left: int) -> int:
    return (x << left | x >> (64 - left)) & MASK


def xoshiro(state: list[int]) -> int:
    """The next number of xoshiro256++, as its authors write it."""
    result = (rotated((state[0] + state[3]) & MASK, 23) + state[0]) & MASK
    shifted = state[1] << 17 & MASK
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = rotated(state[3], 45)
    return result


def test_xoshiro_known_answers() -> None:
    """Of the authors' program, seeded with 1, 2, 3, 4."""
    state = [1, 2, 3, 4]
    known = [41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205, 9973669472204895162]
    assert [xoshiro(state) for _ in known] == known


class Generators:
    """Eight xoshiro256++ generators, seeded by sixteen counters of Philox: 64-bit words in blocks of 32."""

    def __init__(self, key: int, resample: int, stratum: int, what: int) -> None:
        counter = np.array([[lane, what, resample, 0x40000000 | stratum] for lane in range(16)], np.uint32)
        four = reference.philox(counter, (key & 0xFFFFFFFF, key >> 32)).astype(object)
        seeds = [int(four[i, 2 * h + 1]) << 32 | int(four[i, 2 * h]) for h in (0, 1) for i in range(16)]
        self.generators = [seeds[g::8] for g in range(8)]

    def block(self) -> list[int]:
        return [xoshiro(g) for _ in range(4) for g in self.generators]


def chances(mean: float) -> list[float]:
    """Poisson probabilities of 0 to 24, divided by their sum."""
    terms = list(itertools.accumulate(range(1, 25), lambda term, k: term * mean / k, initial=1.0))
    total = functools.reduce(lambda a, b: a + b, terms)
    return [term * (2.0**16 / total) for term in terms]


def poisson_table(rows: int, draws: int) -> tuple[list[int], list[float]]:
    """How many of 65536 values each count from 0 to 6 owns, and what rounding leaves of 65536 times each chance."""
    chance = chances((draws - 2 * math.sqrt(draws)) / rows)
    cells = [int(c) for c in chance[:7]]
    return cells, [c - n for c, n in zip(chance, [*cells, *[0] * 18], strict=True)]


def reference_counts(rows: int, draws: int, generators: Generators) -> Array:
    cells, left = poisson_table(rows, draws)
    ends, unowned = list(itertools.accumulate(cells)), 65536 - sum(cells)
    shares = [s / unowned for s in itertools.accumulate(left[:24])]
    thresholds = [int(s * 2.0**64) if s < 1 else 2**64 - 1 for s in shares]
    counts: list[int] = []
    for _ in range(-(-rows // 128)):
        values = [(word >> 16 * b & 0xFFFF) ^ 0x8000 for word in generators.block() for b in range(4)]
        for k in [sum(value >= end for end in ends) for value in values]:
            number = generators.block()[0] if k == 7 else 0
            counts.append(sum(number >= t for t in thresholds) if k == 7 else k)
    return np.array(counts[:rows])


def reference_rows(strata: Array, key: int, resample: int) -> Array:
    """Word by word, in Python's integers."""
    found: list[int] = []
    for s, (first, rows, draws) in enumerate(strata.tolist()):
        generators, counts, drawn = Generators(key, resample, s, FOR_COUNTS), np.zeros(rows, int), 0
        if draws >= 256 and rows // 4 <= draws:
            drawn = draws + 1
            while drawn > draws:
                counts = reference_counts(rows, draws, generators)
                drawn = int(counts.sum())
        singles: list[int] = []
        while len(singles) < draws - drawn:
            singles += [w * rows >> 64 for w in generators.block()]
        np.add.at(counts, singles[: draws - drawn], 1)
        order = np.repeat(np.arange(rows), counts).tolist()
        generators = Generators(key, resample, s, FOR_ORDER)
        words: list[int] = []
        for i in range(draws - 1, 0, -1):
            words = words or generators.block()
            j = words.pop(0) * (i + 1) >> 64
            order[i], order[j] = order[j], order[i]
        found += [first + row for row in order]
    return np.array(found)


#: Around a block of single draws, around the least size with Poisson counts, and around blocks of counts and of sums.
SIZES = (1, 2, 31, 32, 33, 160, 161, 255, 256, 257, 384, 385, 511, 1024, 1025, 2049, 10322)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("n", SIZES)
def test_rows_and_sums(isa: str, threads: int, n: int) -> None:
    """Every row drawn, and the same bits of the sums on every instruction set and number of threads."""
    x = np.random.default_rng(n).normal(size=(11, n))
    strata = np.array([[0, n, n]])
    wanted = reference_resamples(n)
    with core("baseline", threads=1):
        plain = [resample_kernels.resample_sums(np.ascontiguousarray(x[:m]), strata, KEY, 5, 3) for m in (1, 2, 11)]
    with core(isa, threads=threads, threshold=0):
        assert np.array_equal(resample_kernels.resample_rows(strata, KEY, 5, 3), wanted)
        for m, expected in zip((1, 2, 11), plain, strict=True):
            got = resample_kernels.resample_sums(np.ascontiguousarray(x[:m]), strata, KEY, 5, 3)
            assert got.tobytes() == expected.tobytes()
            assert np.allclose(got, x[:m, wanted].sum(axis=2).T, rtol=1e-12, atol=1e-10)


@functools.cache
def reference_resamples(n: int) -> Array:
    return np.array([reference_rows(np.array([[0, n, n]]), KEY, b) for b in (5, 6, 7)])


def heavy_tailed(n: int, size: float = 1.0, far: float = 1e19) -> Array:
    x = np.random.default_rng(n).normal(size=n) * size
    x[n // 2] = far
    x[6144:] = 0
    return x


def whole_numbers(n: int) -> Array:
    """One is far above the others, but they are still whole multiples of its last bit."""
    x = np.random.default_rng(n).integers(-(2**30), 2**30, n).astype(float)
    x[n // 2] = 2.0**58
    return x


COLUMNS: dict[str, Any] = {
    "normal": lambda n: np.random.default_rng(n).normal(size=n),
    "whole": lambda n: np.random.default_rng(n).integers(-(2**52), 2**52, n).astype(float),
    "whole, one far above": whole_numbers,
    "with zeros": lambda n: np.arange(n) % 7 * 0.1 * (np.arange(n) % 100 == 0),
    "constant": lambda n: np.full(n, -1 / 3),
    "below a power of two": lambda n: np.full(n, 1 - 2**-53),
    "negative": lambda n: -np.random.default_rng(n).gamma(0.1, size=n),
    "zero": np.zeros,
    "ends of digits": lambda n: np.resize([1.0, -1.0, 0.5 + 2**-15, 0.5 - 2**-30, -0.5 - 2**-16, 2**-45 - 1], n),
    "huge": lambda n: np.random.default_rng(n).uniform(-1, 1, n) * (1.7e308 / n),
    "heavy tails": heavy_tailed,
    "from tiny to huge": functools.partial(heavy_tailed, size=1e-100, far=1e300),
    "infinite": lambda n: np.where(np.arange(n) % 3 == 0, np.inf, 1.0),
    "small": lambda n: np.random.default_rng(n).normal(size=n) * 1e-294,
    "tiny": lambda n: np.random.default_rng(n).normal(size=n) * 1e-310,
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("n", [256, 2047, 2049, 6200])
@pytest.mark.parametrize("name", COLUMNS)
def test_error_of_sums(name: str, n: int, isa: str) -> None:
    """Also in resamples without the largest rows, the error is at most n/16 + 6 roundings of the sum of the magnitudes
    drawn: sixteen partial sums, their sum, and the products with the counts."""
    x = COLUMNS[name](n)
    strata = np.array([[0, n, n]])
    with core(isa, threads=2, threshold=0):
        got, negative = resample_kernels.resample_sums(np.stack([x, -x]), strata, KEY, 3, 19).T
        rows = resample_kernels.resample_rows(strata, KEY, 3, 19)
    assert np.array_equal(negative, -got, equal_nan=True)
    if name == "infinite":
        assert not np.isfinite(got).any()
        return
    for value, drawn in zip(got, x[rows], strict=True):
        exact, error = math.fsum(drawn), abs(value - math.fsum(drawn))
        assert value == exact or error <= (n / 16 + 6) * 2.0**-53 * math.fsum(np.abs(drawn))
        if name not in ("constant", "below a power of two"):  # where the roundings of a lane all have one sign
            assert value == exact or error <= n * max(5e-324, float(np.abs(drawn).max()) * 2.0**-53)


def test_sums_without_the_largest_row() -> None:
    """A third of the resamples lack the row of 1. Their sums keep the last bits of the small rows."""
    x = np.random.default_rng(1).choice([-1.0, 1.0], 256) * 2**-8 + 2**-60
    x[100] = 1
    strata = np.array([[0, 256, 256]])
    got = resample_kernels.resample_sums(x[None], strata, KEY, 0, 9)[:, 0]
    rows = resample_kernels.resample_rows(strata, KEY, 0, 9)
    for value, drawn in zip(got, x[rows], strict=True):
        assert abs(value - math.fsum(drawn)) <= 256 * 2**-53 * np.abs(drawn).max()


def test_sums_with_large_rows_that_are_seldom_drawn() -> None:
    """One of 5000 rows is drawn, and 100 of them are large. Most resamples have no large row."""
    strata = np.array([[0, 5000, 1], [5000, 300, 300]])
    x = np.random.default_rng(1).normal(size=5300)
    x[:100] = 1e19
    got = resample_kernels.resample_sums(x[None], strata, KEY, 0, 9)[:, 0]
    rows = resample_kernels.resample_rows(strata, KEY, 0, 9)
    assert np.allclose(got, [math.fsum(drawn) for drawn in x[rows]], rtol=1e-12, atol=0)


def test_sums_of_strata_with_more_draws_than_rows() -> None:
    """255 draws of each row, the largest count that 8 bits hold."""
    strata = np.stack([np.arange(5000), np.ones(5000, int), np.full(5000, 255)], axis=1)
    got = resample_kernels.resample_sums(np.full((1, 5000), 0.75), strata, KEY, 0, 2)
    assert got.tolist() == [[5000 * 255 * 0.75]] * 2


def strata_of(sizes: list[tuple[int, int]]) -> Array:
    rows, draws = np.array(sizes).T
    return np.stack([np.cumsum(rows) - rows, rows, draws], axis=1)


@pytest.mark.parametrize("isa", ISAS)
def test_each_stratum_draws_its_own_rows(isa: str) -> None:
    """Strata with Poisson counts and with single draws; few draws of many rows, none at all, more draws than rows; the
    most rows per draw that have Poisson counts, and one row more."""
    sizes = [(3, 3), (1, 2), (200_000, 70), (300, 0), (900, 900), (1123, 280), (1124, 280), (2, 255)]
    strata = strata_of([*sizes, (2**20, 65), (2**20 + 1, 65)])
    with core(isa, threads=2, threshold=0):
        got = resample_kernels.resample_rows(strata, KEY, 2**32 - 2, 2)
    assert np.array_equal(got, [reference_rows(strata, KEY, 2**32 - 2), reference_rows(strata, KEY, 2**32 - 1)])


def test_no_rows_at_all() -> None:
    none = np.empty((0, 3), np.int64)
    assert resample_kernels.resample_rows(none, KEY, 0, 2).shape == (2, 0)
    assert resample_kernels.resample_sums(np.empty((1, 0)), none, KEY, 0, 2).tolist() == [[0.0], [0.0]]
    assert resample_kernels.resample_places(
        np.empty(0), np.empty(0, np.uint32), np.empty(0, int), none, KEY, 0, 2
    ).shape == (2, 0)


@pytest.mark.parametrize("first", [-1, 2**32 - 2, 2**63 - 1])
def test_resamples_beyond_the_last_are_refused(first: int) -> None:
    assert_refused(
        lambda: resample_kernels.resample_rows(np.array([[0, 3, 3]]), KEY, first, 3), ValueError, ["3", str(first)]
    )


@pytest.mark.parametrize("beyond", [0, 1])
def test_counts_beyond_the_draws_are_drawn_again(beyond: int) -> None:
    """The first resample whose Poisson counts exceed the draws (one of 44), and the first whose counts equal them."""
    strata = np.array([[0, 256, 256]])
    sums = ((b, reference_counts(256, 256, Generators(KEY, b, 0, FOR_COUNTS)).sum()) for b in range(5000))
    found = next(b for b, drawn in sums if min(drawn - 256, 1) == beyond)
    assert np.array_equal(resample_kernels.resample_rows(strata, KEY, found, 1)[0], reference_rows(strata, KEY, found))


@pytest.mark.parametrize(("rows", "draws"), [(256, 256), (1000, 1000), (1024, 256), (2000, 900)])
def test_poisson_table(rows: int, draws: int) -> None:
    """The values that a count owns and what rounding leaves of them make its Poisson probability e^−λ λᵏ / k!."""
    mean = (draws - 2 * math.sqrt(draws)) / rows
    cells, left = poisson_table(rows, draws)
    for k in range(25):
        together = left[k] + (cells[k] if k < 7 else 0)
        assert together / 65536 == pytest.approx(math.exp(-mean) * mean**k / math.factorial(k), rel=1e-9, abs=1e-18)
    assert min(left) >= 0
    assert sum(left) == pytest.approx(65536 - sum(cells), rel=1e-10)
    assert sum(cells) > 0.999 * 65536


def test_poisson_counts_have_poisson_frequencies() -> None:
    """Counts of a resample before single draws are added, with the means of 256 and of 900 draws from 2000 rows: large
    counts, which 16 random bits leave undecided, as often as they should be."""
    for rows, draws in ((256, 256), (2000, 900)):
        mean = (draws - 2 * math.sqrt(draws)) / rows
        blocks = 250_000 // rows
        counts = [reference_counts(rows, draws, Generators(KEY, b, 0, FOR_COUNTS)) for b in range(blocks)]
        chance = [math.exp(-mean) * mean**k / math.factorial(k) for k in range(9)]
        assert_chi_square(np.bincount(np.concatenate(counts), minlength=10)[:10], [*chance, None])


@pytest.mark.parametrize("n", [7, 250, 256, 1000])
def test_draws_are_uniform_and_independent(n: int) -> None:
    """How often a row is drawn is binomial, rows do not draw together, and the first two draws are a pair of any:
    chi-square, covariance and its spread within four standard deviations."""
    resamples = 2_000_000 // n
    rows = resample_kernels.resample_rows(np.array([[0, n, n]]), KEY, 0, resamples)
    counts = np.zeros((resamples, n), int)
    np.add.at(counts, (np.repeat(np.arange(resamples), n), rows.ravel()), 1)
    chance = [math.comb(n, k) * (1 / n) ** k * (1 - 1 / n) ** (n - k) for k in range(7)]
    assert_chi_square(np.append(np.bincount(counts.ravel(), minlength=n)[:7], (counts > 6).sum()), [*chance, None])
    assert_chi_square(counts.sum(axis=0), [1 / n] * n)
    neighbours = ((counts[:, :-1] - 1) * (counts[:, 1:] - 1)).mean(axis=1)  # each −1/n on average
    assert abs(neighbours.mean() + 1 / n) < 4 * neighbours.std() / math.sqrt(resamples)
    pairs = np.concatenate([rows[:, :-1:2] // (n / 4) * 4 + rows[:, 1::2] // (n / 4)]).astype(int)
    size = np.bincount((np.arange(n) // (n / 4)).astype(int)) / n
    assert_chi_square(np.bincount(pairs.ravel(), minlength=16), np.outer(size, size).ravel().tolist())


def assert_chi_square(counts: Array, chance: list[Any]) -> None:
    if chance[-1] is None:
        chance = [*chance[:-1], 1 - sum(chance[:-1])]
    expected = counts.sum() * np.array(chance)
    kept = expected > 5
    chi = ((counts - expected) ** 2 / expected)[kept].sum()
    freedom = kept.sum() - 1
    assert abs(chi - freedom) < 4 * np.sqrt(2 * freedom)


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


@pytest.mark.parametrize("far", [1e10, 1e19])
@pytest.mark.parametrize("name", ["mean", "variance", "ratio", "correlation"])
def test_an_outlier_does_not_cost_the_other_values_digits(name: str, far: float) -> None:
    """In the third of the resamples that lack the outlier, and in the jackknife without it."""
    x = np.append(X, far)
    data, two = ((x, np.append(Y, 5.0)), True) if name in ("ratio", "correlation") else ((x,), False)
    options: dict[str, Any] = {"method": "percentile", "n_resamples": 50, "rng": 3, "paired": two}
    ours, plain = bootstrap(data, name, **options), bootstrap(data, of_several(name), **options)
    assert np.allclose(ours.bootstrap_distribution, plain.bootstrap_distribution, rtol=1e-12, atol=0)
    scheme, plainly = scheme_for(301), functools.partial(of_several(name), **({} if two else {"axis": 0}))
    left_out = named(name, data, scheme).jackknife(scheme)
    assert np.allclose(left_out, [plainly(*(np.delete(a, i) for a in data)) for i in range(301)], rtol=1e-12, atol=0)


def test_resamples_keep_strata_groups_and_blocks() -> None:
    labels = np.arange(50) % 7 % 3
    strata, groups, blocks = (
        scheme_for(50, strata=labels),
        scheme_for(50, groups=labels * 5),
        scheme_for(50, block_length=8),
    )
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
    """Bounds differ by at most five Monte Carlo errors of about 2.5 standard errors / √n_resamples."""
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
@pytest.mark.slow
def test_coverage_of_the_95_percent_interval(method: str) -> None:
    """For the mean of 60 skewed samples, 91 to 97.5 % of 1000 intervals contain it (standard deviation 0.7 %)."""
    rng = np.random.default_rng(8)
    held = 0
    for i in range(1000):
        low, high = bootstrap(rng.gamma(4.0, size=60), method=method, n_resamples=999, rng=i).confidence_interval
        held += low < 4.0 < high
    assert 910 <= held <= 975


def test_continuing_a_result_and_any_number_of_workers() -> None:
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
    assert result.statistic == 3.7
    assert result.confidence_interval == (3.7, 3.7)
    assert_refused(
        lambda: bootstrap(np.full(20, 3.0), method="studentized", rng=0), ValueError, ["studentized", "is 0"]
    )


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
@pytest.mark.parametrize("alternative", ["two-sided", "less"])
def test_a_statistic_that_is_not_a_number_in_some_resamples(method: str, alternative: str) -> None:
    """One of four samples differs. A resample without it, with probability (3/4)⁴, is constant: no correlation."""
    data = np.array([1.0, 1.0, 1.0, 2.0]), np.array([3.0, 1.0, 4.0, 1.5])
    options: dict[str, Any] = {"method": method, "alternative": alternative, "n_resamples": 500, "rng": 1}
    with pytest.warns(DegenerateDataWarning, match=r"not a finite number in 1\d\d of 500 resamples") as caught:
        result = bootstrap(data, "correlation", **options)
    assert caught[0].filename == __file__
    rows = resample_kernels.resample_rows(np.array([[0, 4, 4]]), result.key, 0, 500)
    constant = np.ptp(data[0][rows], axis=1) == 0
    assert np.array_equal(np.isnan(result.bootstrap_distribution), constant)
    low, high = result.confidence_interval
    assert np.isnan(high)
    assert low == -np.inf if alternative == "less" else np.isnan(low)


def test_a_statistic_of_the_data_that_is_not_a_number() -> None:
    with pytest.warns(DegenerateDataWarning, match="not a finite number in 20 of 20 resamples"):
        result = bootstrap((np.full(9, 2.5), np.arange(9.0)), "correlation", n_resamples=20, rng=0)
    assert np.isnan([result.statistic, *result.confidence_interval]).all()


@pytest.mark.parametrize("scale", [1e-310, 1e-170, 1e200, 1.7e307])
@pytest.mark.parametrize("name", ["mean", "variance", "ratio", "correlation"])
def test_neither_overflow_nor_underflow(name: str, scale: float) -> None:
    """Scaling the samples by a power of two scales the statistic exactly."""
    scale = 2.0 ** math.floor(math.log2(scale) / (2.1 if name == "variance" else 1))
    data = [X / 16, Y / 64] if name in ("ratio", "correlation") else [X / 16]
    options: dict[str, Any] = {"n_resamples": 50, "rng": 1}
    if name in ("mean", "ratio"):
        options["method"] = "studentized"
    data[0] = data[0].astype(np.float16).astype(float)  # few bits, which subnormal numbers can hold
    plain = bootstrap(tuple(data), name, **options)
    scaled = bootstrap((data[0] * scale, *data[1:]), name, **options)
    power = {"mean": 1, "variance": 2, "ratio": 1, "correlation": 0}[name]
    with np.errstate(over="ignore", under="ignore"):
        wanted = (
            plain.bootstrap_distribution * scale**power if power < 2 else plain.bootstrap_distribution * scale * scale
        )
    assert np.array_equal(scaled.bootstrap_distribution, wanted)


def test_a_former_result_of_something_else_is_refused() -> None:
    former = bootstrap(X, n_resamples=20, rng=1)
    for call, said in (
        (lambda: bootstrap(X, "variance", bootstrap_result=former), "mean of 300 samples"),
        (lambda: bootstrap(X[1:], bootstrap_result=former), "299 samples"),
        (lambda: bootstrap(X, strata=X > 2, bootstrap_result=former), "drawn by scheme"),
        (lambda: bootstrap(X + 1, bootstrap_result=former), "other data"),
        (lambda: bootstrap(X, method="studentized", bootstrap_result=former), "studentized"),
    ):
        assert_refused(call, ValueError, ["bootstrap_result", said])


def test_a_function_may_sort_what_it_gets() -> None:
    x = X.copy()
    bootstrap(x, lambda a: a.sort() or a[10], method="basic", n_resamples=5, rng=0)
    assert np.array_equal(x, X)


def test_standard_errors_of_zero_are_left_out_with_a_warning() -> None:
    with pytest.warns(DegenerateDataWarning, match=r"\d of 200 resamples have a standard error of 0") as caught:
        bootstrap([1.0, 1.0, 2.0, 4.0], method="studentized", n_resamples=200, rng=0)
    assert caught[0].filename == __file__
    assert_refused(lambda: bootstrap([1.0, 2.0], method="studentized", rng=0), ValueError, ["studentized", "same t"])


def test_what_is_not_a_number_and_why() -> None:
    with pytest.warns(DegenerateDataWarning, match="without one of them"):
        assert bootstrap([1.0, 4.0], "variance", n_resamples=50, rng=0).method == "percentile"
    with pytest.warns(DegenerateDataWarning, match="does not vary over the data"):  # one sample never moves the median
        assert bootstrap([1.0] * 5 + [9.0] * 3, "quantile", n_resamples=200, rng=0).method == "percentile"
    with pytest.warns(DegenerateDataWarning, match="ratio to 0"):
        assert np.isnan(bootstrap(([1.0, 2.0], [1.0, -1.0]), "ratio", n_resamples=20, rng=0).confidence_interval).all()


def test_missing_values_of_pandas_and_of_masks() -> None:
    pandas = pytest.importorskip("pandas")
    assert_refused(lambda: bootstrap(pandas.Series([1, None, 3], dtype="Int64")), ValueError, ["data", "NaN"])
    assert_refused(lambda: bootstrap(np.ma.masked_array(X, X > 3)), TypeError, ["data", "masked"])
    whole = bootstrap(pandas.Series([1, 2, 3], dtype="Int64"), n_resamples=9, rng=0)
    assert (
        whole.bootstrap_distribution.tolist()
        == bootstrap([1, 2, 3], n_resamples=9, rng=0).bootstrap_distribution.tolist()
    )


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
        (lambda: bootstrap(X, paired="no"), TypeError, ["paired", "'no'"]),
        (lambda: bootstrap(X, np.mean, vectorized="no"), TypeError, ["vectorized", "'no'"]),
        (lambda: bootstrap(3.0), ValueError, ["data", "3.0"]),
        (lambda: bootstrap(["a", "b"], "mean"), TypeError, ["data", "numbers"]),
    ],
)
def test_refused(call: Any, error: type[Exception], fragments: list[str]) -> None:
    assert_refused(call, error, fragments)
