"""Targets in any form, scores that are not defined, failed fits, routing, times and tables, against scikit-learn."""

from __future__ import annotations

import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest

from fastopt.ensemble import AdaBoostClassifier, BaggingClassifier, DecisionStumpRegressor, GradientBoostingClassifier
from fastopt.validation import (
    BlockedKFold,
    Bootstrap,
    CombinatorialPurgedKFold,
    ExpandingWindow,
    GroupKFold,
    KFold,
    LeaveOneOut,
    PurgedKFold,
    Repeated,
    ShuffleSplit,
    SlidingWindow,
    StratifiedKFold,
    bootstrap,
    bootstrap_score,
    cross_validate,
    diagnose,
    learning_curve,
    nested_cross_validate,
    validation_curve,
)

pytest.importorskip("sklearn")
pytestmark = pytest.mark.peer
RNG = np.random.default_rng(3)
Y = np.repeat([0, 1, 2, 3], 20)
X = RNG.normal(size=(80, 3)) + Y[:, None]


def logistic(**options: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(**options)


def targets() -> dict[str, Any]:
    pandas, names = pytest.importorskip("pandas"), np.array(["a", "b", "c", "d"])[Y]
    return {
        "column": Y[:, None],
        "frame": pandas.DataFrame({"y": Y}),
        "object": names.astype(object),
        "strings": names,
        "nullable": pandas.array(Y, dtype="Int64"),
        "categorical": pandas.Series(names, dtype="category"),
        "boolean": Y > 1,
        "list": Y.tolist(),
        "whole floats": Y.astype(float),
    }


@pytest.mark.parametrize("kind", list(targets()))
def test_targets_are_stratified_and_scored_as_in_scikit_learn(kind: str) -> None:
    from sklearn.model_selection import cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    y, tree = targets()[kind], DecisionTreeClassifier(max_depth=2, random_state=0)
    expected = cross_val_score(tree, X, y, cv=4, scoring="accuracy")
    assert np.array_equal(cross_validate(tree, X, y, cv=4, scoring="accuracy").scores(), expected)
    nested = nested_cross_validate(tree, {"max_depth": [2]}, X, y, outer=4, inner=3, scoring="accuracy")
    assert np.array_equal(nested.scores(), expected)
    assert bootstrap_score(tree, X, y, n_resamples=5, rng=0).out_of_bag < 0.8


@pytest.mark.parametrize("method", ["predict_proba", "predict_log_proba", "decision_function"])
def test_columns_are_those_of_all_classes(method: str) -> None:
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

    options: dict[str, Any] = {"cv": LeaveOneGroupOut(), "groups": Y}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = cross_val_predict(logistic(), X, Y, method=method, **options)
        got = cross_validate(logistic(), X, Y, predictions=method, **options).predictions
    assert np.array_equal(got, expected)


def test_columns_of_several_outputs() -> None:
    from sklearn.model_selection import cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    y, tree = np.stack([Y, Y % 2], axis=1), DecisionTreeClassifier(max_depth=2, random_state=0)
    expected = cross_val_predict(tree, X, y, cv=KFold(4), method="predict_proba")
    got = cross_validate(tree, X, y, cv=KFold(4), scoring=lambda *_: 0.0, predictions="predict_proba").predictions
    assert all(map(np.array_equal, got, expected))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_undefined_scores_are_nan_with_one_warning() -> None:
    from sklearn.linear_model import Ridge

    y = X @ [1.0, 2.0, 3.0]
    for model, scoring in ((Ridge(), "r2"), (DecisionStumpRegressor(), None)):
        with pytest.warns(UserWarning, match="not defined for 80 of 80 test sets") as caught:
            found = cross_validate(model, X, y, cv=LeaveOneOut(), scoring=scoring)
        assert np.isnan(found.scores()).all()
        assert sum("of 80 test sets" in str(w.message) for w in caught) == 1
    with pytest.raises(ValueError, match="every inner score is NaN in outer split 0"):
        nested_cross_validate(Ridge(), {"alpha": [1.0, 2.0]}, X, y, inner=LeaveOneOut(), outer=3, scoring="r2")
    with pytest.raises(ValueError, match="r2 is not defined in 80 of 80 splits"):
        diagnose(Ridge(), X, y, cv=LeaveOneOut())


def test_error_score() -> None:
    grid, model = {"l1_ratio": [0.0, 1.0]}, logistic(solver="lbfgs")  # the second value makes fit fail
    with pytest.warns(UserWarning, match="fits or scores failed and count as error_score=nan"):
        nested = nested_cross_validate(model, grid, X, Y, inner=3, outer=3)
    assert nested.chosen == [{"l1_ratio": 0.0}] * 3
    with pytest.warns(UserWarning, match="count as error_score=0.5"):
        curve = validation_curve(model, X, Y, param_name="l1_ratio", param_range=[0.0, 1.0], cv=3, error_score=0.5)
    assert (curve.test_scores[1] == 0.5).all()
    for call in (cross_validate, diagnose):
        with pytest.raises(ValueError, match="Solver lbfgs"):
            call(model.set_params(l1_ratio=1.0), X, Y, error_score="raise")
    with pytest.raises(TypeError, match="error_score"):
        cross_validate(model, X, Y, error_score="ignore")
    with pytest.raises(TypeError, match="unexpected argument n_job"):
        learning_curve(model, X, Y, n_job=2)


@pytest.mark.parametrize("ensemble", ["bagging", "init"])
def test_estimators_inside_of_ensembles_see_the_labels(ensemble: str) -> None:
    y = np.array(["a", "b"])[(X[:, 0] > 1).astype(int)]
    inner = logistic(class_weight={"a": 1, "b": 20})
    if ensemble == "bagging":
        model: Any = BaggingClassifier(inner, n_estimators=3, random_state=0)
    else:
        model = GradientBoostingClassifier(init=inner, n_estimators=1)
    seen = model.fit(X, y).estimators_[0] if ensemble == "bagging" else model.fit(X, y).init_
    assert seen.classes_.tolist() == ["a", "b"]
    assert model.score(X, y) > 0.7


def test_metadata_routing() -> None:
    import sklearn
    from sklearn.model_selection import GridSearchCV
    from sklearn.model_selection import cross_validate as validate

    groups, ends = np.arange(80) // 4, np.arange(80) + 3
    with sklearn.config_context(enable_metadata_routing=True):
        model = AdaBoostClassifier(n_estimators=2).set_fit_request(sample_weight=True)
        search = GridSearchCV(model.set_score_request(sample_weight=True), {}, cv=3)
        search.fit(X, Y, sample_weight=np.ones(80))
        got = validate(logistic(), X, Y, cv=GroupKFold(3), params={"groups": groups}, return_indices=True)
        assert all(not set(groups[a]) & set(groups[b]) for a, b in zip(*got["indices"].values(), strict=True))
        routed = {"times": np.arange(80), "end_times": ends}
        cv = PurgedKFold(3, times=np.zeros(80), end_times=np.zeros(80))
        got = validate(logistic(), X, RNG.permutation(Y), cv=cv, params=routed, return_indices=True)
        expected = [a for a, _ in PurgedKFold(3, **routed).split(X)]
        assert all(map(np.array_equal, got["indices"]["train"], expected))


@pytest.mark.parametrize("cv", [KFold(4), 4, StratifiedKFold(4), LeaveOneOut(), ShuffleSplit(3), Bootstrap(3)], ids=str)
def test_groups_that_are_not_used_are_warned_of(cv: Any) -> None:
    with pytest.warns(UserWarning, match="groups parameter is ignored"):
        cross_validate(logistic(), X, Y, cv=cv, groups=Y, scoring="accuracy")


@pytest.mark.parametrize("seed", [None, 3])
def test_scikit_learn_sees_whether_splits_are_random(seed: Any) -> None:
    for cv in (KFold(3, shuffle=True, rng=seed), ShuffleSplit(3, rng=seed), Bootstrap(3, rng=seed)):
        assert cv.random_state == seed
    assert Repeated(KFold(3), 2, rng=seed).random_state == seed
    assert KFold(3).shuffle is False


@pytest.mark.parametrize(
    "cv",
    [
        ExpandingWindow(3),
        SlidingWindow(3, train_size=10),
        ExpandingWindow(train_size=9, test_size=7, gap=1),
        BlockedKFold(3),
        PurgedKFold(3, horizon=0),
        CombinatorialPurgedKFold(4, 2, horizon=0),
    ],
    ids=str,
)
def test_rows_of_one_timestamp_stay_together(cv: Any) -> None:
    pandas = pytest.importorskip("pandas")
    index = pandas.DatetimeIndex(np.repeat(pandas.date_range("2024-01-01", periods=10).to_numpy(), 4))
    frame = pandas.DataFrame({"a": np.arange(40.0)}, index=index)
    for train, test in cv.split(frame):
        assert not set(index[train]) & set(index[test])


def test_arrow_tables_reach_the_estimator() -> None:
    arrow = pytest.importorskip("pyarrow")
    table, y = arrow.table({"a": X[:, 0], "b": X[:, 1]}), arrow.array(Y)
    expected = cross_validate(logistic(), X[:, :2], Y, cv=3).scores()
    assert np.array_equal(cross_validate(logistic(), table, y, cv=3).scores(), expected)
    assert bootstrap_score(logistic(), table, y, n_resamples=3, rng=0).estimate < 1
    kinds = set()

    def first_mean(t: Any) -> float:
        kinds.add(type(t))
        return float(np.mean(t.column("a").to_numpy()))

    assert bootstrap(table, first_mean, n_resamples=9, rng=0).statistic == pytest.approx(X[:, 0].mean())
    assert kinds == {arrow.Table}


@pytest.mark.parametrize("ensemble", [AdaBoostClassifier, BaggingClassifier, GradientBoostingClassifier])
def test_arrow_tables_reach_the_estimator_of_an_ensemble(ensemble: Any) -> None:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    arrow = pytest.importorskip("pyarrow")
    kinds = set()

    class Watching(DecisionTreeRegressor if ensemble is GradientBoostingClassifier else DecisionTreeClassifier):  # type: ignore[misc]
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            kinds.add(type(X))
            return super().fit(X, y, sample_weight)

    table = arrow.table(dict(zip("abc", X.T, strict=True)))
    options = {"max_features": 2} if ensemble is BaggingClassifier else {}
    model = ensemble(Watching(max_depth=1), n_estimators=2, random_state=0, **options).fit(table, Y)
    assert kinds == {arrow.Table}
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert np.array_equal(
        model.predict(table),
        ensemble(
            DecisionTreeRegressor(max_depth=1)
            if ensemble is GradientBoostingClassifier
            else DecisionTreeClassifier(max_depth=1),
            n_estimators=2,
            random_state=0,
            **options,
        )
        .fit(X, Y)
        .predict(X),
    )


def test_splits_take_little_memory() -> None:
    from sklearn.dummy import DummyRegressor

    n = 1500
    tracemalloc.start()
    cross_validate(DummyRegressor(), np.zeros((n, 1)), np.arange(n), cv=LeaveOneOut(), scoring="neg_mean_squared_error")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * n * n / 3
