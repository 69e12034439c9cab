"""The bootstrap with bad input: errors name the argument and its value."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from fastopt import validation
from fastopt.ensemble import BaggingRegressor
from fastopt.validation import Bootstrap, BootstrapResult, DegenerateDataWarning, GroupKFold, bootstrap, bootstrap_score
from fastopt.validation._samples import encode
from fastopt.validation.resampling import scheme_for
from tests.support.validation_cases import assert_refused

X = np.random.default_rng(3).lognormal(size=12)
GAPS = np.array([2.0, np.nan, 1.0, 2.0, np.nan, 1.0] * 2, object)


@pytest.mark.parametrize("name", ["strata", "groups"])
def test_labels(name: str) -> None:
    for labels, fragments in (
        (np.zeros(11), [f"{name} has 11 samples, data has 12"]),
        (np.zeros((12, 2)), [f"{name} must have one value per sample, got shape (12, 2)"]),
        (GAPS, [f"{name}[1] is nan"]),
        (np.where(X > 1, "a", None), [f"{name}[", "is None"]),
    ):
        assert_refused(lambda v=labels: bootstrap(X, **{name: v}), ValueError, fragments)
    mixed = np.array(["a", 3, "b", 4] * 3, object)
    assert_refused(lambda: bootstrap(X, **{name: mixed}), TypeError, [name, "'b' (str)", "4 (int)"])


def test_missing_labels_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    for dtype in ("object", "Int64", "string", "category"):
        labels = pandas.Series(["1", "2", "1", None] * 3 if dtype == "string" else [1, 2, 1, None] * 3, dtype=dtype)
        assert_refused(lambda v=labels: bootstrap(X, strata=v), ValueError, ["strata[3] is"])


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u8"])
def test_labels_of_any_whole_number(dtype: str) -> None:
    """For every integer dtype, also if differences of labels overflow it."""
    kind = np.iinfo(dtype)
    for few in ([kind.min, kind.max], [kind.min, 0, 100], [kind.max - 1, kind.max], [kind.min + 1, kind.min + 128]):
        labels = np.array(few * 12, dtype)[:12]
        wanted = np.unique(labels, return_inverse=True, return_counts=True)[1:]
        assert all(np.array_equal(a, b) for a, b in zip(encode("groups", labels), wanted, strict=True))


def test_objects_that_are_nan_are_no_labels() -> None:
    """Sorting with NaN would separate equal labels, and put one group on both sides."""
    assert_refused(lambda: list(GroupKFold(2).split(X, groups=GAPS)), ValueError, ["groups[1] is nan"])


@pytest.mark.parametrize("rng", ["seed", 1.5, True, [1, 2], np.random.RandomState(0)])
def test_what_rng_can_be(rng: Any) -> None:
    y, known = X > 1, ["None, an int >= 0, a Generator", "SeedSequence", repr(rng)[:20]]
    for call in (
        lambda: bootstrap(X, rng=rng),
        lambda: Bootstrap(rng=rng),
        lambda: bootstrap_score(BaggingRegressor(), X[:, None], y, rng=rng),
    ):
        assert_refused(call, TypeError, ["rng must be", *known])
    assert_refused(lambda: bootstrap(X, rng=-1), ValueError, ["rng must be >= 0, got -1"])
    if not isinstance(rng, np.random.RandomState):
        model = BaggingRegressor(random_state=rng)
        assert_refused(lambda: model.fit(X[:, None], y), TypeError, ["random_state", *known, "RandomState"])


def test_a_seed_sequence_is_a_seed() -> None:
    one, two = (bootstrap(X, n_resamples=9, rng=np.random.SeedSequence(5)) for _ in range(2))
    assert np.array_equal(one.bootstrap_distribution, two.bootstrap_distribution)


@pytest.mark.parametrize(
    ("data", "how", "what"),
    [
        ([3.5], {}, "1 sample(s) would"),
        (X, {"strata": np.arange(12)}, "12 sample(s), drawn by strata, would"),
        (X, {"groups": np.ones(12)}, "12 sample(s), drawn by groups, would"),
        (X, {"block_length": 12}, "12 sample(s), drawn by block_length, would"),
        (([1.0], [2.0]), {"statistic": lambda a, b: a[0] - b[0]}, "2 sample(s) would"),
    ],
)
def test_resamples_that_are_all_equal(data: Any, how: dict[str, Any], what: str) -> None:
    assert_refused(lambda: bootstrap(data, **how), ValueError, ["data: every resample of", what])


def test_bca_with_blocks_suggests_other_methods() -> None:
    fragments = ["method='BCa'", "block_length", "not centred", "'percentile' or 'basic'", "standard_error="]
    assert_refused(lambda: bootstrap(X, method="BCa", block_length=3), ValueError, fragments)


@pytest.mark.parametrize("statistic", ["mean", "variance", np.mean])
@pytest.mark.parametrize("sign", [1, -1])
def test_limits_of_bca_do_not_cross_at_any_level(statistic: Any, sign: int) -> None:
    """One outlier of 51: an acceleration of nearly 1/6, with which the formula passes its pole at z = 6."""
    x = sign * np.r_[np.random.default_rng(0).normal(size=50) / 100, 100.0]
    levels = [0.9, 0.999, 1 - 1e-9, 1 - 1e-12, np.nextafter(1, 0)]
    found = [bootstrap(x, statistic, confidence_level=v, n_resamples=999, rng=0) for v in levels]
    low, high = np.transpose([r.confidence_interval for r in found])
    assert (np.diff(low) <= 0).all()
    assert (np.diff(high) >= 0).all()
    assert {r.method for r in found} == {"BCa"}


def spread(x: Any) -> float:
    return float(np.std(x, ddof=1) / np.sqrt(len(x)))


def test_invalid_standard_errors() -> None:
    options: dict[str, Any] = {"method": "studentized", "n_resamples": 200, "rng": 0}
    for value, fragments in (
        (-1.0, ["standard_error must give a number >= 0, got -1.0"]),
        (np.nan, ["studentized", "standard error is nan"]),
        (0.0, ["studentized", "standard error is 0", "constant"]),
    ):
        assert_refused(lambda v=value: bootstrap(X, standard_error=lambda x: v, **options), ValueError, fragments)
    some = [lambda x, v=v: spread(x) if x.max() == X.max() else v for v in (np.nan, np.inf, 0.0)]
    with pytest.warns(DegenerateDataWarning, match="of 200 resamples have a standard error of 0 or none"):
        found = [bootstrap(X, standard_error=f, **options).confidence_interval for f in some]
    assert found[0] == found[1] == found[2]
    assert np.isfinite(found[0]).all()
    assert_refused(lambda: bootstrap(X, standard_error=spread), ValueError, ["standard_error", "studentized", "'BCa'"])


def test_missing_values_are_located() -> None:
    y = X.copy()
    y[7] = np.inf
    assert_refused(lambda: bootstrap((X, y), "ratio"), ValueError, ["data: sample 1 has NaN or infinities, at [7]"])


def test_functions_that_handle_nan() -> None:
    gaps = np.append(X, np.nan)
    result = bootstrap(gaps, np.nanmean, n_resamples=200, rng=0)
    assert result.statistic == np.nanmean(gaps)
    assert result.confidence_interval.low < X.mean() < result.confidence_interval.high
    with pytest.warns(DegenerateDataWarning, match=r"not a finite number in 1\d\d of 200 .* mean of a NaN"):
        assert np.isnan(bootstrap(gaps, np.mean, n_resamples=200, rng=0).confidence_interval).all()


@pytest.mark.parametrize("n", [1, 2, 3, 8, 13])
def test_totals_of_blocks_and_groups(n: int) -> None:
    rows = np.random.default_rng(n).integers(-9, 9, size=(n, 2)).astype(float)
    for length in range(1, n + 1):
        scheme = scheme_for(n, block_length=length)
        assert scheme.starts is not None
        assert scheme.lengths is not None
        wanted = [rows[a : a + k].sum(axis=0) for a, k in zip(scheme.starts, scheme.lengths, strict=True)]
        assert np.array_equal(scheme.totals(rows), wanted)
        labels = np.random.default_rng(n).integers(0, length, n)
        totals = scheme_for(n, groups=labels).totals(rows)
        assert np.array_equal(totals, [rows[labels == g].sum(axis=0) for g in np.unique(labels)])


def test_results_with_arrays_compare_by_identity() -> None:
    """Comparing arrays gives no single bool, so a comparison by value would raise."""
    one, two = (bootstrap(X, n_resamples=9, rng=0) for _ in range(2))
    assert one in [two, one]
    assert one != two
    results = {c for c in (getattr(validation, name) for name in validation.__all__) if dataclasses.is_dataclass(c)}
    holders = {c for c in results if any("Array" in str(f.type) for f in dataclasses.fields(c))}
    assert BootstrapResult in holders
    assert {c for c in holders if c.__eq__ is not object.__eq__} == set()


def test_continuing_with_other_standard_errors() -> None:
    options: dict[str, Any] = {"statistic": "variance", "method": "studentized", "n_resamples": 9}
    former = bootstrap(X, rng=0, inner_resamples=20, **options)
    fragments = ["bootstrap_result is of variance", "by 20 inner resamples", "by 5 inner resamples"]
    assert_refused(lambda: bootstrap(X, bootstrap_result=former, inner_resamples=5, **options), ValueError, fragments)
    fragments[2] = "by spread"
    call = {"bootstrap_result": former, "standard_error": spread, **options}
    assert_refused(lambda: bootstrap(X, **call), ValueError, fragments)
    whole = bootstrap(X, rng=0, inner_resamples=20, **{**options, "n_resamples": 18})
    again = bootstrap(X, bootstrap_result=former, inner_resamples=20, **options)
    assert again.confidence_interval == whole.confidence_interval
