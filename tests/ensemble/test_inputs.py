"""The data that an ensemble passes to a user's estimator: DataFrames, strings, missing values, several targets."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from fastopt.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
)
from tests.support.validation_cases import LeastSquares, assert_refused

RNG = np.random.default_rng(4)
N = 80
CITIES, SIZES = np.array(["Rome", "Oslo", "Bonn"]), np.array(["S", "M", "L"])
CODES = np.column_stack([RNG.integers(0, 3, N), RNG.integers(0, 3, N)])
LENGTH = RNG.normal(size=N)
Y = LENGTH + 2.0 * (CODES[:, 0] == 1) + 0.2 * RNG.normal(size=N)
LABELS = np.where(Y > 0.5, "high", "low")
TARGETS = np.column_stack([Y, np.sin(3 * LENGTH), CODES[:, 0]])
ENSEMBLES: list[Any] = [
    BaggingClassifier,
    BaggingRegressor,
    AdaBoostRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
]


def frame() -> Any:
    pandas = pytest.importorskip("pandas")
    columns = {"city": CITIES[CODES[:, 0]], "size": pandas.Categorical(SIZES[CODES[:, 1]]), "length": LENGTH}
    return pandas.DataFrame(columns, index=np.arange(N)[::-1])


def encoded(tree: Any, columns: list[Any]) -> Any:
    """A pipeline of an encoder of two columns, given by name or position, and the tree."""
    compose, preprocessing = pytest.importorskip("sklearn.compose"), pytest.importorskip("sklearn.preprocessing")
    encoder = preprocessing.OrdinalEncoder(categories=[CITIES, SIZES])
    step = compose.make_column_transformer((encoder, columns), remainder="passthrough")
    return pytest.importorskip("sklearn.pipeline").make_pipeline(step, tree)


def tree_for(model: Any) -> Any:
    kind = "Classifier" if model is BaggingClassifier else "Regressor"
    return getattr(pytest.importorskip("sklearn.tree"), f"DecisionTree{kind}")(max_depth=3)


def target_of(model: Any) -> Any:
    return LABELS if model.__name__.endswith("Classifier") else Y


@pytest.mark.peer
@pytest.mark.parametrize("model", ENSEMBLES)
@pytest.mark.parametrize("kind", ["frame", "objects", "lists"])
def test_an_encoder_in_the_estimator_equals_encoding_before(model: Any, kind: str) -> None:
    """Strings and categories reach the estimator unchanged, so that its own encoder can encode them."""
    x, numbers = frame(), np.column_stack([CODES, LENGTH])
    rows = {"frame": x, "objects": x.to_numpy(), "lists": x.to_numpy().tolist()}[kind]
    inside = encoded(tree_for(model), ["city", "size"] if kind == "frame" else [0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a = model(inside, n_estimators=15, random_state=1).fit(rows, target_of(model))
        b = model(tree_for(model), n_estimators=15, random_state=1).fit(numbers, target_of(model))
        if model is not GradientBoostingClassifier:  # a pipeline has no apply(), so its leaves take no Newton steps
            assert np.array_equal(a.predict(rows), b.predict(numbers))
        assert a.score(rows, target_of(model)) > 0.85


@pytest.mark.peer
def test_parts_of_a_frame_are_frames() -> None:
    """Parts keep the column names, also of repeated columns, in this process and in workers."""
    x, tree = frame().assign(size=1.0, city=2.0), tree_for(BaggingRegressor)
    model = BaggingRegressor(tree, n_estimators=25, bootstrap_features=True, oob_score=True, random_state=0)
    fitted = model.fit(x, Y)
    names = [one.feature_names_in_.tolist() for one in fitted.estimators_]
    assert ["city", "length", "length.1"] in names
    for found, columns in zip(names, fitted.estimators_features_, strict=True):
        assert [name.partition(".")[0] for name in found] == x.columns[columns].tolist()
    two = BaggingRegressor(**{**model.get_params(deep=False), "n_jobs": 2}).fit(x, Y)
    assert np.array_equal(two.oob_prediction_, fitted.oob_prediction_)
    assert np.array_equal(two.predict(x), fitted.predict(x))
    assert_refused(lambda: fitted.predict(x[["length", "city", "size"]]), ValueError, ["same order"])


@pytest.mark.peer
@pytest.mark.parametrize("model", [BaggingRegressor, AdaBoostRegressor, GradientBoostingRegressor])
def test_the_estimator_may_fill_missing_values(model: Any) -> None:
    impute, pipeline = pytest.importorskip("sklearn.impute"), pytest.importorskip("sklearn.pipeline")
    x = np.column_stack([CODES, LENGTH])
    gaps = np.where(RNG.random(x.shape) < 0.2, np.nan, x)
    filler = impute.SimpleImputer(strategy="constant", fill_value=0.0)
    inside = pipeline.make_pipeline(filler, tree_for(model))
    a = model(inside, n_estimators=5, random_state=1).fit(gaps, Y)
    b = model(tree_for(model), n_estimators=5, random_state=1).fit(np.nan_to_num(gaps), Y)
    assert np.array_equal(a.predict(gaps), b.predict(np.nan_to_num(gaps)))
    linear = pytest.importorskip("sklearn.linear_model").LinearRegression()
    assert_refused(lambda: model(linear).fit(gaps, Y), ValueError, ["X contains NaN", "LinearRegression"])
    assert_refused(lambda: model().fit(gaps, Y), ValueError, ["X contains NaN: X[", "is nan"])
    assert_refused(lambda: model(LeastSquares()).fit(gaps, Y), ValueError, ["X contains NaN: X[", "is nan"])


@pytest.mark.parametrize("model", [AdaBoostClassifier, *ENSEMBLES])
def test_a_stump_refuses_strings(model: Any) -> None:
    for rows in (frame(), frame().to_numpy()):
        assert_refused(lambda x=rows: model().fit(x, target_of(model)), ValueError, ["X must hold numbers", "'"])


@pytest.mark.peer
@pytest.mark.parametrize("as_frame", [False, True])
def test_bagging_of_several_targets_equals_bagging_of_each(as_frame: bool) -> None:
    """For least squares, which fits each target on its own: predictions, out-of-bag values and scores."""
    metrics, x = pytest.importorskip("sklearn.metrics"), np.column_stack([CODES, LENGTH])
    y = pytest.importorskip("pandas").DataFrame(TARGETS) if as_frame else TARGETS
    options: dict[str, Any] = {"n_estimators": 30, "max_samples": 0.7, "oob_score": True, "random_state": 3}
    model, weight = BaggingRegressor(LeastSquares, **options).fit(x, y), RNG.random(N)
    each = [BaggingRegressor(LeastSquares, **options).fit(x, t) for t in TARGETS.T]
    np.testing.assert_allclose(model.predict(x), np.column_stack([m.predict(x) for m in each]), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.oob_prediction_, np.column_stack([m.oob_prediction_ for m in each]), rtol=1e-9)
    assert model.oob_score_ == pytest.approx(np.mean([m.oob_score_ for m in each]))
    assert model.score(x, y, weight) == pytest.approx(metrics.r2_score(y, model.predict(x), sample_weight=weight))
    with pytest.warns(UserWarning, match="samples were in every bag"):
        few = BaggingRegressor(LeastSquares, **{**options, "n_estimators": 2}).fit(x, y)
    assert np.array_equal(np.isnan(few.oob_prediction_).all(axis=1), np.isnan(few.oob_prediction_).any(axis=1))
    assert np.isfinite(few.oob_score_)


@pytest.mark.peer
def test_scikit_learns_own_check_of_several_targets() -> None:
    check = pytest.importorskip("sklearn.utils.estimator_checks").check_regressor_multioutput
    check("BaggingRegressor", BaggingRegressor(tree_for(BaggingRegressor), n_estimators=3))


@pytest.mark.peer
def test_a_warm_start_needs_the_same_number_of_targets() -> None:
    x, tree = np.column_stack([CODES, LENGTH]), tree_for(BaggingRegressor)
    options: dict[str, Any] = {"random_state": 3, "warm_start": True}
    model = BaggingRegressor(tree, n_estimators=3, **options).fit(x, TARGETS).set_params(n_estimators=7)
    for fewer, message in ((TARGETS[:, :2], "y has 2 target(s) now"), (Y, "y has 1 target(s) now")):
        assert_refused(lambda y=fewer: model.fit(x, y), ValueError, [message, "warm_start goes on from 3"])
    whole = BaggingRegressor(tree, n_estimators=7, **options).fit(x, TARGETS)
    assert np.array_equal(model.fit(x, TARGETS).predict(x), whole.predict(x))
    assert_refused(lambda: model.score(x, Y), ValueError, [f"y has shape ({N},)", f"({N}, 3)"])


class OneOnly:
    """Predicts one number per sample for any number of targets."""

    def fit(self, X: Any, y: Any) -> None:
        self.mean = float(np.mean(y))

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.mean)


def test_several_targets_are_refused_where_one_is_needed() -> None:
    x, huge = np.column_stack([CODES, LENGTH]), TARGETS.copy()
    huge[4, 1] = 1.7e308
    for model in (AdaBoostClassifier, BaggingClassifier, AdaBoostRegressor, GradientBoostingRegressor):
        fragments = ["y should be a 1d array", f"({N}, 3)", "one model to each"]
        assert_refused(lambda m=model: m().fit(x, TARGETS), ValueError, fragments)
    assert_refused(lambda: BaggingRegressor().fit(x, TARGETS), ValueError, [f"y has shape ({N}, 3)", "estimator"])
    assert_refused(lambda: BaggingRegressor(LeastSquares).fit(x, huge), ValueError, ["y[4, 1] = 1.7e+308"])
    assert_refused(lambda: BaggingRegressor(LeastSquares).fit(x, TARGETS[:, :0]), ValueError, [f"({N}, 0)"])
    few = BaggingRegressor(OneOnly).fit(x, TARGETS)
    assert_refused(lambda: few.predict(x), ValueError, [f"estimator: predict gives shape ({N},)", "3 targets"])
