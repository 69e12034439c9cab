"""Bagging, boosting and the stump: against a search in Python, scikit-learn, and scikit-learn's estimator checks."""

from __future__ import annotations

import pickle
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt._native import _testing, runtime
from fastopt.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    DecisionStumpClassifier,
    DecisionStumpRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
)
from tests.support.validation_cases import LeastSquares, assert_refused

SAMPLING = "samples are drawn by weight, or rounding decides between equal splits, as in scikit-learn's own class"
ALL: list[tuple[Any, bool]] = [
    (DecisionStumpClassifier(), True),
    (DecisionStumpRegressor(), True),
    (AdaBoostClassifier(n_estimators=5), True),
    (AdaBoostRegressor(n_estimators=5), False),
    (BaggingClassifier(n_estimators=5), False),
    (BaggingRegressor(n_estimators=5), False),
    (GradientBoostingClassifier(n_estimators=40), False),
    (GradientBoostingRegressor(n_estimators=40), False),
]
RNG = np.random.default_rng(0)
X = np.round(RNG.normal(size=(400, 5)), 1)
X[:, 3] = 1.5
Y = X[:, 0] + np.where(X[:, 1] > 0.2, 2.0, 0.0) + RNG.normal(size=400)
LABELS = np.digitize(Y, [-0.5, 1.5])
W = np.where(RNG.random(400) < 0.3, 0.0, RNG.random(400) + 0.1)


@pytest.mark.peer
@pytest.mark.parametrize(("estimator", "exact_weights"), ALL, ids=lambda v: type(v).__name__)
def test_scikit_learns_own_checks(estimator: Any, exact_weights: bool) -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    expected = {} if exact_weights else {"check_sample_weight_equivalence_on_dense_data": SAMPLING}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = checks.check_estimator(estimator, on_fail=None, on_skip=None, expected_failed_checks=expected)
    assert [(r["check_name"], r["exception"]) for r in found if r["status"] == "failed"] == []
    assert sum(r["status"] == "passed" for r in found) > 50


def every_threshold(x: np.ndarray, errors: Any) -> tuple[int, float, float]:
    """The first split with the least error up to rounding, in plain Python. errors: a function of one side's mask."""
    best = (-1, np.inf, np.inf)
    for f in range(x.shape[1]):
        values = np.unique(x[W > 0, f])
        for low, high in pairwise(values):
            side = x[:, f] <= low
            error = errors(side) + errors(~side)
            if error < best[2] * (1 - 1e-12):
                best = (f, low / 2 + high / 2, error)
    return best


def squares(side: Any) -> float:
    w, y = W[side], Y[side]
    return float(w @ (y - w @ y / w.sum()) ** 2)


@pytest.mark.parametrize("classes", [2, 3])
def test_classifier_stump_tries_every_threshold(classes: int) -> None:
    y = np.minimum(LABELS, classes - 1)

    def gini(side: np.ndarray) -> float:
        p = np.bincount(y[side], W[side], classes)
        return float(p.sum() - p @ p / p.sum())

    stump = DecisionStumpClassifier().fit(X, y, W)
    assert (stump.feature_, stump.threshold_) == every_threshold(X, gini)[:2]
    side = X[:, stump.feature_] <= stump.threshold_
    shares = [np.bincount(y[s], W[s], classes) / W[s].sum() for s in (side, ~side)]
    np.testing.assert_allclose(stump.value_, shares, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_regressor_stump_tries_every_threshold(offset: float) -> None:
    stump = DecisionStumpRegressor().fit(X, Y + offset, W)
    assert (stump.feature_, stump.threshold_) == every_threshold(X, squares)[:2]
    side = X[:, stump.feature_] <= stump.threshold_
    means = [W[s] @ (Y[s] + offset) / W[s].sum() for s in (side, ~side)]
    np.testing.assert_allclose(stump.value_, means, rtol=1e-13)


def test_a_threshold_separates_neighbouring_floats() -> None:
    """The middle of two neighbouring floats is one of them; which one depends on the last bit."""
    odd = np.nextafter(1, 2)
    for low, high in ((1.0, odd), (odd, np.nextafter(odd, 2)), (-odd, -1.0), (0.0, 5e-324), (-5e-324, 0.0)):
        rows = np.array([[low], [high]])
        assert DecisionStumpClassifier().fit(rows, ["a", "b"]).predict(rows).tolist() == ["a", "b"]
        assert DecisionStumpRegressor().fit(rows, [3.0, 7.0]).predict(rows).tolist() == [3.0, 7.0]


@pytest.mark.parametrize("scale", [1.0, 0.125])
def test_improvement_is_how_much_the_impurity_falls(scale: float) -> None:
    y, w = LABELS, W * scale
    stump, numbers = DecisionStumpClassifier().fit(X, y, w), DecisionStumpRegressor().fit(X, Y, w)

    def gini(side: Any) -> float:
        p = np.bincount(y[side], w[side], 3)
        return float(p.sum() - p @ p / p.sum())

    side = X[:, stump.feature_] <= stump.threshold_
    fall = (gini(slice(None)) - gini(side) - gini(~side)) / w.sum()
    assert stump.improvement_ == pytest.approx(fall, rel=1e-12)
    side = X[:, numbers.feature_] <= numbers.threshold_
    fall = (squares(slice(None)) - squares(side) - squares(~side)) / W.sum()
    assert numbers.improvement_ == pytest.approx(fall, rel=1e-12)


@pytest.mark.peer
@pytest.mark.parametrize("weight", [None, W], ids=["plain", "weighted"])
def test_stump_is_scikit_learns_tree_of_depth_1(weight: Any) -> None:
    tree = pytest.importorskip("sklearn.tree")
    x = X.astype(np.float32).astype(float)
    for ours, theirs, y in (
        (DecisionStumpClassifier(), tree.DecisionTreeClassifier(max_depth=1, random_state=0), LABELS),
        (DecisionStumpRegressor(), tree.DecisionTreeRegressor(max_depth=1, random_state=0), Y),
    ):
        ours.fit(x, y, weight)
        theirs.fit(x, y, weight)
        assert (ours.feature_, ours.threshold_) == (theirs.tree_.feature[0], theirs.tree_.threshold[0])
        np.testing.assert_allclose(ours.value_, theirs.tree_.value[1:, 0].squeeze(), rtol=1e-12)


def test_same_split_on_any_isa_and_number_of_threads() -> None:
    x = RNG.normal(size=(3001, 7))
    found = set()
    _testing.set_serial_threshold(0)
    for isa in fastopt.available_isas():
        runtime.set_isa(isa)
        for threads in (1, 2, 3):
            fastopt.set_num_threads(threads)
            models = [AdaBoostClassifier(n_estimators=8).fit(x, x[:, 0] * x[:, 1] > 0.1)]
            models += [GradientBoostingRegressor(n_estimators=8).fit(x, x[:, 2] ** 2 + x[:, 3])]
            models += [DecisionStumpClassifier().fit(x, np.digitize(x[:, 4], [-1, 1]))]
            found.add(b"".join(m.predict(x).tobytes() for m in models))
    assert len(found) == 1


@pytest.mark.peer
def test_adaboost_and_gradient_boosting_equal_scikit_learns() -> None:
    """With stumps the predictions, losses and errors of every round are the same, not only the scores."""
    theirs = pytest.importorskip("sklearn.ensemble")
    x = RNG.normal(size=(300, 6)).astype(np.float32).astype(float)
    y = x[:, 0] + np.sin(3 * x[:, 1]) + 0.1 * x[:, 2]
    for labels in (y > 0, np.digitize(y, [-0.7, 0.7])):
        a, b = (
            AdaBoostClassifier(n_estimators=20).fit(x, labels),
            theirs.AdaBoostClassifier(n_estimators=20).fit(x, labels),
        )
        np.testing.assert_allclose(a.estimator_errors_, b.estimator_errors_, rtol=1e-9)
        np.testing.assert_allclose(a.decision_function(x), b.decision_function(x), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(a.predict_proba(x), b.predict_proba(x), rtol=1e-9)
        options: dict[str, Any] = {"n_estimators": 20, "learning_rate": 0.3}
        c = GradientBoostingClassifier(**options).fit(x, labels)
        d = theirs.GradientBoostingClassifier(max_depth=1, **options).fit(x, labels)
        np.testing.assert_allclose(c.train_score_, d.train_score_, rtol=1e-9)
        np.testing.assert_allclose(c.predict_proba(x), d.predict_proba(x), rtol=1e-8)
    e = GradientBoostingRegressor(n_estimators=20).fit(x, y)
    f = theirs.GradientBoostingRegressor(n_estimators=20, max_depth=1).fit(x, y)
    np.testing.assert_allclose(e.predict(x), f.predict(x), rtol=1e-9)
    np.testing.assert_allclose(e.feature_importances_, f.feature_importances_, rtol=1e-6)


SEEDED: list[Any] = [
    AdaBoostClassifier(n_estimators=9, learning_rate=0.7),
    AdaBoostRegressor(n_estimators=9, loss="square", random_state=1),
    GradientBoostingClassifier(n_estimators=9, subsample=0.6, random_state=1),
    GradientBoostingRegressor(n_estimators=9, subsample=0.6, random_state=1),
    BaggingClassifier(n_estimators=9, max_samples=0.5, max_features=0.7, random_state=1),
    BaggingRegressor(n_estimators=9, bootstrap_features=True, random_state=1),
]


@pytest.mark.parametrize("model", SEEDED, ids=lambda m: type(m).__name__)
def test_a_warm_start_equals_one_fit_and_pickles(model: Any) -> None:
    y = LABELS if hasattr(model, "predict_proba") else Y
    whole = type(model)(**model.get_params()).fit(X, y, W).predict(X)
    parts = type(model)(**{**model.get_params(), "n_estimators": 4, "warm_start": True}).fit(X, y, W)
    parts.set_params(n_estimators=9).fit(X, y, W)
    assert np.array_equal(parts.predict(X), whole)
    assert np.array_equal(pickle.loads(pickle.dumps(parts)).predict(X), whole)
    if hasattr(parts, "staged_predict"):
        *_, last = parts.staged_predict(X)
        assert np.array_equal(last, whole)


def test_bagging_does_not_depend_on_n_jobs_and_averages_out_of_bag() -> None:
    pytest.importorskip("joblib")
    one = BaggingRegressor(LeastSquares, n_estimators=30, oob_score=True, random_state=2).fit(X, Y)
    two = BaggingRegressor(LeastSquares, n_estimators=30, oob_score=True, random_state=2, n_jobs=2).fit(X, Y)
    assert np.array_equal(one.predict(X), two.predict(X))
    seen = np.array([np.isin(np.arange(400), rows) for rows in one.estimators_samples_])
    each = np.array([made.predict(X) for made in one.estimators_])
    expected = np.where(seen, 0, each).sum(axis=0) / (~seen).sum(axis=0)
    np.testing.assert_allclose(one.oob_prediction_, expected, rtol=1e-12)


def test_early_stopping() -> None:
    model = GradientBoostingClassifier(n_estimators=500, learning_rate=1.0, n_iter_no_change=3, random_state=0)
    assert model.fit(X, LABELS).n_estimators_ == len(model.train_score_) < 500


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: DecisionStumpRegressor().fit([[np.nan], [1]], [0, 1]), ValueError, ["X contains NaN", "[0, 0]"]),
        (lambda: DecisionStumpRegressor().fit([[np.inf], [1]], [0, 1]), ValueError, ["X contains infinity"]),
        (lambda: DecisionStumpRegressor().fit(X, Y, -W), ValueError, ["sample_weight must be >= 0"]),
        (lambda: AdaBoostClassifier().fit(X, np.ones(400)), ValueError, ["y has 1 class"]),
        (lambda: AdaBoostClassifier(LeastSquares()).fit(X, LABELS), TypeError, ["estimator", "sample_weight"]),
        (lambda: AdaBoostRegressor(loss="cubic").fit(X, Y), ValueError, ["loss", "'cubic'"]),
        (lambda: AdaBoostRegressor(object()).fit(X, Y), TypeError, ["estimator", "fit"]),
        (lambda: GradientBoostingRegressor(n_estimators=0).fit(X, Y), ValueError, ["n_estimators must be >= 1, got 0"]),
        (lambda: GradientBoostingRegressor(subsample=1.5).fit(X, Y), ValueError, ["subsample", "1.5"]),
        (lambda: GradientBoostingRegressor(LeastSquares()).fit(X, Y, W), TypeError, ["sample_weight"]),
        (lambda: BaggingRegressor(max_features=9).fit(X, Y), ValueError, ["max_features=9", "5"]),
        (lambda: BaggingRegressor(bootstrap=False, oob_score=True).fit(X, Y), ValueError, ["oob_score=True"]),
        (lambda: BaggingClassifier(voting="loud").fit(X, LABELS), ValueError, ["voting", "'loud'"]),
    ],
)
def test_errors_name_the_argument(call: Any, error: type[Exception], fragments: list[str]) -> None:
    assert_refused(call, error, fragments)


@pytest.mark.parametrize("stump", [DecisionStumpClassifier(), DecisionStumpRegressor()], ids=["classes", "numbers"])
def test_of_equal_splits_the_lowest_feature_and_threshold_win(stump: Any) -> None:
    column, y = np.arange(4.0), np.array([0, 1, 1, 0])  # the thresholds 0.5 and 2.5 are equally good
    for columns, feature in (([column, column], 0), ([np.ones(4), column, column], 1), ([np.zeros(4), -column], 1)):
        stump.fit(np.column_stack(columns), y)
        low = 0.5 if columns[feature][1] > 0 else -2.5
        assert (stump.feature_, stump.threshold_) == (feature, low)
        importances = np.eye(len(columns))[feature]
        assert stump.feature_importances_.tolist() == importances.tolist()
