"""Out-of-bag errors, bias and variance: against mlxtend, explicit sums, and problems with a known solution."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from fastopt.validation import Bootstrap, ConstantGuess, bias_variance, bias_variance_curve, bootstrap_score
from fastopt.validation.prediction_error import losses, no_information
from tests.support.rows import Array
from tests.support.validation_cases import LeastSquares, Noisy, assert_refused, printed

SIGMA = 0.3


def f(x: Array) -> Array:
    return np.sin(3 * x)


class Polynomial:
    def __init__(self, degree: int = 1) -> None:
        self.degree = degree

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"degree": self.degree}

    def set_params(self, **params: Any) -> Polynomial:
        self.degree = params["degree"]
        return self

    def fit(self, X: Any, y: Any) -> Polynomial:
        self.w = np.polyfit(np.ravel(X), y, self.degree)
        return self

    def predict(self, X: Any) -> Array:
        return np.polyval(self.w, np.ravel(X))


class Nearest:
    """The label of the nearest sample."""

    _estimator_type = "classifier"

    def fit(self, X: Any, y: Any) -> None:
        self.x, self.y = np.asarray(X), np.asarray(y)

    def predict(self, X: Any) -> Array:
        return self.y[((np.asarray(X)[:, None] - self.x) ** 2).sum(axis=2).argmin(axis=1)]


GRID = np.linspace(-1, 1, 40)  # fixed inputs of every training set, so that bias and variance are known exactly
TEST = np.linspace(-0.9, 0.9, 37)


def sampler(rng: np.random.Generator) -> tuple[Array, Array]:
    return GRID[:, None], f(GRID) + SIGMA * rng.normal(size=40)


@pytest.mark.parametrize("degree", [1, 4])
@pytest.mark.parametrize("known", ["truth", "given", "repeats"])
def test_known_bias_and_variance_are_recovered(degree: int, known: str) -> None:
    """A polynomial predicts H y, so bias² is exactly (f − H f)² and variance exactly σ² Σ H²."""
    basis = np.vander(GRID, degree + 1)
    hat = np.vander(TEST, degree + 1) @ np.linalg.pinv(basis)
    bias, variance = np.mean((f(TEST) - hat @ f(GRID)) ** 2), SIGMA**2 * np.mean((hat**2).sum(axis=1))
    x, inside = np.repeat(TEST, 20), np.zeros(2, int)
    y = f(x) + SIGMA * np.random.default_rng(5).normal(size=len(x))
    options: dict[str, Any] = {"truth": {"truth": f(x)}, "given": {"noise": SIGMA**2}, "repeats": {"noise": "repeats"}}
    found = []
    for seed in range(20):
        made = {"sampler": sampler, "X_test": x[:, None], "y_test": y, "n_resamples": 60, "rng": seed}
        r = bias_variance(Polynomial(degree), **made, **options[known])
        pairs = (r.bias_interval, bias), (r.variance_interval, variance)
        inside += np.array([i.low < true < i.high for i, true in pairs])
        assert abs(r.noise - SIGMA**2) < 0.015
        assert r.noise_from == known
        assert abs(r.bias + r.variance + r.noise - r.error) <= 1e-14 * r.error
        found.append(r.variance)
    assert (inside >= 17).all()  # of 20 intervals, 19 contain it on average
    assert np.mean(found) == pytest.approx(variance, rel=0.1)


def predictions(estimator: Any, X: Any, y: Any, X_test: Any, **options: Any) -> Array:
    """(resamples, m) predictions of the models that bias_variance fits with the same rng."""
    from fastopt.validation.bias_variance import PredictionFit, _training_sets
    from fastopt.validation.estimators import run_fits
    from fastopt.validation.parallel import seed_sequence
    from fastopt.validation.resampling import key_from

    sets = _training_sets(X, y, None, key_from(seed_sequence(options["rng"]).spawn(2)[0]))
    tasks = [PredictionFit(sets, i, X_test, False, None) for i in range(options["n"])]
    return np.array(run_fits(estimator, tasks, n_jobs=None, rng=0, progress=False))


def test_squared_loss_by_hand() -> None:
    rng = np.random.default_rng(3)
    x, y = sampler(rng)
    x_test, y_test = TEST[:, None], f(TEST) + SIGMA * rng.normal(size=len(TEST))
    p = predictions(LeastSquares(), x, y, x_test, rng=7, n=45)
    r = bias_variance(LeastSquares(), x, y, X_test=x_test, y_test=y_test, n_resamples=45, rng=7, noise=0.01)
    assert r.variance == pytest.approx(np.var(p, axis=0, ddof=1).mean(), rel=1e-10)
    assert r.error == pytest.approx(np.mean((p - y_test) ** 2), rel=1e-12)
    assert np.allclose(r.main, p.mean(axis=0), rtol=1e-12)
    assert r.bias == pytest.approx(r.error - r.variance - 0.01, rel=1e-12)


def labelled(rng: np.random.Generator, n: int) -> tuple[Array, Array, Array]:
    x = rng.uniform(-1, 1, (n, 2))
    truth = 1 + (x[:, 0] > 0) + (x[:, 1] > 0.3)
    return x, np.where(rng.random(n) < 0.2, 1 + truth % 3, truth), truth


def test_zero_one_loss_by_hand() -> None:
    """By the definitions of Domingos: the most frequent prediction, whether it is wrong, how often others occur."""
    rng = np.random.default_rng(4)
    x, y, _ = labelled(rng, 60)
    x_test, y_test, truth = labelled(rng, 80)
    p = predictions(Nearest(), x, y, x_test, rng=2, n=40)
    r = bias_variance(Nearest(), x, y, X_test=x_test, y_test=y_test, truth=truth, n_resamples=40, rng=2)
    main = np.array([np.bincount(column.astype(int)).argmax() for column in p.T])
    assert np.array_equal(r.main, main)
    assert r.bias == np.mean(main != truth)
    assert r.variance == pytest.approx(np.mean(p != main), rel=1e-12)
    assert r.error == pytest.approx(np.mean(p != y_test), rel=1e-12)
    assert r.noise == np.mean(y_test != truth)
    assert r.bias + r.net_variance + r.noise_effect == pytest.approx(r.error, rel=1e-12)
    assert r.bias + r.net_variance == pytest.approx(np.mean(p != truth), rel=1e-12)


@pytest.mark.peer
@pytest.mark.parametrize("loss", ["squared", "zero_one"])
def test_bias_variance_against_mlxtend(loss: str) -> None:
    """mlxtend divides the variance by the number of rounds; its bias includes the noise and variance/rounds."""
    evaluate, tree = pytest.importorskip("mlxtend.evaluate"), pytest.importorskip("sklearn.tree")
    rng = np.random.default_rng(4)
    if loss == "squared":
        model: Any = tree.DecisionTreeRegressor(max_depth=3, random_state=0)
        x, y = rng.uniform(-1, 1, (150, 1)), np.zeros(150)
        y = f(x[:, 0]) + SIGMA * rng.normal(size=150)
    else:
        model = tree.DecisionTreeClassifier(max_depth=3, random_state=0)
        x, y, _ = labelled(rng, 150)
        y = y.astype(int)
    name = {"squared": "mse", "zero_one": "0-1_loss"}[loss]
    theirs = evaluate.bias_variance_decomp(model, x[:90], y[:90], x[90:], y[90:], name, num_rounds=300, random_seed=1)
    r = bias_variance(model, x[:90], y[:90], X_test=x[90:], y_test=y[90:], n_resamples=300, rng=1)
    share = 1 / 300 if loss == "squared" else 0.0
    ours = (r.error, r.bias + share * r.variance, (1 - share) * r.variance)
    assert r.loss == loss
    assert np.allclose(ours, theirs, rtol=0.12, atol=0.035 if loss == "zero_one" else 0.003)


@pytest.mark.peer
def test_point_632_against_mlxtend() -> None:
    """mlxtend averages over resamples and uses each model's own apparent error, so the results differ slightly."""
    evaluate, data = pytest.importorskip("mlxtend.evaluate"), pytest.importorskip("sklearn.datasets")
    tree = pytest.importorskip("sklearn.tree")
    x, y = data.load_breast_cancer(return_X_y=True)
    x, y = x[:200], y[:200]
    model = tree.DecisionTreeClassifier(random_state=0)
    for method in ("oob", ".632", ".632+"):
        theirs = 1 - evaluate.bootstrap_point632_score(model, x, y, n_splits=100, method=method, random_seed=1).mean()
        ours = bootstrap_score(model, x, y, method=method, n_resamples=100, rng=1)
        assert len(ours.out_of_bag_errors) == 100
        assert abs(ours.estimate - theirs) < 0.025


@pytest.mark.parametrize("loss", ["squared", "zero_one"])
def test_no_information_rate_is_that_of_all_pairs(loss: str) -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 4, 90), rng.integers(1, 6, 90)
    pairs = np.mean([losses(loss, y, np.roll(p, i)) for i in range(90)])
    assert no_information(loss, y, p) == pytest.approx(pairs, rel=1e-12)


def test_632_plus_of_pure_noise_is_near_the_error_of_guessing() -> None:
    """1-nearest neighbour on random labels (Efron and Tibshirani's example): .632 gives 0.32, .632+ gives 0.5."""
    rng = np.random.default_rng(1)
    r = bootstrap_score(Nearest(), rng.normal(size=(100, 3)), np.arange(100) % 2, n_resamples=40, rng=0)
    assert r.apparent == 0
    assert 0.4 < r.estimate < 0.6
    assert r.estimate_632 < 0.37
    rate = (min(r.out_of_bag, r.no_information) - r.apparent) / (r.no_information - r.apparent)
    weight = 0.632 / (1 - 0.368 * rate)
    bounded = min(r.out_of_bag, r.no_information)
    expected = (1 - weight) * r.apparent + weight * bounded + 0.632 * (r.out_of_bag - bounded)
    assert r.estimate == pytest.approx(expected, rel=1e-12)


def test_out_of_bag_error_by_hand() -> None:
    """The mean error of each sample over the models not trained on it, averaged over the samples."""
    from fastopt.validation.parallel import seed_sequence

    x, y = sampler(np.random.default_rng(2))
    r = bootstrap_score(LeastSquares(), x, y, n_resamples=25, method="oob", rng=6)
    errors, means = np.full((25, len(y)), np.nan), []
    for i, (train, test) in enumerate(Bootstrap(25, rng=seed_sequence(6).spawn(3)[0]).split(x)):
        made = LeastSquares()
        made.fit(x[train], y[train])
        errors[i, test] = (y[test] - made.predict(x[test])) ** 2
        means.append(np.mean(errors[i, test]))
    assert r.estimate == r.out_of_bag == pytest.approx(np.mean(np.nanmean(errors, axis=0)), rel=1e-12)
    assert r.out_of_bag != pytest.approx(np.nanmean(errors), rel=1e-6)
    np.testing.assert_allclose(r.out_of_bag_errors, means, rtol=1e-12)


def test_632_plus_takes_memory_in_proportion_to_the_samples() -> None:
    """Twice the samples take at most 2.1 times the memory; more resamples take no more."""
    peaks = []
    for n, resamples in ((20_000, 40), (40_000, 40), (40_000, 80)):
        x, y = np.zeros((n, 1)), np.arange(n) % 3
        tracemalloc.start()
        bootstrap_score(ConstantGuess("class"), x, y, n_resamples=resamples, rng=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert 1.5 * peaks[0] < peaks[1] < 2.1 * peaks[0]
    assert peaks[2] < 1.1 * peaks[1]


def test_bootstrap_splits() -> None:
    x, y, groups = np.zeros(60), np.arange(60) % 3, np.arange(60) // 4
    for cv in (Bootstrap(8, rng=0), Bootstrap(8, stratified=True, rng=0), Bootstrap(8, grouped=True, rng=0)):
        splits = list(cv.split(x, y, groups))
        assert len(splits) == cv.get_n_splits() == 8
        for train, test in splits:
            assert np.array_equal(test, np.setdiff1d(np.arange(60), train))
            assert (np.diff(train) >= 0).all()
            if cv.stratified:
                assert np.array_equal(np.bincount(y[train]), [20, 20, 20])
            if cv.grouped:
                assert not np.isin(groups[test], groups[train]).any()
        again = list(cv.split(x, y, groups))
        assert all(np.array_equal(a[0], b[0]) for a, b in zip(splits, again, strict=True))
    assert all(len(test) for _, test in Bootstrap(300, rng=0).split(np.zeros(2)))


@pytest.mark.peer
def test_the_splitter_within_scikit_learn() -> None:
    selection, linear = pytest.importorskip("sklearn.model_selection"), pytest.importorskip("sklearn.linear_model")
    x = np.random.default_rng(0).normal(size=(50, 2))
    scores = selection.cross_val_score(linear.Ridge(), x, x[:, 0] + 1, cv=Bootstrap(6, rng=1))
    assert scores.shape == (6,)
    assert (scores > 0.9).all()


def test_the_curve_and_its_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    y_test = f(TEST) + SIGMA * np.random.default_rng(5).normal(size=len(TEST))
    options: dict[str, Any] = {"sampler": sampler, "X_test": TEST[:, None], "y_test": y_test, "truth": f(TEST)}
    curve = bias_variance_curve(
        Polynomial(), param_name="degree", param_range=[0, 1, 4, 9], n_resamples=40, rng=2, **options
    )
    assert (np.diff(curve.values("bias")[:3]) < 0).all()
    assert (np.diff(curve.values("variance")) > 0).all()
    assert curve.best == 4
    single = bias_variance(Polynomial(4), n_resamples=40, rng=2, **options)
    assert (single.error, single.bias) == (curve.parts[2].error, curve.parts[2].bias)
    ax = curve.plot()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["error", "bias²", "variance", "noise"]
    assert np.array_equal(ax.lines[1].get_ydata(), curve.values("bias"))
    ax.figure.savefig(tmp_path / "curve.png")
    options = {"sampler": sampler, "X_test": TEST[:, None], "y_test": y_test, "n_resamples": 20}
    unknown = bias_variance_curve(Polynomial(), param_name="degree", param_range=[1, 2], **options).plot()
    assert [t.get_text() for t in unknown.get_legend().get_texts()] == ["error", "bias² with noise", "variance"]


def test_legend_and_labels_of_the_plot_do_not_overlap() -> None:
    """Also: the loss axis starts at 0, and x values from 0 over several decades are spaced apart."""
    pytest.importorskip("matplotlib")
    options: dict[str, Any] = {"sampler": sampler, "X_test": TEST[:, None], "y_test": f(TEST), "n_resamples": 20}
    ax = bias_variance_curve(Polynomial(), param_name="degree", param_range=[9, 4, 1, 0], noise=0.1, **options).plot()
    ax.figure.draw_without_rendering()
    below = ax.transData.inverted().transform(ax.get_legend().get_window_extent())[0, 1]
    bands = [path.vertices for band in ax.collections for path in band.get_paths()]
    assert max(*(line.get_ydata().max() for line in ax.lines), *(band[:, 1].max() for band in bands)) < below
    assert ax.get_ylim()[0] <= 0
    ax = bias_variance_curve(Noisy(), param_name="scale", param_range=[0, 1, 60], **options).plot()
    assert (ax.get_xscale(), [t.get_text() for t in ax.get_xticklabels()]) == ("symlog", ["0", "1", "60"])
    at = ax.transData.transform([(x, 0) for x in (0, 1, 60)])[:, 0]
    assert np.diff(at).min() > 0.3 * (at[2] - at[0])
    ax = bias_variance_curve(Noisy(), param_name="scale", param_range=[1, 2, 60], **options).plot()
    assert (ax.get_xscale(), [t.get_text() for t in ax.get_xticklabels()]) == ("log", ["1", "2", "60"])


@pytest.mark.parametrize("how", ["truth", "given", "unknown"])
def test_the_equation_in_the_repr_adds_up(how: str) -> None:
    """Bias includes the noise if that is unknown, and for the 0-1 loss whenever there is no truth."""
    known: dict[str, Any] = {"truth": {"truth": f(TEST) > 0}, "given": {"noise": 0.2}, "unknown": {}}[how]
    labels = (f(TEST) > 0) ^ (np.arange(len(TEST)) % 5 == 0)
    options: dict[str, Any] = {"X_test": TEST[:, None], "n_resamples": 20, "rng": 0}
    x, y = sampler(np.random.default_rng(1))
    zero_one = bias_variance(Nearest(), x, y > 0, y_test=labels, **known, **options)
    known = {name: f(TEST) if name == "truth" else value for name, value in known.items()}
    squared = bias_variance(Polynomial(), x, y, y_test=f(TEST) + np.tile([0.3, -0.3], 19)[:37], **known, **options)
    for result, noisy in ((zero_one, how != "truth"), (squared, how == "unknown")):
        assert ("with noise" in repr(result)) == ("with noise" in result.bias_label) == noisy
        equation = repr(result).split(" = ")[1].split(";")[0]
        numbers = [float(part.split(" [")[0].split(" (")[0].rsplit(" ", 1)[1]) for part in equation.split(" + ")]
        assert sum(numbers) == pytest.approx(result.error, rel=1e-3, abs=1e-3)
    assert zero_one.against == squared.against == ("truth" if how == "truth" else "y_test")
    noises = {"truth": " + noise effect 0.2", "given": "noise 0.2 (given)", "unknown": ""}
    assert noises[how] in repr(zero_one)


def test_the_table_of_a_curve() -> None:
    options: dict[str, Any] = {"param_name": "degree", "param_range": [1, 2], "n_resamples": 20, "rng": 0}
    options |= {"sampler": sampler, "X_test": TEST[:, None], "y_test": f(TEST)}
    unknown, given = (bias_variance_curve(Polynomial(), noise=noise, **options) for noise in (None, 0.01))
    assert repr(unknown).splitlines()[1].split("  ") == ["degree", " error", "bias² with noise", "variance"]
    assert repr(given).splitlines()[1].split() == ["degree", "error", "bias²", "variance", "noise"]
    assert_refused(lambda: given.values("bais"), ValueError, ["of must be one of 'error', 'bias'", "'bais'"])


def test_one_bar_for_all_fits(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    x, y = sampler(np.random.default_rng(1))
    options: dict[str, Any] = {"n_resamples": 40, "rng": 0, "progress": True}
    tests = {"X_test": TEST[:, None], "y_test": f(TEST)}
    curve = {"param_name": "degree", "param_range": [1, 2], **tests}
    for call in (
        lambda: bootstrap_score(Polynomial(), x, y, **options),
        lambda: bootstrap_score(Polynomial(), x, y, n_jobs=2, **options),
        lambda: bias_variance(Polynomial(), x, y, **tests, **options),
        lambda: bias_variance_curve(Polynomial(), x, y, **curve, **options),
    ):
        call()
        out, err = capfd.readouterr()
        assert (out, err.count("fits"), err.count("100%")) == ("", 1, 1)
    options["progress"] = "yes"
    assert_refused(lambda: bootstrap_score(Polynomial(), x, y, **options), TypeError, ["progress", "'yes'"])


class Together(Noisy):
    """Has fit_many, and records the number of models of each call."""

    calls: ClassVar[list[int]] = []

    @staticmethod
    def fit_many(estimators: Any, Xs: Any, ys: Any, sample_weights: Any = None) -> list[Any]:
        assert sample_weights is None
        Together.calls.append(len(estimators))
        return [estimator.fit(X, y) for estimator, X, y in zip(estimators, Xs, ys, strict=True)]


@pytest.mark.parametrize("drawn", ["resampled", "sampled"])
def test_models_are_fitted_together_with_the_same_result(drawn: str) -> None:
    x, y = sampler(np.random.default_rng(1))
    options: dict[str, Any] = {"X_test": TEST[:, None], "y_test": f(TEST), "n_resamples": 39, "rng": 4}
    options |= {"X": x, "y": y} if drawn == "resampled" else {"sampler": sampler}
    Together.calls.clear()
    together, alone = bias_variance(Together(), **options), bias_variance(Noisy(), **options)
    assert Together.calls == [16, 16, 7]
    assert (together.error, together.bias, together.variance) == (alone.error, alone.bias, alone.variance)
    assert together.main.tobytes() == alone.main.tobytes()
    assert together.variance > 0


@pytest.mark.parametrize("groups", [None, np.arange(45) // 3])
def test_bootstrap_score_fits_together_with_the_same_result(groups: Any) -> None:
    pytest.importorskip("joblib")
    x, y = sampler(np.random.default_rng(1))
    options: dict[str, Any] = {"n_resamples": 39, "rng": 4, "groups": None if groups is None else groups[: len(x)]}
    Together.calls.clear()
    together, alone = bootstrap_score(Together(), x, y, **options), bootstrap_score(Noisy(), x, y, **options)
    assert Together.calls == [16, 16, 7]
    assert together.out_of_bag_errors.tobytes() == alone.out_of_bag_errors.tobytes()
    assert (together.apparent, together.out_of_bag) == (alone.apparent, alone.out_of_bag)
    Together.calls.clear()
    assert bootstrap_score(Together(), x, y, n_jobs=2, **options).out_of_bag == alone.out_of_bag
    assert Together.calls == []


def test_noise_by_repeats_by_hand() -> None:
    """Groups of 3, 2 and 1 equal rows: Σ(y − ȳ)² / 3 degrees of freedom; for labels 2N(1 − N) = P(two differ)."""
    rows = np.array([1, 1, 1, 5, 5, 9])[:, None] * np.ones(2)
    guess: Any = ConstantGuess("mean")
    options: dict[str, Any] = {"n_resamples": 20, "rng": 0, "noise": "repeats"}
    y = np.array([0.0, 3.0, 6.0, 10.0, 14.0, 99.0])
    found = bias_variance(guess, rows, y, X_test=rows, y_test=y, loss="squared", **options)
    assert found.noise == pytest.approx((9 + 9 + 4 + 4) / 3, rel=1e-12)
    labels = np.array(["a", "a", "b", "c", "c", "d"])  # 4 of the 6 + 2 ordered pairs within groups differ
    found = bias_variance(Nearest(), rows, labels, X_test=rows, y_test=labels, loss="zero_one", **options)
    assert 2 * found.noise * (1 - found.noise) == pytest.approx(4 / 8, rel=1e-12)
    labels = np.r_[labels, ["c"] * 2]  # now 4 of 6 + 12
    rows = np.r_[rows, rows[3:5]]
    found = bias_variance(Nearest(), rows, labels, X_test=rows, y_test=labels, loss="zero_one", **options)
    assert 2 * found.noise * (1 - found.noise) == pytest.approx(4 / 18, rel=1e-12)
    assert found.noise < 0.5


@pytest.mark.parametrize("kind", ["sparse", "objects", "frame"])
def test_noise_by_repeats_of_any_rows(kind: str) -> None:
    """The same rows as numbers, as a sparse matrix, and as strings next to numbers."""
    rng = np.random.default_rng(6)
    rows = rng.integers(0, 2, (40, 2)).astype(float)
    y = rows[:, 0] + rng.normal(size=40)
    words = np.array([[f"w{a:g}", b] for a, b in rows], object)
    held = {
        "sparse": lambda: pytest.importorskip("scipy.sparse").csr_array(rows),
        "objects": lambda: words,
        "frame": lambda: pytest.importorskip("pandas").DataFrame(words).infer_objects(),
    }[kind]()
    options: dict[str, Any] = {"y_test": y, "n_resamples": 20, "noise": "repeats", "rng": 0}
    guess = ConstantGuess("mean")
    found = bias_variance(guess, rows, y, X_test=held, **options)
    assert found.noise == bias_variance(guess, rows, y, X_test=rows, **options).noise > 0


class Answers:
    """Predicts a given value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def fit(self, X: Any, y: Any) -> None:
        pass

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.value)


SCRIPT = """
    import sys
    import joblib, numpy as np
    from fastopt.validation import bias_variance, bootstrap, bootstrap_score
    from tests.support.validation_cases import Noisy

    def main(n_jobs):
        x = np.random.default_rng(0).normal(size=(60, 3))
        y = x[:, 0] + np.random.default_rng(1).normal(size=60)
        a = bootstrap(y, np.median, n_resamples=300, rng=3, n_jobs=n_jobs, batch=50).bootstrap_distribution
        b = bootstrap_score(Noisy(), x, y, n_resamples=20, rng=4, n_jobs=n_jobs)
        c = bias_variance(Noisy(), x, y, X_test=x[:9], y_test=y[:9], n_resamples=20, rng=5, n_jobs=n_jobs)
        print(a.tobytes().hex(), b.estimate, b.out_of_bag_errors.tobytes().hex())
        print(c.error, c.bias, c.main.tobytes().hex())

    if __name__ == "__main__":
        if sys.argv[-1] == "dask":
            from dask.distributed import Client, LocalCluster
            options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
            with LocalCluster(**options) as cluster, Client(cluster), joblib.parallel_config(backend="dask"):
                main(-1)
        else:
            main(None)
"""


@pytest.mark.peer
def test_the_same_numbers_on_a_dask_cluster(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    found = [printed(tmp_path, SCRIPT, where) for where in ("here", "dask")]
    assert found[0] == found[1] != ""


X, Y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2


class Choosy(Nearest):
    """Raises an error if the training set has a single class."""

    def fit(self, X: Any, y: Any) -> None:
        if len(np.unique(y)) < 2:
            raise RuntimeError("one class")
        super().fit(X, y)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_an_error_over_a_single_class_suggests_stratified(n_jobs: Any) -> None:
    if n_jobs is not None:
        pytest.importorskip("joblib")
    rare = np.arange(30) == 4
    with pytest.raises(RuntimeError, match="one class") as caught:
        bootstrap_score(Choosy(), X, rare, n_resamples=20, n_jobs=n_jobs, rng=0)
    assert "stratified=True" in caught.value.__notes__[0]
    assert bootstrap_score(Choosy(), X, rare, n_resamples=20, stratified=True, rng=0).out_of_bag < 0.2


def test_full_overfitting() -> None:
    """Random labels and a model that memorizes them: R = 1, and .632+ is .368 min(Err, γ) + .632 Err."""
    score = bootstrap_score(Nearest(), X, np.random.default_rng(2).permutation(Y), n_resamples=50, rng=0)
    assert score.apparent == 0
    assert score.overfitting == 1
    bounded = min(score.out_of_bag, score.no_information)
    assert score.estimate == pytest.approx(0.368 * bounded + 0.632 * score.out_of_bag)


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: Bootstrap(0), ValueError, ["n_splits", "0"]),
        (lambda: Bootstrap(2, stratified=True, grouped=True), ValueError, ["stratified", "grouped"]),
        (lambda: Bootstrap(2, grouped=True).split(X), ValueError, ["groups is None"]),
        (lambda: Bootstrap(2).split(X[:1]), ValueError, ["1 samples"]),
        (lambda: bootstrap_score(Nearest(), X, Y, n_resamples=0), ValueError, ["n_resamples", "0"]),
        (lambda: bootstrap_score(Nearest(), X, Y * 0), ValueError, ["single class", "0"]),
        (lambda: bootstrap_score(Nearest(), X, Y[1:]), ValueError, ["29", "30"]),
        (lambda: bootstrap_score(Nearest(), X, None), ValueError, ["y must have shape (30,)", "got None"]),
        (lambda: bootstrap_score(Nearest(), X, np.where(Y, "a", None)), ValueError, ["y[0] is None"]),
        (lambda: bootstrap_score(Nearest(), X, np.where(Y, 1, np.nan)), ValueError, ["y[0] is nan"]),
        (lambda: bootstrap_score(Noisy(), X, np.where(Y, np.inf, 1)), ValueError, ["y must be finite", "y[1] = inf"]),
        (lambda: bootstrap_score(Noisy(), X, Y, stratified=True), ValueError, ["stratified=True", "regressor"]),
        (lambda: list(Bootstrap(2, stratified=True).split(X, X[:, 0])), ValueError, ["y must hold classes", "float64"]),
        (lambda: list(Bootstrap(2, stratified=True).split(X, X)), ValueError, ["y must have one value", "(30, 2)"]),
        (lambda: bias_variance(Noisy(), X, Y, X_test=X, y_test=Y, noise="rep"), ValueError, ["noise must", "'rep'"]),
        (lambda: bootstrap_score(object(), X, Y), TypeError, ["fit", "predict"]),
        (lambda: bootstrap_score(Nearest(), X, Y, method="632"), ValueError, ["method", "632"]),
        (lambda: bias_variance(Noisy(), X_test=X, y_test=Y), TypeError, ["X and y", "sampler"]),
        (lambda: bias_variance(Noisy(), X, Y, X_test=X, y_test=Y[1:]), ValueError, ["(30,)", "(29,)"]),
        (lambda: bias_variance(Noisy(), X, Y, X_test=X, y_test=Y, n_resamples=3), ValueError, ["n_resamples", "3"]),
        (lambda: bias_variance(Noisy(), X, Y, X_test=X, y_test=Y, noise=-1.0), ValueError, ["noise", "-1"]),
        (lambda: bias_variance(Noisy(), X, Y, X_test=X, y_test=Y, noise="repeats"), ValueError, ["repeats", "equal"]),
        (
            lambda: bias_variance(Noisy(), X, Y, X_test=X, y_test=Y * np.nan),
            ValueError,
            ["y_test must be finite", "y_test[0] = nan"],
        ),
        (lambda: bias_variance(Noisy(), X, Y, X_test=X, y_test=Y, truth=Y[1:]), ValueError, ["truth must", "(29,)"]),
        (
            lambda: bias_variance(Noisy(), X, Y, X_test=X, y_test=Y, truth=Y + np.inf),
            ValueError,
            ["truth must be finite"],
        ),
        (
            lambda: bias_variance(Nearest(), X, Y, X_test=X, y_test=Y, loss="zero_one", noise=1.5),
            ValueError,
            ["noise must be a number >= 0 and <= 1", "1.5"],
        ),
        (
            lambda: bias_variance(Noisy(), None, Y, sampler=lambda rng: (X, Y), X_test=X, y_test=Y),
            TypeError,
            ["either X and y", "or sampler"],
        ),
        (
            lambda: bias_variance_curve(Polynomial(), X, Y, X_test=X, y_test=Y, param_name="degree", param_range=4),
            TypeError,
            ["param_range", "4"],
        ),
        (lambda: bias_variance(Answers(np.nan), X, Y, X_test=X, y_test=Y), ValueError, ["estimator: predict", "nan"]),
        (
            lambda: bias_variance(Answers("a"), X, Y, X_test=X, y_test=Y),
            TypeError,
            ["estimator: predict", "no numbers"],
        ),
        (lambda: bootstrap_score(Answers(np.inf), X, Y), ValueError, ["estimator: predict gives inf"]),
        (lambda: bootstrap_score(Answers("a"), X, Y), TypeError, ["estimator: predict gives no numbers"]),
        (
            lambda: bias_variance(Noisy(), sampler=lambda rng: X, X_test=X, y_test=Y),
            TypeError,
            ["sampler must return (X, y)"],
        ),
    ],
)
def test_refused(call: Any, error: type[Exception], fragments: list[str]) -> None:
    assert_refused(call, error, fragments)
