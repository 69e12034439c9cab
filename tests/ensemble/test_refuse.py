"""Bad input, misbehaving estimators and failed fits: an ensemble raises a clear error or gives correct numbers."""

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
    DecisionStumpClassifier,
    DecisionStumpRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
)
from tests.support.validation_cases import Array, LeastSquares, assert_refused

RNG = np.random.default_rng(8)
X = RNG.normal(size=(60, 3))
Y = X[:, 0] + 0.1 * RNG.normal(size=60)
LABELS = np.digitize(Y, [-0.5, 0.5])
NAMES = np.array(["a", "b", "c"])[LABELS]
CLASSIFIERS: list[Any] = [AdaBoostClassifier, BaggingClassifier, GradientBoostingClassifier]
REGRESSORS: list[Any] = [AdaBoostRegressor, BaggingRegressor, GradientBoostingRegressor]
ENSEMBLES = [*CLASSIFIERS, *REGRESSORS]
ALL = [*ENSEMBLES, DecisionStumpClassifier, DecisionStumpRegressor]


def made(model: Any, **options: Any) -> Any:
    """A model, with a seed if it has random_state."""
    seed = {"random_state": 1} if "random_state" in model().get_params() else {}
    return model(**seed, **options)


def target_of(model: Any) -> Array:
    return NAMES if model.__name__.endswith("Classifier") else Y


def answers(model: Any) -> Array:
    """The model's probabilities for X, or its predictions if it has no probabilities."""
    return np.asarray(model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X))


@pytest.mark.parametrize("model", ALL)
@pytest.mark.parametrize(
    ("rows", "fragments"),
    [
        (X.astype(str), ["X must hold numbers", "<U"]),
        ((1e3 * X).astype("M8[s]"), ["X must hold numbers", "datetime64[s]"]),
        ((1e3 * X).astype("m8[s]"), ["X must hold numbers", "timedelta64[s]"]),
        (np.ma.masked_array(X, X > 1), ["X has masked values"]),
    ],
    ids=["strings", "datetimes", "durations", "masked"],
)
def test_x_that_numpy_would_convert_to_numbers_is_refused(model: Any, rows: Any, fragments: list[str]) -> None:
    assert_refused(lambda: model().fit(rows, target_of(model)), TypeError, fragments)


@pytest.mark.parametrize("model", [*REGRESSORS, DecisionStumpRegressor])
def test_targets_that_are_not_numbers_are_refused(model: Any) -> None:
    assert_refused(lambda: model().fit(X, Y.astype(str)), TypeError, ["y must hold numbers", "<U"])
    assert_refused(lambda: model().fit(X, (9 * Y).astype("M8[s]")), TypeError, ["y must hold numbers", "datetime64"])
    assert_refused(lambda: model().fit(X, np.ma.masked_array(Y, Y > 1)), TypeError, ["y has masked values"])
    assert_refused(lambda: model().fit(X, np.sign(Y) * 1.7e308), ValueError, ["y[0] = ", "too large", "60"])


@pytest.mark.parametrize("model", [*CLASSIFIERS, DecisionStumpClassifier])
def test_nat_is_not_a_class(model: Any) -> None:
    days = LABELS.astype("M8[D]")
    days[4] = "NaT"
    assert_refused(lambda: model().fit(X, days), ValueError, ["y[4] is NaT"])
    assert model().fit(X, LABELS.astype("M8[D]")).classes_.tolist() == np.arange(3).astype("M8[D]").tolist()


@pytest.mark.parametrize("model", [*CLASSIFIERS, DecisionStumpClassifier])
@pytest.mark.parametrize(
    ("classes", "dtype"), [([2**53, 2**53 + 1, 2**53 + 2], "i8"), ([1, 2, 3], "i8"), ([1.0, 2, 3], "f8")]
)
def test_classes_in_object_arrays_keep_their_values(model: Any, classes: list[Any], dtype: str) -> None:
    fitted = model().fit(X, np.array(classes, object)[LABELS])
    assert fitted.classes_.tolist() == classes
    assert fitted.predict(X).dtype == dtype
    assert fitted.score(X, np.array(classes, object)[LABELS]) == fitted.score(X, np.array(classes)[LABELS])


def all_of(found: Any) -> Any:
    """Turn a generator of stages into a list; return other values unchanged."""
    return list(found) if hasattr(found, "__next__") else found


METHODS = ["predict", "predict_proba", "decision_function", "apply", "score", "staged_predict", "staged_score"]


@pytest.mark.peer
@pytest.mark.parametrize("model", ALL)
def test_warnings_point_at_the_users_line(model: Any) -> None:
    """Python shows a warning once per line: with a line of fastopt the user would see only the first one."""
    pandas, y = pytest.importorskip("pandas"), target_of(model)
    with pytest.warns(UserWarning, match="column-vector y") as caught:
        fitted = made(model).fit(pandas.DataFrame(X, columns=["a", "b", "c"]), y[:, None])
    assert [w.filename for w in caught] == [__file__]
    for method in METHODS:
        if hasattr(fitted, method):
            arguments = [X, y] if "score" in method else [X]
            with pytest.warns(UserWarning, match="does not have valid feature names") as caught:
                all_of(getattr(fitted, method)(*arguments))
            assert {w.filename for w in caught} == {__file__}, method


@pytest.mark.parametrize("model", ALL)
@pytest.mark.parametrize("exponent", [-1074, -1000, 1000])
def test_only_ratios_of_weights_matter(model: Any, exponent: int) -> None:
    weight = RNG.integers(1, 4, 60).astype(float)
    y = target_of(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain, scaled = (made(model).fit(X, y, w) for w in (weight, np.ldexp(weight, exponent)))
    assert answers(plain).tobytes() == answers(scaled).tobytes()
    assert scaled.score(X, y, np.ldexp(weight, exponent)) == plain.score(X, y, weight)


@pytest.mark.parametrize("exponent", [-900, 600])
def test_a_stump_of_very_small_or_large_targets(exponent: int) -> None:
    plain, scaled = (DecisionStumpRegressor().fit(X, np.ldexp(Y, e)) for e in (0, exponent))
    assert (scaled.feature_, scaled.threshold_) == (plain.feature_, plain.threshold_)
    assert np.array_equal(scaled.value_, np.ldexp(plain.value_, exponent))


@pytest.mark.parametrize("size", [1e6, 1e20, 1e150])
@pytest.mark.parametrize("at", [0, 30, 59])
def test_a_target_of_weight_0_may_have_any_size(size: float, at: int) -> None:
    weight, y = RNG.integers(1, 4, 60).astype(float), Y * 2.0**-40
    weight[at] = 0
    other = np.where(np.arange(60) == at, size, y)
    for model in (DecisionStumpRegressor(), GradientBoostingRegressor(n_estimators=5)):
        assert np.array_equal(model.fit(X, other, weight).predict(X), model.fit(X, y, weight).predict(X))


@pytest.mark.parametrize("model", ALL)
def test_score_checks_y_and_sample_weight(model: Any) -> None:
    y = target_of(model)
    fitted = made(model).fit(X, y)
    assert_refused(lambda: fitted.score(X, y[:1]), ValueError, ["y has 1 samples", "60"])
    assert_refused(lambda: fitted.score(X, y[:7]), ValueError, ["y has 7 samples", "60"])
    assert_refused(lambda: fitted.score(X, y, -np.ones(60)), ValueError, ["sample_weight must be >= 0"])
    assert_refused(lambda: fitted.score(X, y, np.ones(3)), ValueError, ["sample_weight has shape (3,)"])
    assert fitted.score(X, y[:, None]) == fitted.score(X, y)


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: GradientBoostingRegressor(subsample=0).fit(X, Y), ValueError, ["subsample must be in (0, 1], got 0"]),
        (lambda: BaggingRegressor(max_samples=1.5).fit(X, Y), ValueError, ["max_samples must be in (0, 1], got 1.5"]),
        (lambda: BaggingRegressor(max_features=np.nan).fit(X, Y), ValueError, ["max_features", "nan"]),
        (lambda: BaggingRegressor(max_samples=None).fit(X, Y), TypeError, ["max_samples", "int", "share", "None"]),
        (lambda: GradientBoostingRegressor(tol=-1.0).fit(X, Y), ValueError, ["tol must be >= 0", "got -1.0"]),
        (lambda: GradientBoostingRegressor(tol=np.nan).fit(X, Y), ValueError, ["tol must be >= 0", "got nan"]),
        (lambda: GradientBoostingRegressor(init="mean").fit(X, Y), ValueError, ["init", "None, 'zero'", "'mean'"]),
        (lambda: GradientBoostingRegressor(warm_start=3).fit(X, Y), ValueError, ["warm_start", "got 3"]),
        (lambda: AdaBoostRegressor(warm_start="no").fit(X, Y), ValueError, ["warm_start", "got 'no'"]),
        (lambda: GradientBoostingRegressor(init=5).fit(X, Y), TypeError, ["init must have fit and predict", "5"]),
        (
            lambda: GradientBoostingRegressor(init=LeastSquares()).fit(X, Y, np.ones(60)),
            TypeError,
            ["init must have sample_weight in fit()"],
        ),
        (
            lambda: AdaBoostClassifier(learning_rate=1.7e308).fit(X, LABELS),
            ValueError,
            ["learning_rate=1.7e+308 is too great"],
        ),
        (
            lambda: GradientBoostingRegressor(learning_rate=1e308).fit(X, Y),
            ValueError,
            ["learning_rate=1e+308", "the loss is"],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_errors_name_the_setting(call: Any, error: type[Exception], fragments: list[str]) -> None:
    assert_refused(call, error, fragments)


def test_parameters_are_set_all_or_none() -> None:
    model = BaggingRegressor(DecisionStumpRegressor())
    assert_refused(lambda: model.set_params(n_estimators=3, depth=1), ValueError, ["no parameter 'depth'"])
    assert_refused(lambda: model.set_params(n_estimators=3, estimator__depth=1), ValueError, ["no parameter 'depth'"])
    assert_refused(
        lambda: model.set_params(estimator=None, estimator__depth=1), ValueError, ["estimator=None has no parameters"]
    )
    assert (model.n_estimators, model.estimator is None) == (10, False)
    inner = GradientBoostingRegressor()
    model.set_params(n_estimators=3, estimator__tol=0.5, estimator=inner)
    assert (model.n_estimators, model.estimator, inner.tol) == (3, inner, 0.5)


class Misbehaving:
    """Predicts the first target, in a valid or an invalid form."""

    def __init__(self, form: str = "full") -> None:
        self.form = form

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> None:
        self.value = y[0]

    def predict(self, X: Any) -> Any:
        every = np.full(len(X), self.value)
        return {
            "full": every,
            "scalar": self.value,
            "one": every[:1],
            "short": every[:-1],
            "twice": np.stack([every, every], axis=1),
            "nan": every * np.nan if every.dtype.kind in "iuf" else np.full(len(X), np.nan),
            "strings": np.full(len(X), "strange"),
        }[self.form]


@pytest.mark.parametrize("model", ENSEMBLES)
@pytest.mark.parametrize("form", ["scalar", "one", "short", "twice", "nan", "strings"])
def test_predictions_of_another_shape_or_kind(model: Any, form: str) -> None:
    errors = {"strings": (TypeError, ValueError)}.get(form, (ValueError,))
    with pytest.raises(errors, match=r"estimator:? predict"):
        made(model, estimator=Misbehaving(form), n_estimators=3).fit(X, target_of(model)).predict(X)


class BadProbabilities(Misbehaving):
    def predict_proba(self, X: Any) -> Any:
        p = np.full((len(X), 3), 1 / 3)
        return {"one": p[:1], "narrow": p[:, :2], "nan": p * np.nan}[self.form]


@pytest.mark.parametrize("form", ["one", "narrow", "nan"])
def test_probabilities_of_another_shape(form: str) -> None:
    for model in (BaggingClassifier(BadProbabilities(form)), GradientBoostingClassifier(init=BadProbabilities(form))):
        with pytest.raises(ValueError, match="estimator: predict_proba gives"):
            model.fit(X, NAMES).predict(X)


class Tree(Misbehaving):
    """Two leaves, below and above 0; `shift` moves their numbers."""

    shift = 0

    def apply(self, X: Any) -> Any:
        return (X[:, 0] > 0).astype(int) + self.shift


def test_a_leaf_without_training_samples() -> None:
    model = GradientBoostingClassifier(Tree(), n_estimators=2).fit(X, LABELS)
    assert set(model.apply(X).ravel().tolist()) == {0, 1}
    for of_round in model.estimators_:
        of_round[0].tree.shift = 1
    assert_refused(lambda: model.predict(X), ValueError, ["estimator: apply gives leaf 2"])


class Stops(Misbehaving):
    """A stump; after `left` fits the next one raises KeyboardInterrupt."""

    left = 0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> None:
        Stops.left -= 1
        if Stops.left < 0:
            raise KeyboardInterrupt
        self.stump = (DecisionStumpRegressor if np.asarray(y).dtype.kind == "f" else DecisionStumpClassifier)()
        self.stump.fit(X, y, sample_weight)

    def predict(self, X: Any) -> Any:
        return self.stump.predict(X)


@pytest.mark.parametrize("model", ENSEMBLES)
@pytest.mark.parametrize("seed", [1, None])
def test_an_interrupted_fit_keeps_the_previous_one(model: Any, seed: Any) -> None:
    Stops.left = 99
    fitted = model(Stops, n_estimators=2, random_state=seed).fit(X, target_of(model))
    before, expected = dict(vars(fitted)), answers(fitted)
    Stops.left = 1
    other = LABELS > 0 if model in CLASSIFIERS else 100 + Y
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X, other)
    assert vars(fitted) == before
    assert all(vars(fitted)[k] is before[k] for k in before)
    assert np.array_equal(answers(fitted), expected)


def test_a_new_fit_removes_attributes_of_former_settings() -> None:
    bagging = BaggingRegressor(n_estimators=60, oob_score=True, random_state=0).fit(X, Y)
    boosting = GradientBoostingRegressor(subsample=0.5, random_state=0).fit(X, Y)
    assert hasattr(bagging.set_params(), "oob_prediction_")
    assert not hasattr(bagging.set_params(oob_score=False).fit(X, Y), "oob_prediction_")
    assert not hasattr(bagging, "oob_score_")
    assert boosting.oob_score_ == boosting.oob_scores_[-1]
    assert not hasattr(boosting.set_params(subsample=1.0).fit(X, Y), "oob_improvement_")


@pytest.mark.parametrize("model", CLASSIFIERS)
@pytest.mark.parametrize("now", [LABELS > 0, LABELS + 1, NAMES], ids=["fewer", "others", "another kind"])
def test_a_warm_start_needs_the_same_classes(model: Any, now: Array) -> None:
    fitted = model(n_estimators=2, warm_start=True).fit(X, LABELS).set_params(n_estimators=3)
    assert_refused(lambda: fitted.fit(X, now), ValueError, ["y has the classes", "warm_start goes on from [0, 1, 2]"])
    assert len(fitted.estimators_) == 2


@pytest.mark.parametrize(
    ("changed", "fragments"),
    [
        ({"max_samples": 0.5}, ["max_samples is 30 now", "60"]),
        ({"max_features": 2}, ["max_features is 2 now", "3"]),
        ({"bootstrap_features": True}, ["bootstrap_features is True now", "False"]),
        ({"bootstrap": False}, ["bootstrap is False now", "True"]),
        ({"X": X[:50], "y": Y[:50]}, ["the number of samples in X is 50 now", "60"]),
        ({"sample_weight": np.arange(60.0)}, ["sample_weight has changed"]),
    ],
    ids=["samples", "features", "columns with replacement", "without replacement", "fewer rows", "weights"],
)
def test_a_warm_bagging_needs_the_same_parts(changed: dict[str, Any], fragments: list[str]) -> None:
    data = {k: changed.pop(k) for k in ("X", "y", "sample_weight") if k in changed}
    fitted = BaggingRegressor(n_estimators=2, warm_start=True).fit(X, Y).set_params(n_estimators=3, **changed)
    assert_refused(lambda: fitted.fit(**{"X": X, "y": Y, **data}), ValueError, fragments)
    assert len(fitted.estimators_) == 2


@pytest.mark.peer
@pytest.mark.parametrize("model", ENSEMBLES)
def test_a_class_or_a_function_makes_the_estimators(model: Any) -> None:
    trees = pytest.importorskip("sklearn.tree")
    kind = "Classifier" if model in (AdaBoostClassifier, BaggingClassifier) else "Regressor"
    tree = getattr(trees, f"DecisionTree{kind}")
    weight = RNG.random(60)
    found = [
        answers(made(model, estimator=e, n_estimators=3).fit(X, target_of(model), weight))
        for e in (tree(), tree, lambda: tree())
    ]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.peer
def test_leaves_and_importances_equal_scikit_learns() -> None:
    theirs, trees = pytest.importorskip("sklearn.ensemble"), pytest.importorskip("sklearn.tree")
    x = X.astype(np.float32).astype(float)
    options: dict[str, Any] = {"n_estimators": 6, "learning_rate": 0.3}
    for ours, name, y, depth in (
        (GradientBoostingRegressor, "GradientBoostingRegressor", Y, 2),
        (GradientBoostingClassifier, "GradientBoostingClassifier", LABELS > 0, 1),
        (GradientBoostingClassifier, "GradientBoostingClassifier", LABELS, 1),
    ):
        common: dict[str, Any] = {"max_depth": depth, "min_samples_leaf": 10, "random_state": 0}
        a = ours(trees.DecisionTreeRegressor(**common), **options).fit(x, y)
        b = getattr(theirs, name)(**common, **options).fit(x, y)
        assert np.array_equal(a.apply(x), b.apply(x))
        np.testing.assert_allclose(a.feature_importances_, b.feature_importances_, rtol=1e-7)
        stumps, depth_1 = ours(**options).fit(x, y), getattr(theirs, name)(max_depth=1, **options).fit(x, y)
        assert np.array_equal(stumps.apply(x) + 1, depth_1.apply(x))
    assert_refused(lambda: GradientBoostingRegressor(LeastSquares()).fit(X, Y).apply(X), AttributeError, ["apply"])


class Seeded(Stops):
    """A stump with a random_state that it does not use."""

    def __init__(self, random_state: Any = None) -> None:
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"random_state": self.random_state}

    def set_params(self, random_state: Any) -> None:
        self.random_state = random_state


@pytest.mark.parametrize("model", ENSEMBLES)
def test_every_estimator_has_its_own_seed(model: Any) -> None:
    def seeds(seed: Any, given: Any = None) -> list[Any]:
        Stops.left = 99
        fitted = model(Seeded(given), n_estimators=4, random_state=seed).fit(X, LABELS > 0)
        return [one.random_state for one in np.ravel(np.array(fitted.estimators_, object))]

    assert seeds(1) == seeds(1) == seeds(np.random.SeedSequence(1))
    one, other = seeds(1), seeds(2)
    assert len({*one, *other}) == len(one) + len(other) > 2
    assert set(seeds(1, given=5)) == {5}


def test_columns_are_drawn_in_ascending_order() -> None:
    for replace in (False, True):
        options: dict[str, Any] = {"max_features": 2, "bootstrap_features": replace, "random_state": 0}
        drawn = BaggingRegressor(n_estimators=20, **options).fit(X, Y).estimators_features_
        assert all(len(columns) == 2 and columns[0] <= columns[1] for columns in drawn)
        assert any(columns[0] == columns[1] for columns in drawn) == replace


@pytest.mark.parametrize("model", ENSEMBLES)
def test_estimator_is_the_default_stump(model: Any) -> None:
    fitted = model(n_estimators=2).fit(X, target_of(model))
    assert type(fitted.estimator_).__name__.startswith("DecisionStump")
    if model in CLASSIFIERS:
        assert fitted.n_classes_ == 3
