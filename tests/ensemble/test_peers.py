"""The ensembles against scikit-learn's, with its trees, without scikit-learn, and on a dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

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
from tests.support.validation_cases import LeastSquares, assert_refused, printed

RNG = np.random.default_rng(5)
X = RNG.normal(size=(300, 4))
Y = X[:, 0] + np.where(X[:, 1] > 0.2, 2.0, 0.0) + 0.5 * RNG.normal(size=300)
LABELS = np.digitize(Y, [-0.5, 1.5])
SPLITS = 6


def _sklearn(module: str) -> Any:
    return pytest.importorskip(f"sklearn.{module}")


def _tree(kind: str, depth: int | None) -> Any:
    return getattr(_sklearn("tree"), f"DecisionTree{kind}")(max_depth=depth)


def _ours_and_theirs(name: str, seed: int) -> tuple[Any, Any]:
    theirs = _sklearn("ensemble")
    kind = "Classifier" if name.endswith("Classifier") else "Regressor"
    common: dict[str, Any] = {"n_estimators": 30, "random_state": seed}
    if name.startswith("Bagging"):
        common |= {"estimator": _tree(kind, None), "max_samples": 0.8, "max_features": 0.7}
        return globals()[name](**common), getattr(theirs, name)(**common)
    if name.startswith("AdaBoost"):
        estimator = _tree(kind, 1)
        return globals()[name](**common), getattr(theirs, name)(estimator, **common)
    common |= {"subsample": 0.7, "learning_rate": 0.2}
    return globals()[name](**common), getattr(theirs, name)(max_depth=1, **common)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("data", "name"),
    [
        (data, f"{method}{kind}")
        for data, kind in (
            ("digits", "Classifier"),
            ("breast_cancer", "Classifier"),
            ("wine", "Classifier"),
            ("diabetes", "Regressor"),
        )
        for method in ("Bagging", "AdaBoost", "GradientBoosting")
    ],
)
def test_held_out_scores_equal_scikit_learns_statistically(data: str, name: str) -> None:
    """On the same splits the mean difference is within three standard errors, or within 0.01."""
    x, y = getattr(_sklearn("datasets"), f"load_{data}")(return_X_y=True)
    split = _sklearn("model_selection").train_test_split
    scores = []
    for seed in range(SPLITS):
        a, b, c, d = split(x, y, random_state=seed, stratify=y if name.endswith("Classifier") else None)
        scores.append([model.fit(a, c).score(b, d) for model in _ours_and_theirs(name, seed)])
    ours, theirs = np.transpose(scores)
    error = np.std(ours - theirs, ddof=1) / np.sqrt(SPLITS)
    assert abs(np.mean(ours - theirs)) <= max(3 * error, 0.01), (ours, theirs)
    assert error < 0.03
    assert theirs.mean() > 0.2


@pytest.mark.peer
@pytest.mark.parametrize("loss", ["linear", "square", "exponential"])
def test_adaboost_r2_weights_equal_scikit_learns(loss: str) -> None:
    """With a constant regressor the drawn samples do not matter: only the formulas decide weights and errors."""
    dummy = _sklearn("dummy").DummyRegressor(strategy="constant", constant=0.3)
    y = np.abs(np.random.default_rng(1).normal(size=200)) ** 3
    ours = AdaBoostRegressor(dummy, n_estimators=6, loss=loss, learning_rate=0.6, random_state=0).fit(X[:200], y)
    theirs = _sklearn("ensemble").AdaBoostRegressor(dummy, n_estimators=6, loss=loss, learning_rate=0.6, random_state=0)
    theirs.fit(X[:200], y)
    assert len(ours.estimators_) == len(theirs.estimators_)
    np.testing.assert_allclose(ours.estimator_errors_, theirs.estimator_errors_[: len(ours.estimators_)], rtol=1e-10)
    np.testing.assert_allclose(ours.estimator_weights_, theirs.estimator_weights_[: len(ours.estimators_)], rtol=1e-10)


@pytest.mark.peer
def test_deeper_trees_learn_as_in_scikit_learn() -> None:
    """With deterministic trees the rounds are the same: leaves of at least ten samples, Newton steps, weights."""
    theirs = _sklearn("ensemble")
    x = X.astype(np.float32).astype(float)
    weight = np.random.default_rng(2).random(300) + 0.1
    options: dict[str, Any] = {"n_estimators": 15, "learning_rate": 0.3}
    tree = _tree("Regressor", 3).set_params(random_state=0, min_samples_leaf=10)
    a = GradientBoostingClassifier(tree, **options).fit(x, LABELS, weight)
    b = theirs.GradientBoostingClassifier(max_depth=3, min_samples_leaf=10, random_state=0, **options).fit(
        x, LABELS, weight
    )
    np.testing.assert_allclose(a.predict_proba(x), b.predict_proba(x), rtol=1e-6)
    np.testing.assert_allclose(a.train_score_, b.train_score_, rtol=1e-8)
    ada = _tree("Classifier", 3).set_params(random_state=0)
    c = AdaBoostClassifier(ada, n_estimators=15).fit(x, LABELS, weight)
    d = theirs.AdaBoostClassifier(ada, n_estimators=15).fit(x, LABELS, weight)
    # only the accuracy: scikit-learn gives every tree a new seed, which decides between equal splits
    assert abs(c.score(x, LABELS, weight) - d.score(x, LABELS, weight)) < 0.05


@pytest.mark.peer
def test_init_may_be_an_estimator() -> None:
    theirs, linear = _sklearn("ensemble"), _sklearn("linear_model")
    x = X.astype(np.float32).astype(float)
    options: dict[str, Any] = {"n_estimators": 10, "learning_rate": 0.3}
    for init in (linear.LinearRegression(), "zero"):
        a = GradientBoostingRegressor(init=init, **options).fit(x, Y)
        b = theirs.GradientBoostingRegressor(init=init, max_depth=1, **options).fit(x, Y)
        # scikit-learn fits init to float32
        np.testing.assert_allclose(a.predict(x), b.predict(x), rtol=1e-5, atol=1e-5)
    for labels in (LABELS, LABELS > 0):
        for init in (linear.LogisticRegression(), "zero"):
            c = GradientBoostingClassifier(init=init, **options).fit(x, labels)
            d = theirs.GradientBoostingClassifier(init=init, max_depth=1, **options).fit(x, labels)
            np.testing.assert_allclose(c.predict_proba(x), d.predict_proba(x), rtol=1e-4, atol=1e-5)
    assert isinstance(GradientBoostingRegressor(init=LeastSquares).fit(X, Y).init_, LeastSquares)
    no_proba = GradientBoostingClassifier(init=LeastSquares())
    assert_refused(lambda: no_proba.fit(X, LABELS), TypeError, ["init must have fit and predict_proba"])


@pytest.mark.peer
@pytest.mark.parametrize("model", [AdaBoostClassifier, BaggingClassifier, GradientBoostingClassifier])
def test_sparse_x_is_accepted_if_the_estimator_accepts_it(model: Any) -> None:
    x = np.where(X > 0.5, X, 0)
    rows = pytest.importorskip("scipy.sparse").csr_array(x)
    tree = _tree("Regressor" if model is GradientBoostingClassifier else "Classifier", 2).set_params(random_state=0)
    made = model(tree, n_estimators=5, random_state=0)
    dense, sparse = made.fit(x, LABELS).predict_proba(x), made.fit(rows, LABELS).predict_proba(rows)
    np.testing.assert_allclose(sparse, dense, rtol=1e-12)
    assert_refused(lambda: model(n_estimators=5).fit(rows, LABELS), TypeError, ["X is sparse data", "dense"])


def test_oob_improvement_is_the_decrease_of_the_out_of_bag_loss() -> None:
    model = GradientBoostingRegressor(n_estimators=12, subsample=0.5, learning_rate=0.3, random_state=3).fit(X, Y)
    before = np.full(300, Y.mean())
    for i, after in enumerate(model.staged_predict(X)):
        use = np.sort(model._rng(1, i).choice(300, 150, replace=False))
        out = np.setdiff1d(np.arange(300), use)
        expected = np.mean((Y - before)[out] ** 2) - np.mean((Y - after)[out] ** 2)
        np.testing.assert_allclose(model.oob_improvement_[i], expected, rtol=1e-9)
        np.testing.assert_allclose(model.oob_scores_[i], np.mean((Y - after)[out] ** 2), rtol=1e-9)
        np.testing.assert_allclose(model.train_score_[i], np.mean((Y - after)[use] ** 2), rtol=1e-9)
        before = after
    assert model.oob_improvement_[0] > 0


@pytest.mark.parametrize(("n", "fraction", "out"), [(10, 0.3, 3), (100, 0.29, 29), (9, 1 / 3, 3), (299, 0.1, 29)])
def test_the_number_of_held_out_samples(n: int, fraction: float, out: int) -> None:
    model = GradientBoostingRegressor(n_estimators=1, n_iter_no_change=1, validation_fraction=fraction, random_state=0)
    train, held = model.fit(X[:n], Y[:n])._hold_out(Y[:n], np.ones(n))
    assert len(held) == out
    assert np.array_equal(np.sort(np.r_[train, held]), np.arange(n))
    prior = GradientBoostingRegressor(n_estimators=1).fit(X[train], Y[train])
    assert np.array_equal(model.predict(X), prior.predict(X))


def test_the_held_out_part_is_stratified_and_its_loss_weighted() -> None:
    """The held-out part is stratified. Its loss is weighted, so that samples of weight 0 do not influence stopping."""
    options: dict[str, Any] = {"n_iter_no_change": 2, "validation_fraction": 0.25, "random_state": 3}
    model = GradientBoostingClassifier(n_estimators=1, **options).fit(X, LABELS)
    _, held = model._hold_out(LABELS, np.ones(300))
    assert np.abs(np.bincount(LABELS[held]) - np.bincount(LABELS) / 4).max() < 1
    weight = np.where(RNG.random(300) < 0.3, 0.0, 1.0)
    noise = np.where(weight > 0, Y, 1e6 * RNG.normal(size=300))
    a, b = (
        GradientBoostingRegressor(n_estimators=200, learning_rate=1.0, **options).fit(X, y, weight) for y in (Y, noise)
    )
    assert a.n_estimators_ == b.n_estimators_ < 200
    assert np.array_equal(a.predict(X), b.predict(X))
    with_tol = GradientBoostingRegressor(n_estimators=200, learning_rate=0.1, tol=0.05, **options).fit(X, Y)
    without = GradientBoostingRegressor(n_estimators=200, learning_rate=0.1, tol=0.0, **options).fit(X, Y)
    assert with_tol.n_estimators_ < without.n_estimators_


def test_tiny_weights_are_raised_as_in_scikit_learn() -> None:
    """Weights below the machine epsilon are raised to it, so that the error of a few tiny weights is not lost."""
    labels = (X[:, 0] > 0.1).astype(int)
    labels[:9] = 1 - labels[:9]
    weight = np.where(np.arange(300) < 9, 1e-30, 1.0)
    a = AdaBoostClassifier(n_estimators=12).fit(X, labels, weight)
    tree = _tree("Classifier", 1)
    b = _sklearn("ensemble").AdaBoostClassifier(tree, n_estimators=12).fit(X, labels, weight)
    np.testing.assert_allclose(a.estimator_errors_, b.estimator_errors_[: len(a.estimators_)], rtol=1e-6)
    assert 0 < a.estimator_errors_[0] < 1e-12


def test_samples_of_weight_0_do_not_set_the_largest_error() -> None:
    y, weight = Y.copy(), np.ones(300)
    y[7], weight[7] = 1e6, 0.0
    a = AdaBoostRegressor(Guess(0.5), n_estimators=4).fit(X, y, weight)
    b = AdaBoostRegressor(Guess(0.5), n_estimators=4).fit(np.delete(X, 7, axis=0), np.delete(y, 7))
    np.testing.assert_allclose(a.estimator_errors_, b.estimator_errors_, rtol=1e-12)
    assert len(a.estimator_errors_) == 4


def test_the_median_is_the_lower_one_of_two() -> None:
    model = AdaBoostRegressor(n_estimators=2, random_state=0).fit(X, Y)
    model.estimator_weights_ = np.ones(2)
    each = np.array([made.predict(X) for made in model.estimators_])
    assert np.array_equal(model.predict(X), each.min(axis=0))
    assert (each[0] != each[1]).any()


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_oob_decision_function_averages_the_estimators_without_the_row(voting: str) -> None:
    model = BaggingClassifier(n_estimators=40, max_features=0.5, oob_score=True, random_state=2, voting=voting)
    model.fit(X, LABELS)
    total, often = np.zeros((300, 3)), np.zeros((300, 1))
    for made, rows, columns in zip(
        model.estimators_, model.estimators_samples_, model.estimators_features_, strict=True
    ):
        out = np.setdiff1d(np.arange(300), rows)
        p = made.predict_proba(X[out][:, columns])
        total[out] += p if voting == "soft" else np.eye(3)[p.argmax(axis=1)]
        often[out] += 1
    np.testing.assert_allclose(model.oob_decision_function_, total / often, rtol=1e-12)
    assert model.oob_score_ == np.mean((total / often).argmax(axis=1) == LABELS)
    with pytest.warns(UserWarning, match="samples were in every bag"):
        few = BaggingClassifier(n_estimators=1, oob_score=True, random_state=0).fit(X, LABELS)
    seen = np.isin(np.arange(300), few.estimators_samples_[0])
    assert np.array_equal(np.isnan(few.oob_decision_function_).all(axis=1), seen)


@pytest.mark.parametrize("bootstrap", [True, False])
def test_bags_are_drawn_by_weight(bootstrap: bool) -> None:
    weight = np.where(np.arange(300) < 40, 0.0, np.where(np.arange(300) < 170, 1.0, 3.0))
    model = BaggingRegressor(n_estimators=60, max_samples=100, bootstrap=bootstrap, random_state=5).fit(X, Y, weight)
    often = np.bincount(np.concatenate(model.estimators_samples_), minlength=300)
    assert often[:40].sum() == 0
    low, high = often[40:170].mean(), often[170:].mean()
    assert low + high == pytest.approx(60 * 100 / 130)
    assert high / low == pytest.approx(3 if bootstrap else 2.2, rel=0.2)
    assert (max(len(np.unique(rows)) for rows in model.estimators_samples_) == 100) == (not bootstrap)


def test_out_of_bag_scores_are_weighted() -> None:
    weight = RNG.integers(0, 4, 300).astype(float)
    options: dict[str, Any] = {"n_estimators": 40, "oob_score": True, "random_state": 2}
    a, b = BaggingClassifier(**options).fit(X, LABELS, weight), BaggingRegressor(**options).fit(X, Y, weight)
    right = a.oob_decision_function_.argmax(axis=1) == LABELS
    assert a.oob_score_ == pytest.approx(np.average(right, weights=weight), rel=1e-12)
    left = weight @ (Y - b.oob_prediction_) ** 2
    assert b.oob_score_ == pytest.approx(1 - left / (weight @ (Y - np.average(Y, weights=weight)) ** 2), rel=1e-12)


def test_init_gets_the_weights() -> None:
    weight = RNG.integers(0, 4, 300).astype(float)
    model = GradientBoostingRegressor(init=DecisionStumpRegressor(), n_estimators=1).fit(X, Y, weight)
    assert model.init_.value_.tolist() == DecisionStumpRegressor().fit(X, Y, weight).value_.tolist()
    assert model.init_.value_.tolist() != DecisionStumpRegressor().fit(X, Y).value_.tolist()


def test_probabilities_do_not_overflow() -> None:
    """Raw predictions beyond ±1000 give probabilities 0 and 1, without a warning."""
    model = GradientBoostingClassifier(n_estimators=30, learning_rate=800.0).fit(X, X[:, 0] > 0)
    assert np.abs(model.decision_function(X)).max() > 1000
    assert np.array_equal(model.predict(X), X[:, 0] > 0)
    assert np.abs(model.predict_proba(X) - np.round(model.predict_proba(X))).max() < 1e-300


class Guess:
    """Always predicts the given class or number."""

    def __init__(self, answer: Any = 0) -> None:
        self.answer = answer

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> None:
        pass

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.answer)


class Forgets:
    """A stump at its first fit; every later one predicts the wrong class everywhere."""

    made = 0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> None:
        type(self).made += 1
        self.wrong = type(self).made > 1
        self.stump = DecisionStumpClassifier().fit(X, y, sample_weight)

    def predict(self, X: Any) -> Any:
        found = self.stump.predict(X)
        return 1 - found if self.wrong else found


def test_adaboost_ends_before_a_learner_no_better_than_a_guess() -> None:
    y = (LABELS > 0).astype(int)
    rare = np.bincount(y).argmin()
    assert_refused(lambda: AdaBoostClassifier(Guess(rare)).fit(X, y), ValueError, ["estimator is no better", "guess"])
    Forgets.made = 0
    model = AdaBoostClassifier(Forgets, n_estimators=9).fit(X, y)
    assert Forgets.made == 2
    assert len(model.estimators_) == len(model.estimator_weights_) == len(model.estimator_errors_) == 1
    far = AdaBoostRegressor(Guess(1e3), n_estimators=9).fit(X, Y)  # its mean loss in the first round is above 1/2
    assert (len(far.estimators_), far.estimator_weights_.tolist()) == (1, [0.0])
    assert np.array_equal(far.predict(X), np.full(300, 1e3))


class Together(LeastSquares):
    """Has fit_many, and records how many models each call fits."""

    counts: ClassVar[list[int]] = []

    @staticmethod
    def fit_many(estimators: Any, Xs: Any, ys: Any, sample_weights: Any = None) -> Any:
        Together.counts.append(len(estimators))
        for made, x, y in zip(estimators, Xs, ys, strict=True):
            made.fit(x, y)
        return list(estimators)


def test_bagging_uses_fit_many() -> None:
    options: dict[str, Any] = {"n_estimators": 7, "max_samples": 0.6, "max_features": 0.5, "random_state": 4}
    Together.counts.clear()
    together = BaggingRegressor(Together(), **options).fit(X, Y)
    in_turn = BaggingRegressor(LeastSquares(), **options).fit(X, Y)
    assert Together.counts == [7]
    assert np.array_equal(together.predict(X), in_turn.predict(X))
    BaggingRegressor(Together(), n_jobs=1, **options).fit(X, Y)
    assert Together.counts == [7]


BAD: dict[str, tuple[Callable[[], Any], type[Exception], list[str]]] = {
    "weights all zero": (
        lambda: BaggingRegressor().fit(X, Y, np.zeros(300)), ValueError, ["sample_weight is zero for every"]
    ),
    "one class": (lambda: BaggingClassifier().fit(X, np.ones(300)), ValueError, ["y has 1 class"]),
    "one class with weight": (
        lambda: AdaBoostClassifier().fit(X, LABELS, LABELS == 1), ValueError, ["y has 1 class with any weight"]
    ),
    "a class without weight": (
        lambda: GradientBoostingClassifier().fit(X, LABELS, LABELS > 0), ValueError, ["sample_weight is 0", "class 0"]
    ),
    "a regressor among classes": (
        lambda: AdaBoostClassifier(DecisionStumpRegressor()).fit(X, LABELS), ValueError, ["estimator predicts", "y"]
    ),
    "a regressor's vote": (
        lambda: BaggingClassifier(LeastSquares()).fit(X, LABELS).predict(X), ValueError, ["estimator predicts", "y"]
    ),
    "a classifier of residuals": (
        lambda: GradientBoostingRegressor(DecisionStumpClassifier()).fit(X, Y), ValueError, ["y must hold classes"]
    ),
    "no predict": (lambda: BaggingRegressor(object()).fit(X, Y), TypeError, ["estimator must have fit and predict"]),
    "no samples": (lambda: AdaBoostRegressor().fit(X[:0], Y[:0]), ValueError, ["0 sample(s)"]),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_errors_name_the_argument(what: str) -> None:
    assert_refused(*BAD[what])


@pytest.mark.parametrize("model", [AdaBoostRegressor, GradientBoostingRegressor, BaggingRegressor])
@pytest.mark.parametrize("weight", [-0.5, np.nan, np.inf])
def test_weights_are_finite_and_not_negative(model: Any, weight: float) -> None:
    w = np.ones(300)
    w[7] = weight
    assert_refused(lambda: model().fit(X, Y, w), ValueError, ["sample_weight", "7"])


@pytest.mark.parametrize("model", [AdaBoostRegressor, GradientBoostingRegressor, BaggingRegressor])
def test_a_warm_start_needs_the_same_features(model: Any) -> None:
    made = model(n_estimators=2, warm_start=True).fit(X, Y).set_params(n_estimators=4)
    assert_refused(lambda: made.fit(X[:, :3], Y), ValueError, ["X has 3 features", "4"])
    assert np.isfinite(made.predict(X)).all()


ALONE = """
    import sys
    for name in ("sklearn", "scipy", "joblib", "pandas"):
        sys.modules[name] = None
    import numpy as np
    from fastopt import ensemble
    x = np.random.default_rng(0).normal(size=(80, 3))
    y = x[:, 0] - x[:, 1]
    for name in ensemble.__all__:
        if name.startswith(("Bagging", "AdaBoost", "GradientBoosting", "DecisionStump")):
            model = getattr(ensemble, name)()
            target = (y > 0) if name.endswith("Classifier") else y
            score = model.fit(x, target).score(x, target)
            assert score > 0.3, (name, score)
            if not name.startswith("DecisionStump"):
                kind = "Classifier" if name.endswith("Classifier") and "Gradient" not in name else "Regressor"
                given = type(model)(getattr(ensemble, "DecisionStump" + kind)())
                assert given.fit(x, target).score(x, target) > 0.3, name
            try:
                getattr(ensemble, name)().predict(x)
            except ValueError as error:
                assert "not fitted" in str(error)
            else:
                raise AssertionError(name)
            print(name)
"""


def test_all_work_without_scikit_learn(tmp_path: Path) -> None:
    assert len(printed(tmp_path, ALONE).split()) == 8


CLUSTER = """
    import sys
    import joblib, numpy as np
    from fastopt.ensemble import AdaBoostClassifier, BaggingClassifier, BaggingRegressor
    from fastopt.validation import cross_validate
    from fastopt.ensemble import GradientBoostingRegressor
    from tests.support.validation_cases import Noisy

    def main(n_jobs):
        x = np.random.default_rng(0).normal(size=(90, 3))
        y = x[:, 0] + np.random.default_rng(1).normal(size=90)
        made = {"n_estimators": 12, "random_state": 3, "n_jobs": n_jobs, "oob_score": True, "max_features": 2}
        a = BaggingClassifier(**made).fit(x, y > 0)
        b = BaggingRegressor(Noisy(), **made).fit(x, y)
        c = cross_validate(AdaBoostClassifier(n_estimators=9), x, y > 0, n_jobs=n_jobs, rng=0)
        d = cross_validate(GradientBoostingRegressor(n_estimators=9, subsample=0.5), x, y, n_jobs=n_jobs, rng=0)
        for values in (a.predict_proba(x), a.oob_decision_function_, b.predict(x), b.oob_prediction_):
            print(values.tobytes().hex())
        for result in (c, d):
            print(np.asarray(list(result.test_scores.values())).tobytes().hex())

    if __name__ == "__main__":
        if sys.argv[-1] == "dask":
            from dask.distributed import Client, LocalCluster
            options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
            with LocalCluster(**options) as cluster, Client(cluster), joblib.parallel_config(backend="dask"):
                main(-1)
        else:
            main(2 if sys.argv[-1] == "two" else None)
"""


@pytest.mark.peer
def test_the_same_numbers_on_a_dask_cluster(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    found = {where: printed(tmp_path, CLUSTER, where) for where in ("here", "two", "dask")}
    assert found["here"].count("\n") == 6
    assert found["here"] == found["two"] == found["dask"]
