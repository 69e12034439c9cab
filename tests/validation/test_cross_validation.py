"""cross_validate, nested_cross_validate and corrected_t_test: against scikit-learn, workers, bad input."""

from __future__ import annotations

import math
import os
import sys
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.validation import (
    BlockedKFold,
    CombinatorialPurgedKFold,
    ExpandingWindow,
    GroupKFold,
    KFold,
    LeaveOneOut,
    PurgedKFold,
    Repeated,
    ShuffleSplit,
    SlidingWindow,
    StratifiedGroupKFold,
    StratifiedKFold,
    corrected_t_test,
    cross_validate,
    learning_curve,
    nested_cross_validate,
    scoring,
)
from fastopt.validation.intervals import t_cdf, t_quantile
from fastopt.validation.parallel import bounded_threads, run
from tests.support.rows import fresh
from tests.support.validation_cases import Array, LeastSquares, Noisy, assert_refused, containers, printed

RNG = np.random.default_rng(7)
X = RNG.normal(size=(120, 4))
W = np.array([1.0, -2.0, 0.5, 0.0])
Y = X @ W + RNG.normal(size=120)
CLASSES = (np.median(Y) < Y).astype(int)
GROUPS = RNG.integers(0, 90, 120)
DAYS = np.datetime64("2020-01-01") + np.arange(120)

#: splitters without an order in time, or with blocks
SPLITTERS: list[Any] = [
    KFold(4),
    KFold(4, shuffle=True, rng=0),
    StratifiedKFold(4),
    GroupKFold(4),
    StratifiedGroupKFold(4),
    LeaveOneOut(),
    ShuffleSplit(4, test_size=0.2, rng=0),
    Repeated(KFold(3), 2, rng=0),
    BlockedKFold(4, gap=2),
    PurgedKFold(4, times=DAYS, end_times=DAYS + np.timedelta64(3, "D"), embargo=0.01),
    CombinatorialPurgedKFold(4, 2, horizon=2),
]
PAST: list[Any] = [
    ExpandingWindow(4, gap=1),
    SlidingWindow(train_size=40, test_size=20),
    ExpandingWindow(train_size=np.timedelta64(40, "D"), test_size=np.timedelta64(20, "D"), times=DAYS),
]


def test_an_estimator_needs_fit_and_predict_alone() -> None:
    """Scores, sizes and out-of-fold predictions against an explicit loop."""
    cv = KFold(5, shuffle=True, rng=3)
    got = cross_validate(
        LeastSquares(), X, Y, cv=cv, scoring=["r2", "neg_mean_squared_error"], train_scores=True, predictions=True,
        estimators=True,
    )  # fmt: skip
    whole = np.empty(120)
    for i, (train, test) in enumerate(cv.split(X)):
        model = LeastSquares()
        model.fit(X[train], Y[train])
        whole[test] = model.predict(X[test])
        assert got.test_scores["neg_mean_squared_error"][i] == -np.mean((Y[test] - whole[test]) ** 2)
        for name, part in (("test", test), ("train", train)):
            error, spread = Y[part] - model.predict(X[part]), Y[part] - Y[part].mean()
            expected = 1 - (error @ error) / (spread @ spread)
            assert getattr(got, f"{name}_scores")["r2"][i] == pytest.approx(expected, rel=1e-13)
        assert (got.n_train[i], got.n_test[i]) == (len(train), len(test))
        assert np.array_equal(got.estimators[i].w, model.w)  # type: ignore[index]
    assert np.array_equal(got.predictions, whole)  # type: ignore[arg-type]
    assert (got.fit_times > 0).all()
    assert got.mean("r2") == np.mean(got.test_scores["r2"])
    assert got.std("r2") == np.std(got.test_scores["r2"], ddof=1)


@pytest.mark.peer
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_the_scores_of_scikit_learn(n_jobs: int | None) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    from sklearn.linear_model import LogisticRegression, Ridge

    for estimator, y, names in (
        (Ridge(0.5), Y, ["r2", "neg_mean_squared_error", "neg_root_mean_squared_error", "neg_mean_absolute_error"]),
        (LogisticRegression(), CLASSES, ["accuracy", "balanced_accuracy", "neg_log_loss", "roc_auc", "f1"]),
    ):
        theirs = selection.cross_validate(estimator, X, y, cv=4, scoring=names, return_train_score=True)
        got = cross_validate(estimator, X, y, cv=4, scoring=names, train_scores=True, n_jobs=n_jobs).to_dict()
        assert set(got) == set(theirs)
        for name in set(theirs) - {"fit_time", "score_time"}:
            assert np.allclose(got[name], theirs[name], rtol=1e-12, atol=1e-15), name
        assert "roc_auc" not in scoring.METRICS


@pytest.mark.peer
@pytest.mark.parametrize("estimator", ["regressor", "classifier"])
def test_out_of_fold_predictions_of_scikit_learn(estimator: str) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    from sklearn.linear_model import LogisticRegression, Ridge

    model, y = (Ridge(), Y) if estimator == "regressor" else (LogisticRegression(), np.array(["no", "yes"])[CLASSES])
    cv = StratifiedKFold(4) if estimator == "classifier" else KFold(4)
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(model, method):
            got = cross_validate(model, X, y, cv=cv, predictions=method).predictions
            expected = selection.cross_val_predict(model, X, y, cv=cv, method=method)
            assert got is not None
            assert got.dtype == expected.dtype
            assert np.array_equal(got, expected)


@pytest.mark.peer
def test_fit_parameters_are_cut_to_the_training_set() -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    from sklearn.linear_model import Ridge

    weights = RNG.uniform(0.1, 5, 120)
    expected = selection.cross_val_score(Ridge(), X, Y, cv=4, params={"sample_weight": weights})
    got = cross_validate(Ridge(), X, Y, cv=4, fit_params={"sample_weight": weights}).scores()
    assert np.array_equal(got, expected)
    assert not np.array_equal(got, cross_validate(Ridge(), X, Y, cv=4).scores())


def test_predictions_of_samples_held_out_never_or_twice() -> None:
    model = Noisy(scale=0.0)
    held = cross_validate(model, X, Y, cv=ExpandingWindow(4), scoring="r2", predictions=True).predictions
    assert np.isnan(held[:24]).all()
    assert np.isfinite(held[24:]).all()
    twice = cross_validate(model, X, Y, cv=Repeated(KFold(3), 2, rng=0), scoring="r2", predictions=True)
    expected = np.zeros(120)
    for train, test in Repeated(KFold(3), 2, rng=0).split(X):
        expected[test] += Y[train].mean() / 2
    assert np.allclose(twice.predictions, expected, rtol=1e-14)


@pytest.mark.peer
def test_probabilities_of_classes_that_a_training_set_lacks() -> None:
    pytest.importorskip("sklearn")
    from sklearn.naive_bayes import GaussianNB

    y = np.repeat([0, 1, 2], 40)
    p = cross_validate(GaussianNB(), X, y, cv=KFold(3), scoring="accuracy", predictions="predict_proba").predictions
    assert p.shape == (120, 3)
    assert np.allclose(p.sum(axis=1), 1)
    assert [set(np.flatnonzero((p[y == c] == 0).all(axis=0))) for c in range(3)] == [{0}, {1}, {2}]


@pytest.mark.peer
@pytest.mark.parametrize("cv", SPLITTERS + PAST, ids=repr)
def test_scikit_learn_takes_our_splitters(cv: Any) -> None:
    """cross_validate, GridSearchCV and learning_curve of scikit-learn give the same results as ours."""
    selection = pytest.importorskip("sklearn.model_selection")
    from sklearn.linear_model import Ridge

    common: dict[str, Any] = {"cv": cv, "scoring": "neg_mean_squared_error"}
    if isinstance(cv, (StratifiedKFold, StratifiedGroupKFold)):
        from sklearn.linear_model import RidgeClassifier

        model, y, common["scoring"] = RidgeClassifier(), CLASSES, "accuracy"
    else:
        model, y = Ridge(), Y
    theirs = selection.cross_validate(model, X, y, groups=GROUPS, **common)
    ours = cross_validate(model, X, y, groups=GROUPS, **common)
    assert np.array_equal(theirs["test_score"], ours.scores())
    assert len(ours.tests) == cv.get_n_splits(X, y, GROUPS)
    search = selection.GridSearchCV(model, {"alpha": [0.1, 10.0]}, **common).fit(X, y, groups=GROUPS)
    assert search.n_splits_ == cv.get_n_splits(X, y, GROUPS)
    assert search.best_params_["alpha"] in (0.1, 10.0)
    if ours.n_train[0] == ours.n_train.min():  # sklearn: shares of the first set, fastopt: of the smallest
        shares: dict[str, Any] = {"groups": GROUPS, "train_sizes": [0.5, 1.0], **common}
        sizes, train, test = selection.learning_curve(model, X, y, **shares)
        curve = learning_curve(model, X, y, **shares)
        assert np.array_equal(curve.x, sizes)
        assert np.array_equal(curve.test_scores, test)
        assert np.array_equal(curve.train_scores, train)


@pytest.mark.peer
@pytest.mark.parametrize(
    "name", ["KFold", "StratifiedKFold", "GroupKFold", "ShuffleSplit", "RepeatedKFold", "TimeSeriesSplit"]
)
def test_scikit_learns_splitters_and_estimators_work_here(name: str) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    options = {"random_state": 0} if name in ("ShuffleSplit", "RepeatedKFold") else {}
    cv = getattr(selection, name)(n_splits=3, **options)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=1))
    expected = selection.cross_val_score(model, X, CLASSES, cv=cv, groups=GROUPS if "Group" in name else None)
    got = cross_validate(model, X, CLASSES, cv=cv, groups=GROUPS if "Group" in name else None)
    assert np.array_equal(got.scores(), expected)


@pytest.mark.parametrize("kind", ["list", "array", "frame", "csr"])
def test_samples_in_any_container(kind: str) -> None:
    model = pytest.importorskip("sklearn.neighbors").KNeighborsRegressor(3)
    expected = cross_validate(model, X, Y, cv=4).scores()
    assert np.allclose(cross_validate(model, containers(X)[kind], Y.tolist(), cv=4).scores(), expected, rtol=1e-9)


# -- streams and workers ----------------------------------------------------------------------------------------------


def test_streams_belong_to_splits() -> None:
    """A seed repeats the draws, splits have different streams, and seeds set by the user stay."""

    def scores(model: Any, rng: Any) -> Array:
        return cross_validate(model, X, Y, scoring="neg_mean_squared_error", rng=rng, predictions=True).predictions  # type: ignore[return-value]

    first = scores(Noisy(), 5)
    assert np.array_equal(first, scores(Noisy(), 5))
    assert not np.array_equal(first, scores(Noisy(), 6))
    assert not np.array_equal(scores(Noisy(), None), scores(Noisy(), None))
    noise = first - np.repeat([Y[np.setdiff1d(np.arange(120), t)].mean() for t in np.split(np.arange(120), 5)], 24)
    assert len(np.unique(np.round(noise, 9))) == 120
    assert np.array_equal(scores(Noisy(random_state=3), 5), scores(Noisy(random_state=3), 6))


def test_factories() -> None:
    def with_stream(rng: np.random.Generator) -> Noisy:
        return Noisy(random_state=int(rng.integers(1000)))

    a = cross_validate(with_stream, X, Y, scoring="r2", rng=1)
    assert np.array_equal(a.scores(), cross_validate(with_stream, X, Y, scoring="r2", rng=1).scores())
    assert np.array_equal(
        cross_validate(LeastSquares, X, Y, scoring="r2").scores(),
        cross_validate(lambda: LeastSquares(), X, Y, scoring="r2").scores(),
    )


@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_the_same_numbers_on_any_number_of_workers(backend: str, n_jobs: int) -> None:
    joblib = pytest.importorskip("joblib")
    cv = Repeated(KFold(4), 2, rng=1)
    here = cross_validate(Noisy(), X, Y, cv=cv, scoring="r2", rng=4, predictions=True)
    with joblib.parallel_config(backend=backend):
        there = cross_validate(Noisy(), X, Y, cv=cv, scoring="r2", rng=4, predictions=True, n_jobs=n_jobs)
    assert np.array_equal(here.scores(), there.scores())
    assert np.array_equal(here.predictions, there.predictions)


DASK = """
    import sys, warnings
    import joblib, numpy as np
    from fastopt.validation import KFold, Repeated, cross_validate, learning_curve, nested_cross_validate
    from tests.support.validation_cases import LeastSquares, Noisy

    def main():
        x = np.random.default_rng(0).normal(size=(60, 3))
        y = x[:, 0] + np.random.default_rng(1).normal(size=60)
        cv = Repeated(KFold(4), 2, rng=1)
        scores = cross_validate(Noisy(), x, y, cv=cv, scoring="r2", rng=4, n_jobs=-1, progress=True).scores()
        plain = cross_validate(LeastSquares(), x, y, cv=cv, scoring="r2", n_jobs=-1).scores()
        curve = learning_curve(Noisy(), x, y, scoring="r2", keep="random", rng=3, n_jobs=-1).test_scores
        nested = nested_cross_validate(Noisy(), {"scale": [0.5, 0.1]}, x, y, scoring="r2", rng=3, n_jobs=-1)
        for values in (scores, plain, curve, nested.scores(), nested.inner_scores):
            print(values.tobytes().hex())

    if __name__ == "__main__":
        if sys.argv[-1] == "dask":
            from dask.distributed import Client, LocalCluster
            options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
            with LocalCluster(**options) as cluster, Client(cluster) as client:
                with joblib.parallel_config(backend="dask"):
                    main()
                loaded = client.run(lambda: "fastopt.validation.estimators" in sys.modules)
                print("workers", sum(loaded.values()))
        else:
            main()
"""


@pytest.mark.peer
def test_the_same_script_on_a_dask_cluster(tmp_path: Any) -> None:
    """One script, here and on a LocalCluster: the same bits, in separate worker processes."""
    pytest.importorskip("distributed")
    lines = [printed(tmp_path, DASK, where).splitlines() for where in ("here", "dask")]
    assert len(lines[0]) == 5
    assert lines[1] == [*lines[0], "workers 2"]


def threads_inside(_: int, rng: Any) -> tuple[int, int]:
    return fastopt.get_num_threads(), os.getpid()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_threads_are_bounded_inside_workers(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes × threads do not exceed the limit; the setting of this process is restored."""
    joblib = pytest.importorskip("joblib")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    fastopt.set_num_threads(8)
    with joblib.parallel_config(backend=backend):
        inside = run(threads_inside, [(i,) for i in range(8)], n_jobs=2)
    assert {threads for threads, _ in inside} <= {1, 2, 3, 4}
    assert fastopt.get_num_threads() == 8
    assert run(threads_inside, [(0,), (1,)])[0][0] == 8


def test_thread_bounds_nest_and_end() -> None:
    fastopt.set_num_threads(6)
    with bounded_threads(2):
        with bounded_threads(2):
            assert fastopt.get_num_threads() == 2
        assert fastopt.get_num_threads() == 2
    assert fastopt.get_num_threads() == 6


def test_progress_bar(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    cross_validate(LeastSquares(), X, Y, scoring="r2", progress=True)
    cross_validate(LeastSquares(), X, Y, scoring="r2", progress=True, n_jobs=2)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("fits") >= 2
    assert "100%" in err


# -- results ----------------------------------------------------------------------------------------------------------


def test_interval_and_table() -> None:
    """The corrected interval by hand, the printed table, a shortened one, and the DataFrame."""
    result = cross_validate(LeastSquares(), X, Y, cv=4, scoring="r2", train_scores=True)
    s, t = result.scores(), 3.182446305284263  # of Student's t, 3 degrees of freedom, 97.5 %
    half = t * math.sqrt((1 / 4 + 30 / 90) * np.var(s, ddof=1))
    assert result.interval() == pytest.approx((s.mean(), s.mean() - half, s.mean() + half), rel=1e-9)
    lines = repr(result).splitlines()
    assert lines[0] == "LeastSquares, 4 splits"
    assert lines[1].split("  ")[-1] == "fit seconds"
    assert f"{s[2]:.4g}" in lines[4]
    assert len(lines) == 7
    assert "…" in repr(cross_validate(LeastSquares(), X, Y, cv=LeaveOneOut(), scoring="neg_mean_squared_error"))
    frame = pytest.importorskip("pandas") and result.to_frame()
    assert list(frame.columns) == ["fit_time", "score_time", "test_r2", "train_r2", "n_train", "n_test"]
    assert np.array_equal(frame["test_r2"], s)
    with pytest.raises(ValueError, match="no score 'accuracy'"):
        result.mean("accuracy")


@pytest.mark.peer
def test_students_t() -> None:
    t = pytest.importorskip("scipy.stats").t
    for df in (1, 2, 3, 4, 5, 9, 10, 99, 100, 5000):
        for x in (-40.0, -3.3, -0.1, 0.0, 0.7, 2.2, 11.0, math.inf):
            assert t_cdf(x, df) == pytest.approx(t.cdf(x, df), abs=1e-13)
        for p in (0.001, 0.05, 0.5, 0.9, 0.975, 0.9995):
            assert t_quantile(p, df) == pytest.approx(t.ppf(p, df), rel=1e-9, abs=1e-9)


@pytest.mark.peer
def test_corrected_t_test() -> None:
    """By hand, by scipy's uncorrected test if test_share is nearly 0, and on results of cross_validate."""
    stats = pytest.importorskip("scipy.stats")
    a, b = RNG.normal(1.0, 1, 10), RNG.normal(0.2, 1, 10)
    got = corrected_t_test(a, b, test_share=1 / 9)
    d = a - b
    expected = d.mean() / math.sqrt((1 / 10 + 1 / 9) * d.var(ddof=1))
    assert got.t == pytest.approx(expected, rel=1e-12)
    assert got.p == pytest.approx(2 * stats.t.sf(abs(expected), 9), rel=1e-9)
    plain = corrected_t_test(a, b, test_share=1e-300)
    assert (plain.t, plain.p) == pytest.approx(stats.ttest_rel(a, b), rel=1e-9)
    good = cross_validate(LeastSquares(), X, Y, cv=Repeated(KFold(5), 4, rng=0), scoring="r2")
    bad = cross_validate(Noisy(0.1), X, Y, cv=Repeated(KFold(5), 4, rng=0), scoring="r2", rng=0)
    test = corrected_t_test(good, bad)
    assert test.difference.low > 0.4
    assert test.p < 1e-4
    assert test.df == 19
    same = corrected_t_test(good, good)
    assert (same.t, same.p) == (0.0, 1.0)
    other = cross_validate(Noisy(), X, Y, cv=Repeated(KFold(5), 4, rng=1), scoring="r2")
    with pytest.raises(ValueError, match="same splits"):
        corrected_t_test(good, other)
    with pytest.raises(ValueError, match="test_share is None"):
        corrected_t_test(a, b)
    with pytest.raises(ValueError, match=r"a and b .*\(10,\).*\(9,\)"):
        corrected_t_test(a, b[:9], test_share=0.1)


@pytest.mark.peer
def test_nested_is_a_loop_of_grid_searches() -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    from sklearn.linear_model import Ridge

    grid = {"alpha": [0.01, 3.0, 300.0], "fit_intercept": [True, False]}
    got = nested_cross_validate(
        Ridge(), grid, X, Y, inner=KFold(3), outer=KFold(4), scoring="neg_mean_squared_error", n_jobs=2
    )
    search = selection.GridSearchCV(Ridge(), grid, cv=selection.KFold(3), scoring="neg_mean_squared_error")
    inner = []
    for i, (train, test) in enumerate(KFold(4).split(X)):
        search.fit(X[train], Y[train])
        assert got.chosen[i] == search.best_params_
        assert got.scores()[i] == pytest.approx(-np.mean((Y[test] - search.predict(X[test])) ** 2), rel=1e-12)
        inner.append(search.best_score_)
    assert got.candidates == list(selection.ParameterGrid(grid))
    assert np.allclose(got.inner_scores.max(axis=1), inner, rtol=1e-12)
    assert got.optimism == pytest.approx(np.mean(inner) - got.mean(), rel=1e-9)
    assert "optimism" in repr(got)


def test_nested_in_time() -> None:
    """An inner splitter's times are reduced to the outer training set, and labels are purged in both."""
    cv = PurgedKFold(3, times=DAYS, end_times=DAYS + np.timedelta64(2, "D"))
    got = nested_cross_validate(Noisy(), {"scale": [2.0, 0.0]}, X, Y, inner=cv, outer=cv, scoring="r2", rng=0)
    assert got.chosen == [{"scale": 0.0}] * 3
    assert got.n_train.tolist() == [78, 76, 78]


class WithoutPredict:
    def fit(self, X: Any, y: Any) -> None: ...


class Labels(LeastSquares):
    """A classifier by its _estimator_type."""

    _estimator_type = "classifier"

    def predict(self, X: Any) -> Array:
        return (super().predict(X) > 0.5).astype(int)

    def score(self, X: Any, y: Any) -> float:
        return float(np.mean(self.predict(X) == y))


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: cross_validate(WithoutPredict(), X, Y), TypeError, ["estimator", "predict", "WithoutPredict"]),
        (lambda: cross_validate(WithoutPredict, X, Y), TypeError, ["estimator's factory", "predict"]),
        (lambda: cross_validate(None, X, Y), TypeError, ["estimator", "no fit"]),
        (lambda: cross_validate(LeastSquares(), X, Y), ValueError, ["scoring is None", "accuracy"]),
        (
            lambda: pytest.importorskip("sklearn") and cross_validate(LeastSquares(), X, Y, scoring="acuracy"),
            ValueError,
            ["scoring='acuracy'"],
        ),
        (lambda: cross_validate(LeastSquares(), X, Y, scoring=[]), ValueError, ["scoring is empty"]),
        (lambda: cross_validate(LeastSquares(), X, Y, scoring=3), TypeError, ["scoring", "3"]),
        (lambda: cross_validate(LeastSquares(), X, Y, scoring={"a": 3}), TypeError, ["scoring['a']"]),
        (lambda: cross_validate(LeastSquares(), X, Y, scoring=lambda *_: "x"), TypeError, ["scoring", "'x'"]),
        (
            lambda: pytest.importorskip("sklearn") and cross_validate(LeastSquares(), X, Y, scoring="neg_log_loss"),
            AttributeError,
            ["predict_proba"],
        ),
        (lambda: cross_validate(LeastSquares(), X, Y[:9], scoring="r2"), ValueError, ["y has 9", "X has 120"]),
        (lambda: cross_validate(LeastSquares(), X, Y, groups=Y[:3], scoring="r2"), ValueError, ["groups has 3"]),
        (lambda: cross_validate(LeastSquares(), X, Y, cv=121, scoring="r2"), ValueError, ["cv=121", "120"]),
        (lambda: cross_validate(LeastSquares(), X, Y, cv=1, scoring="r2"), ValueError, ["cv", "1"]),
        (lambda: cross_validate(LeastSquares(), X, Y, cv="five", scoring="r2"), TypeError, ["cv", "'five'"]),
        (lambda: cross_validate(LeastSquares(), X, Y, cv=[], scoring="r2"), ValueError, ["cv", "no splits"]),
        (
            lambda: cross_validate(LeastSquares(), X, Y, cv=[([0, 1], [])], scoring="r2"),
            ValueError,
            ["cv: the test set of split 0 is empty"],
        ),
        (
            lambda: cross_validate(LeastSquares(), X, Y, cv=[([], [0])], scoring="r2"),
            ValueError,
            ["cv: the training set of split 0 is empty"],
        ),
        (
            lambda: cross_validate(LeastSquares(), X, Y, cv=[([0], [120])], scoring="r2"),
            ValueError,
            ["test set of split 0"],
        ),
        (lambda: cross_validate(LeastSquares(), X, Y, cv=[([0.5], [1])], scoring="r2"), TypeError, ["training set"]),
        (lambda: cross_validate(LeastSquares(), X, Y, cv=[3], scoring="r2"), TypeError, ["cv: split 0", "pair"]),
        (
            lambda: cross_validate(Labels(), X, np.repeat([0, 1], 60), cv=KFold(2)),
            ValueError,
            ["y", "single class", "split 0"],
        ),
        (lambda: cross_validate(Labels(), X, np.ones(120, int)), ValueError, ["y has a single class"]),
        (lambda: cross_validate(Labels(), X, CLASSES, predictions="guess"), TypeError, ["predictions='guess'"]),
        (
            lambda: cross_validate(Labels(), X, CLASSES, cv=Repeated(KFold(3)), predictions=True),
            ValueError,
            ["predictions"],
        ),
        (lambda: cross_validate(LeastSquares(), X, Y, scoring="r2", n_jobs=0), ValueError, ["n_jobs", "0"]),
        (lambda: cross_validate(LeastSquares(), X, Y, scoring="r2", n_jobs="all"), ValueError, ["n_jobs", "'all'"]),
        (lambda: cross_validate(LeastSquares(), X, Y, scoring="r2", rng=-1), ValueError, ["rng", "-1"]),
        (lambda: nested_cross_validate(LeastSquares(), {"a": [1]}, X, Y, scoring="r2"), TypeError, ["set_params"]),
        (
            lambda: nested_cross_validate(Noisy(), {}, X, Y, scoring=["r2", "accuracy"]),
            ValueError,
            ["scoring", "single"],
        ),
        (lambda: nested_cross_validate(Noisy(), [], X, Y, scoring="r2"), ValueError, ["param_grid is empty"]),
        (
            lambda: nested_cross_validate(Noisy(), {"scale": 3}, X, Y, scoring="r2"),
            ValueError,
            ["param_grid['scale']", "3"],
        ),
        (
            lambda: nested_cross_validate(Noisy(), {"scale": []}, X, Y, scoring="r2"),
            ValueError,
            ["param_grid['scale']"],
        ),
        (lambda: nested_cross_validate(Noisy(), 3, X, Y, scoring="r2"), TypeError, ["param_grid", "3"]),
    ],
)
def test_bad_input(call: Any, error: type[Exception], fragments: list[str]) -> None:
    assert_refused(call, error, fragments)


# -- what is loaded ---------------------------------------------------------------------------------------------------


def test_import_loads_numpy_alone() -> None:
    code = """
        import sys
        import fastopt
        assert "fastopt.validation" not in sys.modules
        import numpy as np
        import fastopt.validation as v
        from tests.support.validation_cases import LeastSquares
        for name in v.__all__:
            getattr(v, name)
        x = np.arange(40.0).reshape(20, 2)
        v.cross_validate(LeastSquares(), x, x[:, 0], scoring="r2")
        heavy = ("sklearn", "scipy", "matplotlib", "joblib", "rich", "pandas", "torch", "threadpoolctl", "dask")
        print([name for name in heavy if name in sys.modules])
    """
    result = fresh(code)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("joblib", lambda: cross_validate(LeastSquares(), X, Y, scoring="r2", n_jobs=2)),
        ("rich.console", lambda: cross_validate(LeastSquares(), X, Y, scoring="r2", progress=True)),
        ("pandas", lambda: cross_validate(LeastSquares(), X, Y, scoring="r2").to_frame()),
    ],
)
def test_a_missing_extra_is_named(module: str, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'fastopt\[validation\]'"):
        call()


@pytest.mark.parametrize("name", ["roc_auc", "neg_mean_absolute_error"])
def test_a_score_of_scikit_learn_without_it_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(ImportError, match=rf"scoring='{name}' needs .*fastopt\[sklearn\]"):
        cross_validate(LeastSquares(), X, Y, scoring=name)
