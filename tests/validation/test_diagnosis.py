"""Gap, verdict and curves: against explicit loops, scikit-learn, and models known to fit, underfit or overfit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastopt.validation import (
    ConstantGuess,
    KFold,
    SlidingWindow,
    StratifiedKFold,
    cross_validate,
    diagnose,
    generalization_gap,
    learning_curve,
    validation_curve,
)
from tests.support.validation_cases import Array, LeastSquares, Noisy, assert_refused

RNG = np.random.default_rng(11)
X = RNG.uniform(-2, 2, size=(200, 1))
NOISE = RNG.normal(size=200)
LINE = 3 * X[:, 0] + 0.5 * NOISE
WAVE = np.sin(3 * X[:, 0]) + 0.1 * NOISE
LABELS = np.where(LINE > 0, "up", "down")


class Nearest:
    """1-nearest neighbour, which memorizes its training set; with `degree` set, a polynomial instead."""

    def __init__(self, degree: int | None = None) -> None:
        self.degree = degree

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"degree": self.degree}

    def set_params(self, **params: Any) -> Nearest:
        self.degree = params["degree"]
        return self

    def fit(self, X: Any, y: Any) -> Nearest:
        self.x, self.y = np.asarray(X)[:, 0], np.asarray(y)
        if self.degree is not None:
            self.poly = np.polynomial.Polynomial.fit(self.x, self.y, self.degree, domain=[-2, 2])
        return self

    def predict(self, X: Any) -> Array:
        x = np.asarray(X)[:, 0]
        return self.poly(x) if self.degree is not None else self.y[np.abs(x[:, None] - self.x).argmin(axis=1)]


class NearestLabel(Nearest):
    _estimator_type = "classifier"


def test_the_gap_is_training_minus_held_out() -> None:
    gap = generalization_gap(LeastSquares(), X, LINE, cv=4, scoring="r2")
    both = cross_validate(LeastSquares(), X, LINE, cv=4, scoring="r2", train_scores=True)
    assert np.array_equal(gap.gaps, both.train_scores["r2"] - both.test_scores["r2"])
    half = 3.182446305284263 * np.sqrt((1 / 4 + 50 / 150) * gap.gaps.var(ddof=1))
    assert gap.gap == pytest.approx((gap.gaps.mean(), gap.gaps.mean() - half, gap.gaps.mean() + half), rel=1e-9)
    assert (gap.test, gap.train.mean) == (both.interval(), both.train_scores["r2"].mean())
    assert repr(gap).startswith("r2: train 0.9")


@pytest.mark.parametrize(
    ("model", "y", "scoring", "verdict"),
    [
        (LeastSquares(), LINE, None, "fits"),
        (LeastSquares(), LINE, "neg_mean_squared_error", "fits"),
        (LeastSquares(), LINE, "neg_mean_absolute_error", "fits"),
        (LeastSquares(), WAVE + 0.7 * X[:, 0], "r2", "underfits"),
        (Nearest(), LINE + 3 * NOISE[::-1], "r2", "overfits"),
        (NearestLabel(), np.where(LINE + 3 * NOISE[::-1] > 0, "up", "down"), None, "overfits"),
        (NearestLabel(), LABELS, None, "fits"),
        (Nearest(), NOISE, "r2", "not better than a constant guess"),
        (NearestLabel(), np.where(NOISE > 0, 1, 0), "balanced_accuracy", "not better than a constant guess"),
        (ConstantGuess(), LINE, "r2", "not better than a constant guess"),
        (Nearest(12), WAVE, "r2", "fits"),
    ],
)  # fmt: skip
def test_verdicts(model: Any, y: Array, scoring: str | None, verdict: str) -> None:
    if scoring in ("neg_mean_absolute_error", "balanced_accuracy"):
        pytest.importorskip("sklearn")  # these scores are scikit-learn's
    found = diagnose(model, X, y, cv=KFold(5, shuffle=True, rng=0), scoring=scoring)
    assert found.verdict == verdict, repr(found)
    text = repr(found)
    assert text.splitlines()[0] == verdict
    assert len(found.reasons) == 3
    for piece in ("constant guess", "max_gap=0.1", "min_skill=0.5", "training skill"):
        assert piece in text


def test_skill_is_measured_from_the_constant_guess() -> None:
    """Skill is 0 for a constant guess and 1 for perfect predictions; thresholds decide the verdict."""
    cv = KFold(4)
    found = diagnose(LeastSquares(), X, LINE, cv=cv, scoring="neg_mean_squared_error")
    model = cross_validate(LeastSquares(), X, LINE, cv=cv, scoring="neg_mean_squared_error", train_scores=True)
    guess = cross_validate(ConstantGuess(), X, LINE, cv=cv, scoring="neg_mean_squared_error", train_scores=True)
    name = "neg_mean_squared_error"
    assert found.baseline == guess.interval()
    assert found.test_skill == pytest.approx(1 - model.mean() / guess.mean(), rel=1e-12)
    expected = 1 - model.train_scores[name].mean() / guess.train_scores[name].mean()
    assert found.train_skill == pytest.approx(expected, rel=1e-12)
    assert diagnose(LeastSquares(), X, LINE, cv=cv, scoring="r2", min_skill=0.99).verdict == "underfits"
    assert diagnose(Nearest(), X, LINE, cv=cv, scoring="r2", max_gap=0.5).verdict == "fits"
    assert (
        diagnose(LeastSquares(), X, LINE, cv=cv, scoring=lambda e, x, y: -np.ptp(y - e.predict(x)), best=0).test_skill
        > 0
    )


@pytest.mark.peer
@pytest.mark.parametrize("scoring", ["roc_auc", "neg_log_loss", "f1"])
def test_verdict_by_scores_of_scikit_learn(scoring: str) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    y = (LINE > 0).astype(int)
    assert diagnose(linear.LogisticRegression(), X, y, scoring=scoring).verdict == "fits"
    assert diagnose(linear.LogisticRegression(), X, (NOISE > 0.1).astype(int), scoring=scoring).verdict.startswith(
        "not"
    )


def test_constant_guess() -> None:
    y = np.array([[1.0, 5.0], [2.0, 7.0], [6.0, 9.0]])
    assert ConstantGuess().fit(y, y).predict([0, 0]).tolist() == [[3.0, 7.0], [3.0, 7.0]]
    assert ConstantGuess("median").fit(y, y[:, 0]).predict([0]).tolist() == [2.0]
    guess = ConstantGuess("class").fit(y, ["b", "a", "b"])
    assert guess.predict([0, 0]).tolist() == ["b", "b"]
    assert np.allclose(guess.predict_proba([0]), [[1 / 3, 2 / 3]])
    with pytest.raises(ValueError, match="kind"):
        ConstantGuess("mode")


@pytest.mark.peer
def test_curves_of_scikit_learn() -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    model = make_pipeline(PolynomialFeatures(5), Ridge())
    for sizes in ([0.1, 0.4, 1.0], [10, 55, 150]):
        x, train, test = selection.learning_curve(model, X, WAVE, cv=4, scoring="r2", train_sizes=sizes)
        got = learning_curve(model, X, WAVE, cv=4, scoring="r2", train_sizes=sizes, n_jobs=2)
        assert got.x == x.tolist()
        assert np.array_equal(got.train_scores, train)
        assert np.array_equal(got.test_scores, test)
    degrees = [1, 3, 7]
    name = "polynomialfeatures__degree"
    train, test = selection.validation_curve(model, X, WAVE, cv=4, scoring="r2", param_name=name, param_range=degrees)
    curve = validation_curve(model, X, WAVE, cv=4, scoring="r2", param_name=name, param_range=degrees)
    assert np.array_equal(curve.train_scores, train)
    assert np.array_equal(curve.test_scores, test)
    assert curve.best == degrees[test.mean(axis=1).argmax()] == 7


class Oldest(Noisy):
    """Predicts the smallest y of its training set."""

    def fit(self, X: Any, y: Any) -> Oldest:
        self.first, self.n = float(np.min(y)), len(y)
        return self

    def predict(self, X: Any) -> Array:
        return np.full(len(X), self.first)


def test_which_part_of_a_training_set_is_kept() -> None:
    """The latest, the first or random samples of each window; random ones repeat with a seed."""
    y = np.arange(60.0)
    cv = SlidingWindow(train_size=20, test_size=20)
    kept = {}
    for keep in ("first", "last", "random"):
        curve = learning_curve(
            Oldest(), y, y, train_sizes=[5], keep=keep, cv=cv, scoring=lambda e, x, _: e.predict(x)[0], rng=2
        )
        kept[keep] = curve.test_scores.ravel().tolist()
    assert kept["first"] == [0.0, 20.0]
    assert kept["last"] == [15.0, 35.0]
    assert kept["first"] != kept["random"] != kept["last"]
    again = learning_curve(
        Oldest(), y, y, train_sizes=[5], keep="random", cv=cv, scoring=lambda e, x, _: e.predict(x)[0], rng=2
    )
    assert again.test_scores.ravel().tolist() == kept["random"]


def test_plots() -> None:
    """Lines show the scores; on new axes, on given axes, for numbers and for other values."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    curve = validation_curve(Noisy(), X, WAVE, cv=4, scoring="r2", param_name="scale", param_range=[0.1, 1, 9], rng=0)
    ax = curve.plot()
    for line, scores in zip(ax.lines, (curve.train_scores, curve.test_scores), strict=True):
        assert np.array_equal(line.get_xdata(), [0.1, 1, 9])
        assert np.array_equal(line.get_ydata(), scores.mean(axis=1))
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("scale", "r2")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "held out"]
    mine = Figure().subplots()
    named = validation_curve(Nearest(), X, WAVE, scoring="r2", param_name="degree", param_range=[None, 3])
    assert named.plot(mine) is mine
    assert [text.get_text() for text in mine.get_xticklabels()] == ["None", "3"]
    assert "degree" in repr(named)
    assert len(repr(curve).splitlines()) == 5


def test_plots_do_not_load_pyplot() -> None:
    from tests.support.rows import fresh

    pytest.importorskip("matplotlib")
    code = """
        import sys, numpy as np
        from fastopt.validation import ConstantGuess, learning_curve
        y = np.arange(30.0)
        ax = learning_curve(ConstantGuess(), y, y, scoring="r2").plot()
        print("matplotlib.figure" in sys.modules, "matplotlib.pyplot" in sys.modules, int(ax.figure.get_dpi()))
    """
    assert fresh(code).stdout.split() == ["True", "False", "150"]


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (
            lambda: generalization_gap(LeastSquares(), X, LINE, scoring=["r2", "accuracy"]),
            ValueError,
            ["scoring", "single"],
        ),
        (lambda: diagnose(LeastSquares(), X, None), ValueError, ["y is None"]),
        (lambda: diagnose(LeastSquares(), X, LINE, max_gap=0), ValueError, ["max_gap", "0"]),
        (lambda: diagnose(LeastSquares(), X, LINE, min_skill=1), ValueError, ["min_skill", "1"]),
        (lambda: diagnose(LeastSquares(), X, LINE, scoring=lambda e, x, y: 0.0), ValueError, ["best is None"]),
        (lambda: diagnose(LeastSquares(), X, np.ones(200)), ValueError, ["y does not vary"]),
        (lambda: learning_curve(LeastSquares(), X, LINE, scoring="r2", keep="best"), ValueError, ["keep", "'best'"]),
        (lambda: learning_curve(LeastSquares(), X, LINE, scoring="r2", train_sizes=[0.0]), ValueError, ["train_sizes"]),
        (lambda: learning_curve(LeastSquares(), X, LINE, scoring="r2", train_sizes=[161]), ValueError, ["160", "161"]),
        (lambda: learning_curve(LeastSquares(), X, LINE, scoring="r2", train_sizes="all"), TypeError, ["train_sizes"]),
        (
            lambda: learning_curve(NearestLabel(), X, np.sort(LABELS), train_sizes=[0.1], scoring="accuracy"),
            ValueError,
            ["y"],
        ),
        (
            lambda: validation_curve(LeastSquares(), X, LINE, scoring="r2", param_name="a", param_range=[1]),
            TypeError,
            ["set_params", "'a'"],
        ),
        (
            lambda: validation_curve(Nearest(), X, LINE, scoring="r2", param_name="degree", param_range=[]),
            ValueError,
            ["param_range is empty"],
        ),
        (lambda: diagnose(NearestLabel(), X, np.sort(LABELS), cv=KFold(2)), ValueError, ["y", "single class"]),
    ],
)
def test_bad_input(call: Any, error: type[Exception], fragments: list[str]) -> None:
    assert_refused(call, error, fragments)


def test_a_classifier_gets_stratified_folds() -> None:
    order = np.argsort(LABELS)
    model = NearestLabel()
    got = cross_validate(model, X[order], LABELS[order], cv=4, scoring="accuracy")
    expected = [test for _, test in StratifiedKFold(4).split(X, LABELS[order])]
    assert all(map(np.array_equal, got.tests, expected))
