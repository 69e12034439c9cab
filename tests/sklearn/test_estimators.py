"""fastopt.sklearn: scikit-learn's checks, the effect of each option, fit_many, Ctrl-C, and resuming a killed fit."""

from __future__ import annotations

import pickle
import signal
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import run_python

pytest.importorskip("sklearn")

from scipy.linalg import cython_blas
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.model_selection import cross_validate as sk_cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import fastopt
from fastopt._native import network as network_kernels
from fastopt.mlp import blas
from fastopt.mlp import lr_search as search
from fastopt.mlp.network import Network, Shape, initial_weights
from fastopt.regularization import EarlyStopping, Jitter
from fastopt.sklearn import MLPClassifier, MLPRegressor, fit_many
from fastopt.validation import cross_validate
from fastopt.validation.estimators import CannotFitTogether

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)[:300]
Y = Y[:300]
RNG = np.random.default_rng(5)
XR = RNG.normal(size=(120, 4))
YR = XR @ np.array([[1.0, 0.5], [-2.0, 0.0], [0.5, 1.0], [0.0, -1.0]]) + 1.0


def net(**params: Any) -> MLPClassifier:
    return MLPClassifier(**{"hidden_layer_sizes": (12,), "epochs": 4, "lr": 0.01, "random_state": 0, **params})


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True))


@pytest.mark.parametrize("estimator", [MLPClassifier(), MLPRegressor()], ids=["classifier", "regressor"])
def test_scikit_learns_own_checks(estimator: Any) -> None:
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    bad = [(r["check_name"], r["exception"]) for r in results if r["status"] != "passed"]
    assert [name for name, _ in bad if name != "check_array_api_input"] == []  # skipped for every estimator


# -- kernels and gradients --------------------------------------------------------------------------------------------

EXACT = {
    "identity": (lambda z: z, lambda z: np.ones_like(z)),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
}


def gelu(z: Any) -> Any:
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


EXACT["gelu"] = (gelu, lambda z: (gelu(z + 1e-6) - gelu(z - 1e-6)) / 2e-6)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("units", [1, 7, 255, 256, 257])  # around the columns that are summed at once
def test_activations_forward_and_backward(name: str, units: int) -> None:
    rng = np.random.default_rng(units)
    z0 = (3 * rng.normal(size=(2, 5, units))).astype(np.float32)
    bias, g = rng.normal(size=(2, units)).astype(np.float32), rng.normal(size=z0.shape).astype(np.float32)
    x = z0.copy()
    y = np.empty_like(x) if name == "gelu" else x
    network_kernels.activate(name, x, y, bias)
    exact = (z0 + bias[:, None]).astype(np.float64)
    value, slope = EXACT[name]
    np.testing.assert_allclose(y, value(exact), rtol=4e-7, atol=4e-7)
    sums, back = np.empty_like(bias), g.copy()
    network_kernels.activate_back(name, back, x if name == "gelu" else y, sums)
    np.testing.assert_allclose(back, g * slope(exact), rtol=1e-5, atol=4e-6)
    assert np.array_equal(sums, back.astype(np.float64).sum(axis=1).astype(np.float32)) or np.allclose(
        sums, back.astype(np.float64).sum(axis=1), rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize("activation", EXACT)
@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_gradients_are_finite_differences_of_the_loss(activation: str, classes: bool, batch_norm: bool) -> None:
    rng = np.random.default_rng(1)
    network = Network(Shape((4, 6, 5, 3), activation, classes, batch_norm), 2, 9)
    for k in range(2):
        for mine, theirs in zip(network.params, initial_weights(network.shape, rng), strict=False):
            mine[k] = theirs
    one = network.batch(0, 2, 9)
    x = rng.normal(size=one.x.shape).astype(np.float32)
    y = rng.integers(3, size=(2, 9)) if classes else rng.normal(size=(2, 9, 3)).astype(np.float32)

    def loss() -> float:
        one.x[...] = x
        one.forward()
        one.loss(y)
        return float(one.losses.astype(np.float64).mean(axis=1).sum())

    loss()
    one.backward()
    gradients = [g.copy() for g in network.gradients]
    for p, g in zip(network.params, gradients, strict=True):
        for index in {tuple(rng.integers(n) for n in p.shape) for _ in range(6)}:
            old, h = p[index], np.float32(4e-3)
            p[index] = old + h
            above = loss()
            p[index] = old - h
            below = loss()
            p[index] = old
            assert g[index] == pytest.approx((above - below) / (2 * float(h)), rel=0.06, abs=2e-3)


@pytest.mark.parametrize("activation", EXACT)
@pytest.mark.parametrize("targets", ["classes", "probabilities", "numbers"])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_fused_batch_agrees_with_numpy(activation: str, targets: str, weighted: bool) -> None:
    shape, rng = Shape((4, 6, 5, 3), activation, targets != "numbers"), np.random.default_rng(2)
    slow, fast = (Network(shape, 3, 9, (), sgemm) for sgemm in (None, blas.find_sgemm()))
    x = rng.normal(size=(3, 9, 4)).astype(np.float32)
    y = rng.integers(3, size=(3, 9)) if targets == "classes" else rng.random((3, 9, 3)).astype(np.float32)
    weights = rng.random((3, 9)).astype(np.float32) if weighted else None
    for mine, theirs in zip(slow.params, fast.params, strict=True):
        mine[...] = theirs[...] = rng.normal(size=mine.shape)
    one, other, totals = slow.batch(0, 3, 9), fast.batch(0, 3, 9), np.full(3, 0.5)
    one.x[...] = other.x[...] = x
    one.forward()
    one.loss(y, 0.1 if shape.classes else 0.0)
    if weights is not None:
        one.flat_output_grads *= weights.reshape(-1, 1)
        one.losses *= weights
    one.backward()
    assert other.fused is not None
    other.fused.run(y, totals, weights, 0.1 if shape.classes else 0.0)
    np.testing.assert_allclose(other.losses, one.losses, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(totals, 0.5 + other.losses.astype(np.float64).sum(axis=1), rtol=1e-12)
    for mine, theirs in zip(slow.gradients, fast.gradients, strict=True):
        assert theirs.any()
        np.testing.assert_allclose(theirs, mine, rtol=1e-4, atol=1e-6)


def test_a_fused_batch_refuses_wrong_shapes() -> None:
    network = Network(Shape((4, 6, 3)), 2, 5, (), blas.find_sgemm())
    one, totals, y = network.batch(0, 2, 5), np.zeros(2), np.zeros((2, 5), np.int64)
    assert one.fused is not None
    with pytest.raises(ValueError, match="target"):
        one.fused.run(y + 3, totals)
    with pytest.raises(ValueError, match="totals must be 2"):
        one.fused.run(y, np.zeros(3))
    with pytest.raises(ValueError, match="weights must be 10"):
        one.fused.run(y, totals, np.ones(9, np.float32))
    with pytest.raises(ValueError, match="targets must be 30"):
        one.fused.run(np.zeros((2, 5), np.float32), totals)
    first, second = ((y.w, y.bias, y.dw, y.dbias, y.products, y.products, y.gradient) for y in one.layers)
    make = partial(network_kernels.NetworkPass, blas.find_sgemm(), one.x)
    with pytest.raises(ValueError, match="layer 0 has an array of shape"):
        make([second], one.losses, "relu", True)
    with pytest.raises(ValueError, match="active 0 must be product"):
        make([first, second], one.losses, "gelu", True)
    with pytest.raises(ValueError, match="overlaps"):
        make([(first[0], first[1], first[0], *first[3:]), second], one.losses, "relu", True)
    assert network_kernels.is_sgemm(blas.find_sgemm())
    assert not network_kernels.is_sgemm(cython_blas.__pyx_capi__["sgemv"])
    with pytest.raises(ValueError, match="signature"):
        network_kernels.NetworkPass(cython_blas.__pyx_capi__["dgemm"], one.x, [first, second], one.losses, "relu", True)


def test_bad_buffers_are_refused() -> None:
    x = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(ValueError, match="bias has shape"):
        network_kernels.activate("relu", x, x, np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="y must not be x"):
        network_kernels.activate("gelu", x, x)
    with pytest.raises(TypeError, match="float64"):
        network_kernels.activate("relu", x.astype(np.float64), x)


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [
        {"hidden_layer_sizes": (13,)}, {"activation": "tanh"}, {"activation": "gelu"}, {"activation": "identity"},
        *({"optimizer": name} for name in ("sgd", "momentum", "nag", "adagrad", "adadelta", "rmsprop")),
        {"optimizer": fastopt.Adam(np.zeros(1, np.float32), betas=(0.5, 0.9))},
        {"optimizer": partial(fastopt.Adam, convention="torch", eps=1e-2)},
        {"lr": 0.02}, {"lr": lambda t: 0.02 / (1 + t)}, {"lr": "search"}, {"batch_size": 1}, {"batch_size": None},
        {"epochs": 5}, {"l1": 1e-3}, {"l2": 1e-2}, {"l2": 1e-2, "decoupled": True}, {"dropout": 0.2},
        {"batch_norm": True}, {"input_noise": 0.1}, {"weight_noise": 0.05}, {"label_smoothing": 0.1}, {"mixup": 0.2},
        {"cutmix": 1.0, "sample_shape": (1, 8, 8)}, {"augment": Jitter(0.1)}, {"early_stopping": True},
        {"max_norm": 0.5}, {"class_weight": {0: 5.0}}, {"random_state": 1},
    ],
    ids=repr,
)  # fmt: skip
def test_an_option_changes_the_weights_and_is_reproducible(option: dict[str, Any]) -> None:
    plain, changed = net().fit(X, Y), net(**option).fit(X, Y)
    assert plain.coefs_[0].shape != changed.coefs_[0].shape or not same(plain, changed)
    assert same(changed, net(**option).fit(X, Y))
    assert changed.loss_ < changed.history_["loss"][0]
    assert clone(changed).get_params().keys() == plain.get_params().keys()


def test_penalties_shrink_weights_and_not_biases() -> None:
    plain, shrunk = net().fit(X, Y), net(l2=1.0, epochs=30).fit(X, Y)
    assert np.abs(shrunk.coefs_[0]).sum() < 0.5 * np.abs(plain.coefs_[0]).sum()
    biases = net(l2=0.5, decoupled=True, lr=0.0).fit(X, Y)  # with lr = 0 nothing changes
    assert np.array_equal(biases.coefs_[0], net(lr=0.0).fit(X, Y).coefs_[0])


def test_max_norm_holds_for_every_unit() -> None:
    model = net(max_norm=0.7, epochs=20).fit(X, Y)
    assert max(np.linalg.norm(w, axis=0).max() for w in model.coefs_) <= 0.7 * (1 + 1e-6)


def test_a_sample_weight_equals_repetitions_and_only_ratios_matter() -> None:
    w = np.random.default_rng(0).integers(0, 4, 300)
    model = net(batch_size=None).fit(X, Y, sample_weight=w)
    assert same(model, net(batch_size=None).fit(X.repeat(w, axis=0), Y.repeat(w)))
    small = net().fit(X, Y, sample_weight=np.where(Y < 5, 1.0, 3.0))
    assert same(small, net().fit(X, Y, sample_weight=np.where(Y < 5, 0.5, 1.5)))
    assert not same(small, net().fit(X, Y))


def test_the_learning_rate_search_records_its_rates() -> None:
    model = net(lr="search").fit(X, Y)
    assert model.lr_ in [0.1 * lr for lr in model.lr_search_["lr"]]
    assert 1e-5 < model.lr_ < 1.0
    assert np.all(np.diff(model.lr_search_["lr"]) > 0)


def test_the_learning_rate_search_can_end_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "HIGH", 1e-4)  # at such rates the loss does not rise
    model = net(lr="search", batch_size=2).fit(X, Y)
    assert len(model.lr_search_["lr"]) == len(model.lr_search_["loss"]) == search.STEPS < 150
    assert model.lr_search_["lr"][-1] == pytest.approx(1e-4)


def test_early_stopping_keeps_the_best_weights() -> None:
    stopping = EarlyStopping(patience=3)
    model = net(epochs=200, lr=0.05, early_stopping=stopping).fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:])
    losses = model.history_["val_loss"]
    assert model.n_iter_ == len(losses) == int(np.argmin(losses)) + 4
    p = model.predict_proba(X[200:].astype(np.float32)).astype(np.float64)
    assert -np.log(p[np.arange(100), Y[200:]]).mean() == pytest.approx(min(losses), rel=1e-4)
    assert stopping.step == 0, "a fit uses a copy of the instance"
    assert net(epochs=20).fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:]).history_["val_score"][-1] > 0.5


def test_validation_fraction_is_the_held_out_share() -> None:
    seen: list[int] = []

    class Watch(MLPClassifier):  # type: ignore[misc]
        def _score(self, outputs: Any, y: Any, weight: Any) -> float:
            seen.append(len(y))
            return float(super()._score(outputs, y, weight))

    for share, held_out in ((0.1, 30), (0.4, 120)):
        seen.clear()
        model = Watch((12,), epochs=3, early_stopping=True, validation_fraction=share, random_state=0).fit(X, Y)
        assert set(seen) == {held_out}
        assert len(model.history_["val_loss"]) == 3
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="validation_fraction must be"):
            net(early_stopping=True, validation_fraction=share).fit(X, Y)


def test_warm_start_and_partial_fit_continue() -> None:
    warm = net(warm_start=True).fit(X, Y)
    first = warm.loss_
    assert warm.fit(X, Y).history_["loss"][0] < first
    part = net()
    for _ in range(4):
        part.partial_fit(X, Y, classes=np.unique(Y))
    assert same(part, net().fit(X, Y)), "four epochs in both cases, with the optimizer's state"
    assert (part.n_iter_, len(part.history_["loss"])) == (4, 4)
    regressor = MLPRegressor((5,), random_state=0).partial_fit(XR, YR)
    assert regressor.predict(XR).shape == YR.shape


def test_sparse_samples_give_the_same_network_within_rounding() -> None:
    dense, sparse = net().fit(X, Y), net().fit(csr_array(X), Y)
    np.testing.assert_allclose(dense.coefs_[0], sparse.coefs_[0], atol=1e-4)
    assert np.array_equal(dense.predict(X), dense.predict(csr_array(X)))
    with pytest.raises(ValueError, match="input_noise would make a sparse X dense"):
        net(input_noise=0.1).fit(csr_array(X), Y)


def test_callbacks_get_a_fitted_model_and_can_end_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def watch(model: Any, epoch: int, logs: dict[str, float]) -> bool:
        seen.append((epoch, logs["loss"], model.score(X, Y)))
        return epoch == 3

    model = net(epochs=50, callbacks=[watch], verbose=True).fit(X, Y)
    assert [epoch for epoch, _, _ in seen] == [1, 2, 3]
    assert model.n_iter_ == 3
    assert seen[-1][2] == model.score(X, Y)
    assert "MLPClassifier" in capsys.readouterr().err


def test_without_hidden_layers_the_model_is_linear_regression() -> None:
    exact = np.linalg.lstsq(np.column_stack([XR, np.ones(120)]), YR, rcond=None)[0]
    model = MLPRegressor((), optimizer="sgd", lr=0.1, epochs=300, random_state=0).fit(XR, YR)
    np.testing.assert_allclose(np.vstack([model.coefs_[0], model.intercepts_[0]]), exact, atol=1e-4)


# -- in scikit-learn's tools ------------------------------------------------------------------------------------------


def test_scikit_learns_tools_accept_the_estimator() -> None:
    grid = GridSearchCV(make_pipeline(StandardScaler(), net()), {"mlpclassifier__lr": [1e-4, 1e-2]}, cv=2, n_jobs=2)
    assert grid.fit(X, Y).best_params_ == {"mlpclassifier__lr": 1e-2}
    assert sk_cross_validate(net(epochs=20), X, Y, cv=3)["test_score"].mean() > 0.7
    assert BaggingClassifier(net(epochs=20), n_estimators=3, random_state=0).fit(X, Y).score(X, Y) > 0.8
    assert AdaBoostClassifier(net(epochs=20), n_estimators=3, random_state=0).fit(X, Y).score(X, Y) > 0.8
    model = net().fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert same(again.partial_fit(X, Y), model.partial_fit(X, Y))


# -- many at once -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {}, {"dropout": 0.3, "batch_norm": True, "activation": "gelu"}, {"mixup": 0.5, "input_noise": 0.1},
        {"optimizer": "nag", "weight_noise": 0.05}, {"early_stopping": EarlyStopping(2), "epochs": 30, "lr": 0.05},
        {"l2": 0.01, "lr": "search", "max_norm": 1.0}, {"batch_size": None},
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("threads", [1, 2])
def test_fit_many_gives_the_bits_of_separate_fits(params: dict[str, Any], threads: int) -> None:
    before = fastopt.get_num_threads()
    fastopt.set_num_threads(threads)
    try:
        parts = [np.arange(k, 300, 2)[: 140 - k] for k in (0, 1, 0)] + [np.arange(129), np.arange(300)]
        models = [net(random_state=k, **params) for k in range(5)]
        models[1].set_params(l1=1e-3)
        together = fit_many(models, [X[p] for p in parts], [Y[p] for p in parts])
        for k, (model, p) in enumerate(zip(together, parts, strict=True)):
            alone = net(random_state=k, **params).set_params(l1=models[k].l1).fit(X[p], Y[p])
            assert model is models[k]
            assert same(model, alone), k
            assert model.history_["loss"] == alone.history_["loss"]
            assert np.array_equal(model.predict_proba(X), alone.predict_proba(X))
    finally:
        fastopt.set_num_threads(before)


def test_equal_settings_in_different_objects_are_trained_together() -> None:
    def like() -> MLPClassifier:
        optimizer = fastopt.Adam(np.zeros(1, np.float32), lr=0.02, betas=(0.8, 0.9))
        return net(optimizer=optimizer, augment=Jitter(0.1), early_stopping=EarlyStopping(3))

    assert all(map(same, fit_many([like(), like()], [X, X], [Y, Y]), [like().fit(X, Y)] * 2))
    other = fastopt.Adam(np.zeros(1, np.float32), lr=0.02, betas=(0.8, 0.95))
    for change in ({"optimizer": other}, {"augment": Jitter(0.2)}, {"early_stopping": EarlyStopping(4)}):
        with pytest.raises(CannotFitTogether, match="differ"):
            fit_many([like(), like().set_params(**change)], [X, X], [Y, Y])


class Rising:
    """A schedule with a setting."""

    def __init__(self, step: float) -> None:
        self.step = step

    def __call__(self, t: int) -> float:
        return self.step * (1 + t)


def scaled(t: int, start: float) -> float:
    return start / (1 + t)


def test_a_checkpoint_compares_the_settings_of_objects_and_partials(tmp_path: Path) -> None:
    def momentum(beta: float) -> Any:
        return fastopt.Momentum(np.zeros(1, np.float32), momentum=beta)

    pairs: list[tuple[str, Any, Any]] = [
        ("lr", Rising, (1e-4, 2e-4)), ("lr", lambda s: partial(scaled, start=s), (0.01, 0.02)),
        ("augment", Jitter, (0.1, 0.2)),
        ("optimizer", momentum, (0.5, 0.6)), ("optimizer", lambda b: partial(fastopt.RMSprop, alpha=b), (0.9, 0.8)),
        ("early_stopping", EarlyStopping, (3, 4)),
    ]  # fmt: skip
    for i, (name, make, (one, other)) in enumerate(pairs):
        path = tmp_path / f"{i}.npz"
        first = net(**{name: make(one)}).fit(X, Y, checkpoint=path)
        assert same(first, net(**{name: make(one)}).fit(X, Y, checkpoint=path))
        with pytest.raises(ValueError, match="is of another fit"):
            net(**{name: make(other)}).fit(X, Y, checkpoint=path)


def test_cross_validation_gives_the_scores_of_separate_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    together = cross_validate(net(random_state=None), X, Y, cv=4, rng=3, predictions=True)
    calls: list[int] = []

    def refuse(*_: Any) -> Any:
        calls.append(1)
        raise CannotFitTogether("not here")

    monkeypatch.setattr(MLPClassifier, "fit_many", staticmethod(refuse))
    alone = cross_validate(net(random_state=None), X, Y, cv=4, rng=3, predictions=True)
    assert calls
    assert np.array_equal(together.scores(), alone.scores())
    assert np.array_equal(together.predictions, alone.predictions)


@pytest.mark.parametrize(
    "change", [{"activation": "tanh"}, {"epochs": 9}, {"callbacks": [print]}, {"warm_start": True}, {"dropout": 0.1}]
)
def test_fit_many_raises_before_it_changes_anything(change: dict[str, Any]) -> None:
    models = [net(), net(**change)]
    with pytest.raises(CannotFitTogether):
        fit_many(models, [X, X], [Y, Y])
    with pytest.raises(CannotFitTogether, match="only one class"):
        fit_many([net(), net()], [X, X], [Y, np.zeros(300)])
    assert not any(hasattr(m, "coefs_") or hasattr(m, "n_features_in_") for m in models)


# -- bad input, Ctrl-C, kill ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"activation": "swish"}, ValueError, "activation must be"), ({"optimizer": "lbfgs"}, ValueError, "optimizer"),
        ({"lr": -1.0}, ValueError, "lr must be >= 0"), ({"lr": "auto"}, ValueError, "lr must be"),
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1"),
        ({"epochs": 1.5}, TypeError, "epochs must be an int"),
        ({"dropout": 1.5}, ValueError, "dropout"),
        ({"cutmix": 1.0}, ValueError, "cutmix needs sample_shape"),
        ({"sample_shape": (1, 8, 9)}, ValueError, "sample_shape"), ({"early_stopping": 3}, TypeError, "early_stopping"),
        ({"hidden_layer_sizes": (0,)}, ValueError, r"hidden_layer_sizes\[0\]"), ({"l2": -1}, ValueError, "l2 must be"),
        ({"batch_norm": True, "batch_size": 1}, ValueError, "batch_norm needs"),
        ({"lr": 1e30}, ValueError, "non-finite"),
    ],
)  # fmt: skip
def test_bad_parameters_do_not_change_the_estimator(change: Any, error: type[Exception], words: str) -> None:
    model = net(optimizer="sgd").fit(X, Y)
    old = {name: value for name, value in vars(model).items() if name.endswith("_")}
    model.set_params(**change)
    with pytest.raises(error, match=words):
        model.fit(X[:, ::-1], Y)
    assert all(vars(model)[name] is value for name, value in old.items())


def test_bad_samples_raise_scikit_learns_messages() -> None:
    bad = X.copy()
    bad[3, 3] = np.nan
    cases: list[tuple[Any, ...]] = [
        (bad, Y, None, "contains NaN"), (X, np.zeros(300), None, "only one class"), (X[:10], Y, None, "inconsistent"),
        (X[:0], Y[:0], None, "0 sample"), (X, Y, -np.ones(300), "[Nn]egative values"), (X, None, None, "requires y"),
    ]  # fmt: skip
    for x, y, w, words in cases:
        with pytest.raises(ValueError, match=words):
            net().fit(x, y, sample_weight=w)
    with pytest.raises(ValueError, match="unseen labels"):
        net().fit(X, Y, X_val=X[:5], y_val=[77] * 5)


def test_ctrl_c_leaves_a_fitted_estimator_and_warns() -> None:
    def press(model: Any, epoch: int, logs: Any) -> None:
        if epoch == 3:
            signal.raise_signal(signal.SIGINT)

    model = net(epochs=500, callbacks=press, lr=0.05)
    with pytest.warns(ConvergenceWarning, match="interrupted by user after 3 epochs: .* best weights"):
        model.fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:])
    best = net(epochs=1 + int(np.argmin(model.history_["val_loss"])), lr=0.05).fit(X[:200], Y[:200])
    assert same(model, best)


CTRL_C = """
    import _thread, warnings
    from tests.sklearn.test_estimators import X, Y, fastopt, fit_many, net
    from fastopt.mlp.training import BatchedTrainer
    fastopt.set_num_threads(2)
    done, record = {{}}, BatchedTrainer.record
    def press(trainer, seconds):
        record(trainer, seconds)
        done[id(trainer)] = trainer.tasks[0].epochs_done
        if len(done) == 4 and min(done.values()) == 20:
            _thread.interrupt_main()
    BatchedTrainer.record = press
    models = [net(random_state=k, epochs=10**6) for k in range(4)]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit_many(models, [X] * 4, [Y] * 4)
    assert sum("interrupted by user" in str(w.message) for w in found) == 4, found
    assert all(20 <= m.n_iter_ < 10**6 and m.score(X, Y) > 0.5 for m in models)
    assert fastopt.get_num_threads() == 2
"""


def test_ctrl_c_in_fit_many_leaves_all_estimators_fitted() -> None:
    code = textwrap.dedent(CTRL_C.format())
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr


KILLED = """
    import os, signal, sys
    import numpy as np
    from tests.sklearn.test_estimators import X, Y, net, SAVED
    def die(model, epoch, logs):
        if epoch == {epoch}:
            os.kill(os.getpid(), signal.SIGKILL)
    net(**SAVED, callbacks=die).fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:], checkpoint={path!r})
"""
SAVED: dict[str, Any] = {
    "epochs": 8,
    "dropout": 0.2,
    "batch_norm": True,
    "lr": 0.02,
    "early_stopping": EarlyStopping(4),
}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_killed_fit_continues_to_the_same_bits(tmp_path: Path) -> None:
    path = str(tmp_path / "run.npz")
    code = textwrap.dedent(KILLED.format(epoch=3, path=path))
    done = run_python("-c", code)
    assert done.returncode == -signal.SIGKILL, done.stderr
    held = {"X_val": X[200:], "y_val": Y[200:]}
    epochs: list[int] = []
    model = net(**SAVED, callbacks=lambda model, epoch, logs: epochs.append(epoch))
    model.fit(X[:200], Y[:200], **held, checkpoint=path)
    whole = net(**SAVED).fit(X[:200], Y[:200], **held)
    assert epochs[0] == 4
    assert same(model, whole)
    assert model.history_["loss"] == whole.history_["loss"]
    assert model.history_["val_loss"] == whole.history_["val_loss"]
    assert same(net(**SAVED).fit(X[:200], Y[:200], **held, checkpoint=path), whole), "a finished fit is only loaded"
    with pytest.raises(ValueError, match="is of another fit"):
        net(**SAVED).fit(X[1:200], Y[1:200], **held, checkpoint=path)


def test_import_fastopt_loads_no_scikit_learn() -> None:
    code = "import sys, fastopt; assert 'sklearn' not in sys.modules and 'fastopt.sklearn' not in sys.modules"
    assert run_python("-c", code).returncode == 0
