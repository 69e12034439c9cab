"""fastopt.sklearn with difficult input: weights, sparse rows, parameters, checkpoints, and Ctrl-C at any line."""

from __future__ import annotations

import copy
import re
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy.sparse import csr_array
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as TheirClassifier

import fastopt
from fastopt.mlp.settings import plain
from fastopt.regularization import EarlyStopping, Jitter
from fastopt.sklearn import MLPClassifier, MLPRegressor, fit_many
from fastopt.validation.estimators import CannotFitTogether
from tests.sklearn.test_estimators import XR, YR, X, Y, net, same

LABELS = np.arange(10)


# -- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [64, None])
def test_only_ratios_of_weights_matter(batch_size: int | None) -> None:
    w = np.where(Y < 5, 1.0, 3.0)
    model = net(batch_size=batch_size).fit(X, Y, sample_weight=w)
    for scale in (2.0**-1060, 2.0**1020):
        assert same(model, net(batch_size=batch_size).fit(X, Y, sample_weight=scale * w)), scale
        halves = {k: scale if k < 5 else 3 * scale for k in range(10)}
        assert same(model, net(batch_size=batch_size, class_weight=halves).fit(X, Y, sample_weight=np.full(300, scale)))


@pytest.mark.parametrize("class_weight", [{0: -1.0}, {0: np.inf}, {0: np.nan}])
def test_class_weights_are_finite_and_not_negative(class_weight: Any) -> None:
    with pytest.raises(ValueError, match="class_weight must be finite and >= 0"):
        net(class_weight=class_weight).fit(X, Y)


def test_balanced_class_weights_treat_a_weight_as_repetitions() -> None:
    w = np.random.default_rng(0).integers(0, 4, 300)
    model = net(batch_size=None, class_weight="balanced").fit(X, Y, sample_weight=w)
    again = net(batch_size=None, class_weight="balanced").fit(X.repeat(w, axis=0), Y.repeat(w))
    for a, b in zip(model.coefs_, again.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert not same(model, net(batch_size=None).fit(X, Y, sample_weight=w))
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        net(class_weight="balanced").partial_fit(X, Y, classes=LABELS)


def test_a_held_out_part_without_weight_is_an_error() -> None:
    with pytest.raises(ValueError, match="all samples with a weight fell on one side"):
        net(early_stopping=True).fit(X, Y, sample_weight=np.eye(300)[0])


# -- sparse rows ------------------------------------------------------------------------------------------------------


def twice() -> Any:
    """X as a sparse array that stores each entry as two halves, with the indices of each row in descending order."""
    x = csr_array(X)
    ends = list(zip(x.indptr[:-1], x.indptr[1:], strict=True))
    data = np.concatenate([np.r_[x.data[a:b][::-1], x.data[a:b][::-1]] / 2 for a, b in ends]).astype(np.float32)
    indices = np.concatenate([np.r_[x.indices[a:b][::-1], x.indices[a:b][::-1]] for a, b in ends])
    return csr_array((data, indices, 2 * x.indptr), shape=x.shape)


@pytest.mark.parametrize("batch_size", [64, None])
def test_sparse_rows_of_any_form_give_the_same_result_and_are_not_changed(batch_size: int | None) -> None:
    x, model = twice(), net(batch_size=batch_size).fit(csr_array(X), Y)
    data, indices = x.data.copy(), x.indices.copy()
    for array in (x.data, x.indices, x.indptr):
        array.flags.writeable = False
    assert same(model, net(batch_size=batch_size).fit(x, Y, X_val=x, y_val=Y))
    assert np.array_equal(x.data, data)
    assert np.array_equal(x.indices, indices)
    w = np.arange(300) % 3
    repeated = csr_array(X.repeat(w, axis=0))
    full = net(batch_size=None).fit(x, Y, sample_weight=w)
    assert same(full, net(batch_size=None).fit(repeated, Y.repeat(w)))


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"hidden_layer_sizes": (n for n in [5])}, TypeError, "hidden_layer_sizes must be a tuple"),
        ({"hidden_layer_sizes": {5, 3}}, TypeError, "hidden_layer_sizes must be a tuple"),
        ({"activation": np.array(["relu"])}, ValueError, "activation must be"),
        ({"callbacks": 5}, TypeError, "callbacks must be a function"), ({"callbacks": [5]}, TypeError, "callbacks"),
        ({"augment": lambda x, rng: x[:1]}, ValueError, r"augment returned ndarray of shape \(1, 64\)"),
        ({"augment": lambda x, rng: None}, ValueError, "augment returned NoneType"),
        ({"augment": lambda x, rng: x + 1j}, TypeError, "augment returned samples of dtype complex64"),
        ({"augment": lambda x, rng: x.astype(str)}, TypeError, "augment returned samples of dtype <U"),
        ({"optimizer": "lbfgs"}, ValueError, "optimizer must be one of"),
        ({"verbose": "no"}, TypeError, "verbose must be True, False or an int >= 0, got 'no'"),
        ({"verbose": None}, TypeError, "verbose must be"), ({"verbose": -1}, ValueError, "verbose must be >= 0"),
    ],
)  # fmt: skip
def test_invalid_parameters_are_named(change: Any, error: type[Exception], words: str) -> None:
    for fit in (lambda model: model.fit(X, Y), lambda model: model.partial_fit(X, Y, classes=LABELS)):
        with pytest.raises(error, match=words):
            fit(net(**change))


def test_predictions_need_a_known_activation() -> None:
    model = net().fit(X, Y).set_params(activation="swish")
    for predict in (model.predict, model.predict_proba, model.predict_log_proba):
        with pytest.raises(ValueError, match=r"activation must be one of 'relu', .*, got 'swish'"):
            predict(X)


def test_validation_samples_need_the_same_number_of_outputs() -> None:
    for given in ({"X_val": XR}, {"y_val": YR}):
        with pytest.raises(ValueError, match="X_val and y_val must be given together"):
            MLPRegressor(epochs=2).fit(XR, YR, **given)
    with pytest.raises(ValueError, match="y_val has 1 outputs, y has 2"):
        MLPRegressor(epochs=2).fit(XR, YR, X_val=XR, y_val=YR[:, 0])


def test_a_callback_may_return_a_numpy_bool_and_keep_weights() -> None:
    kept: list[Any] = []

    def watch(model: Any, epoch: int, logs: dict[str, float]) -> Any:
        kept.append((model.coefs_[0], model.coefs_[0].copy()))
        return np.bool_(epoch == 3)

    assert net(epochs=9, callbacks=watch).fit(X, Y).n_iter_ == 3
    assert all(np.array_equal(a, b) for a, b in kept)
    assert not np.array_equal(kept[0][0], kept[1][0])


@pytest.mark.parametrize("verbose", [True, 1, np.bool_(True), False, 0])
def test_the_bar_shows_the_epochs_and_the_last_values(
    verbose: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    model = net(epochs=50, callbacks=lambda model, epoch, logs: epoch == 3, verbose=verbose)
    model.fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:])
    last = {name: f"{values[-1]:.4g}" for name, values in model.history_.items() if name != "seconds"}
    assert len(set(last.values())) == 4
    values = " ".join(f"{name}={last[name]}" for name in ("loss", "val_loss", "val_score", "lr"))
    pattern = rf"MLPClassifier \S+ +6% 0:\d\d:\d\d {re.escape(values)}\s+" if verbose else ""
    assert re.fullmatch(pattern, capsys.readouterr().err)


def test_the_bar_of_a_finished_checkpoint_is_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net().fit(X, Y, checkpoint=tmp_path / "run.npz")
    net(verbose=True).fit(X, Y, checkpoint=tmp_path / "run.npz")
    assert "100%" in capsys.readouterr().err


def test_a_copy_made_in_a_callback_has_only_the_current_fit() -> None:
    copies: list[Any] = []
    model = net(lr="search", optimizer="momentum").fit(X, Y)
    model.set_params(lr=0.01, callbacks=lambda model, epoch, logs: copies.append(copy.deepcopy(model)))
    first = model.fit(X[:200], Y[:200]) and copies[1]
    assert not hasattr(first, "lr_search_")
    assert first.n_iter_ == 2
    twin = net(optimizer="momentum", epochs=2).fit(X[:200], Y[:200])
    assert same(first, twin)
    for going in (first, twin.set_params(warm_start=True, epochs=1)):
        going.set_params(callbacks=None)
    assert same(first.partial_fit(X, Y), twin.fit(X, Y))


def test_settings_of_the_optimizer_are_parameters() -> None:
    model = net(optimizer="momentum").set_params(optimizer__momentum=0.5, lr=0.02).fit(X, Y)
    assert same(model, net(optimizer=partial(fastopt.Momentum, momentum=0.5), lr=0.02).fit(X, Y))
    pattern = fastopt.Adam(np.zeros(1, np.float32), betas=(0.8, 0.9), convention="torch")
    changed = net(optimizer=pattern).set_params(optimizer__eps=1e-3).fit(X, Y)
    assert same(changed, net(optimizer=partial(fastopt.Adam, betas=(0.8, 0.9), eps=1e-3, convention="torch")).fit(X, Y))
    grid = GridSearchCV(net(optimizer="nag"), {"optimizer__momentum": [0.1, 0.9]}, cv=2).fit(X, Y)
    assert grid.best_estimator_.optimizer.keywords == {"momentum": grid.best_params_["optimizer__momentum"]}
    with pytest.raises(TypeError, match="has no hyper-parameter 'momentun'"):
        net(optimizer="nag").set_params(optimizer__momentun=0.5).fit(X, Y)


@pytest.mark.parametrize("penalty", [{"weight_decay": 0.1}, {"l1": 0.01}, {"weight_decay": 0.1, "l1": 0.01}])
def test_penalties_of_a_given_optimizer_exclude_biases(penalty: dict[str, float]) -> None:
    pattern = fastopt.SGD(np.zeros(1, np.float32), **penalty)
    plain = {"l1": penalty.get("l1"), "l2": penalty.get("weight_decay")}
    model, same_one = net(optimizer=pattern, lr=0.1).fit(X, Y), net(optimizer="sgd", lr=0.1, **plain).fit(X, Y)
    assert same(model, same_one)
    still = net(optimizer="sgd", lr=0.1).fit(X, Y)
    still.set_params(optimizer=pattern).partial_fit(np.zeros_like(X[:5]), Y[:5])
    other = net(optimizer="sgd", lr=0.1).fit(X, Y).partial_fit(np.zeros_like(X[:5]), Y[:5])
    assert np.array_equal(
        still.intercepts_[0], other.intercepts_[0]
    )  # at X = 0 the biases have a gradient and the weights have none
    assert np.abs(still.coefs_[0]).sum() < np.abs(other.coefs_[0]).sum()


def test_a_subclass_may_have_additional_parameters() -> None:
    class Mine(MLPClassifier):  # type: ignore[misc]
        def __init__(self, extra: int = 1, epochs: int = 2) -> None:
            super().__init__(epochs=epochs, random_state=0)
            self.extra = extra

    assert Mine(extra=3).get_params() == {"extra": 3, "epochs": 2}
    assert Mine().fit(X, Y).n_iter_ == 2


def test_scikit_learns_attributes_exist() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = TheirClassifier((12,), max_iter=3, early_stopping=True).fit(X, Y)
    names = [name for name in vars(theirs) if name.endswith("_") and not name.startswith("_")]
    model = net(early_stopping=True).fit(X, Y)
    assert [name for name in names if not hasattr(model, name)] == []
    assert model.loss_curve_ == model.history_["loss"]
    assert model.best_loss_ == min(model.history_["loss"])
    assert model.validation_scores_ == model.history_["val_score"]
    assert model.best_validation_score_ == max(model.history_["val_score"])
    assert model.t_ == 4 * 270
    assert net().fit(X, Y).validation_scores_ is None
    assert not hasattr(net(), "loss_curve_")


def test_log_probabilities_are_exact_even_if_the_probability_rounds_to_zero() -> None:
    model, x = net(epochs=30).fit(X, Y), X.astype(np.float64)
    z = model.predict_log_proba(x)
    np.testing.assert_allclose(np.exp(z), model.predict_proba(x), rtol=1e-12)
    np.testing.assert_allclose(np.exp(z).sum(axis=1), 1.0, rtol=1e-12)
    far = model.predict_log_proba(1e4 * x)
    assert (model.predict_proba(1e4 * x) == 0.0).any()
    assert np.isfinite(far).all()
    assert np.array_equal(model.classes_[far.argmax(axis=1)], model.predict(1e4 * x))


def test_the_held_out_part_is_stratified() -> None:
    held_out: list[Any] = []

    class Watch(MLPClassifier):  # type: ignore[misc]
        def _score(self, outputs: Any, y: Any, weight: Any) -> float:
            held_out.append(np.bincount(y, minlength=3).tolist())
            return float(super()._score(outputs, y, weight))

    y = np.repeat([0, 1, 2], [270, 20, 10])
    for seed in range(5):
        Watch((5,), epochs=1, early_stopping=True, random_state=seed).fit(X, y)
    assert held_out == [[27, 2, 1]] * 5


# -- partial_fit and early stopping -----------------------------------------------------------------------------------


def test_partial_fit_uses_the_current_parameters() -> None:
    model = net().fit(X, Y)
    weights = [w.copy() for w in model.coefs_]
    model.set_params(lr=0.0).partial_fit(X, Y)
    assert all(map(np.array_equal, weights, model.coefs_))
    assert (model.lr_, model.history_["lr"][-1], model.n_iter_, model.t_) == (0.0, 0.0, 5, 1500)
    schedule = net(lr=lambda t: 0.01).fit(X, Y).set_params(lr=0.01)
    assert same(schedule.partial_fit(X, Y), net(epochs=5).fit(X, Y))
    searched = net(lr="search").fit(X, Y)
    assert searched.partial_fit(X, Y).history_["lr"][-1] == searched.lr_
    with pytest.raises(ValueError, match="does not support lr='search'"):
        net(lr="search").partial_fit(X, Y, classes=LABELS)


def test_a_failed_partial_fit_does_not_change_the_next_one() -> None:
    model, other = net().fit(X, Y), net().fit(X, Y)
    with pytest.raises(ValueError, match="non-finite"):
        model.set_params(optimizer=partial(fastopt.Adam, eps=0.0, eps_in_sqrt=False), lr=1e30).partial_fit(X, Y)
    assert same(model.set_params(optimizer="adam", lr=0.01).partial_fit(X, Y), other.partial_fit(X, Y))


@pytest.mark.parametrize(
    "params", [{}, {"dropout": 0.2, "batch_norm": True}, {"weight_noise": 0.1, "optimizer": "nag"}], ids=repr
)
@pytest.mark.parametrize("l1", [None, 1e-3])
def test_partial_fit_continues_from_fit_many_as_from_fit(params: dict[str, Any], l1: float | None) -> None:
    def make() -> list[MLPClassifier]:
        return [net(random_state=0, **params), net(random_state=1, l1=l1, **params), net(random_state=2, **params)]

    parts = [slice(0, 300), slice(0, 299), slice(10, 300)]
    threads = fastopt.get_num_threads()
    fastopt.set_num_threads(1)  # one stack of all
    try:
        many = fit_many(make(), [X[p] for p in parts], [Y[p] for p in parts])
    finally:
        fastopt.set_num_threads(threads)
    for model, other, p in zip(many, make(), parts, strict=True):
        alone = other.fit(X[p], Y[p]).partial_fit(X, Y)
        assert same(model.partial_fit(X, Y), alone)
        assert same(model.partial_fit(X, Y), alone.partial_fit(X, Y))


@pytest.mark.parametrize("again", ["fit", "partial_fit"])
@pytest.mark.parametrize("before", [True, False])
def test_batch_norm_cannot_be_switched_when_a_fit_continues(again: str, before: bool) -> None:
    model = net(batch_norm=before, warm_start=True).fit(X, Y).set_params(batch_norm=not before)
    with pytest.raises(ValueError, match=f"are of batch_norm={before}, now it is {not before}"):
        getattr(model, again)(X, Y)


@pytest.mark.parametrize("classes", [[], [1], [1, np.nan]])
def test_partial_fit_needs_valid_classes(classes: Any) -> None:
    model = net()
    with pytest.raises(ValueError, match=r"at least 2 classes|NaN"), np.errstate(invalid="ignore"):
        model.partial_fit(X[:3], Y[:3], classes=classes)
    assert not hasattr(model, "classes_")


STOPPINGS: list[dict[str, Any]] = [
    {"patience": 2}, {"patience": 3, "min_delta": 0.05}, {"patience": 3, "min_delta": 0.1, "relative": True},
    {"patience": 4, "mode": "max"}, {"patience": 3, "baseline": 0.2}, {"patience": 2, "start_from": 12},
    {"patience": 1, "cooldown": 3}, {"patience": 3, "restore_best": False}, {"patience": 2, "reduce": lambda v: -v},
]  # fmt: skip


@pytest.mark.parametrize("settings", STOPPINGS, ids=repr)
def test_early_stopping_follows_its_settings(settings: dict[str, Any]) -> None:
    held = {"X_val": X[200:], "y_val": Y[200:]}
    endless = net(epochs=60, lr=0.1).fit(X[:200], Y[:200], **held)
    values = endless.history_["val_score" if settings.get("mode") == "max" else "val_loss"]
    pattern = EarlyStopping(**settings)
    end = next((i for i, value in enumerate(values, 1) if pattern.update(value)), 60)
    model = net(epochs=60, lr=0.1, early_stopping=EarlyStopping(**settings)).fit(X[:200], Y[:200], **held)
    assert model.n_iter_ == end < 60
    assert pattern.best_step is not None
    kept = pattern.best_step + 1 if settings.get("restore_best", True) else end
    assert same(model, net(epochs=kept, lr=0.1).fit(X[:200], Y[:200]))


def test_stopping_by_the_score_needs_two_validation_samples() -> None:
    model = MLPRegressor(early_stopping=EarlyStopping(3, mode="max"), random_state=0)
    with pytest.raises(ValueError, match="needs at least two validation samples"):
        model.fit(XR[:5], YR[:5])
    assert len(model.fit(XR[:20], YR[:20]).validation_scores_ or []) > 3


# -- checkpoints ------------------------------------------------------------------------------------------------------


def test_the_error_for_a_checkpoint_of_another_fit_names_the_difference(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    net(batch_size=50).fit(X, Y, checkpoint=path)
    with pytest.raises(ValueError, match=r"with other values of: X, batch_size, random_state$"):
        net(random_state=1).fit(X[::-1], Y, checkpoint=path)
    with pytest.raises(ValueError, match="it is behind epoch 4, epochs is 3"):
        net(batch_size=50, epochs=3).fit(X, Y, checkpoint=path)
    with pytest.raises(ValueError, match="of another fit: of MLPClassifier"):
        MLPRegressor(random_state=0).fit(X, Y, checkpoint=path)
    fastopt.Adam(np.zeros(1, np.float32)).save(path, params=True)
    with pytest.raises(ValueError, match="is no checkpoint of a fit"):
        net().fit(X, Y, checkpoint=path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        net().fit(X, Y, checkpoint=tmp_path / "none" / "run.npz")
    with pytest.raises(TypeError, match="checkpoint must be a path"):
        net().fit(X, Y, checkpoint=5)
    for seed in (None, np.random.default_rng(0), np.random.RandomState(0)):
        with pytest.raises(ValueError, match="checkpoint needs an int as random_state to continue from, got "):
            net(random_state=seed).fit(X, Y, checkpoint=tmp_path / "new.npz")
    assert not (tmp_path / "new.npz").exists()


@pytest.mark.parametrize("name", ["X", "y", "sample_weight", "X_val", "y_val"])
def test_a_checkpoint_compares_each_array(tmp_path: Path, name: str) -> None:
    given = {"X": X[:200], "y": Y[:200], "sample_weight": 1.0 + Y[:200], "X_val": X[200:], "y_val": Y[200:]}
    net().fit(**given, checkpoint=tmp_path / "run.npz")
    swapped = given[name].copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    with pytest.raises(ValueError, match=f"with other values of: {name}$"):
        net().fit(**{**given, name: swapped}, checkpoint=tmp_path / "run.npz")


def falling(step: int) -> float:
    return 0.01 / (1 + step)


def test_a_checkpoint_compares_functions_by_their_names_and_objects_by_their_attributes(tmp_path: Path) -> None:
    schedule, jitter = tmp_path / "schedule.npz", tmp_path / "jitter.npz"
    net(epochs=2, lr=falling).fit(X, Y, checkpoint=schedule)
    assert same(net(lr=falling).fit(X, Y, checkpoint=schedule), net(lr=falling).fit(X, Y))
    with pytest.raises(ValueError, match="with other values of: lr"):
        net(lr=lambda t: 0.01 / (1 + t)).fit(X, Y, checkpoint=schedule)
    net(epochs=2, augment=Jitter(0.1)).fit(X, Y, checkpoint=jitter)
    assert same(net(augment=Jitter(0.1)).fit(X, Y, checkpoint=jitter), net(augment=Jitter(0.1)).fit(X, Y))
    with pytest.raises(ValueError, match="with other values of: augment"):
        net(augment=Jitter(0.2)).fit(X, Y, checkpoint=jitter)


def test_a_fit_that_early_stopping_ended_does_not_continue_with_more_epochs(tmp_path: Path) -> None:
    params: dict[str, Any] = {"early_stopping": EarlyStopping(2), "lr": 0.3, "epochs": 60}
    whole = net(**params).fit(X, Y)
    assert whole.n_iter_ < 60
    net(**{**params, "epochs": whole.n_iter_}).fit(X, Y, checkpoint=tmp_path / "run.npz")
    again = net(**params).fit(X, Y, checkpoint=tmp_path / "run.npz")
    assert (again.n_iter_, again.history_["val_loss"]) == (whole.n_iter_, whole.history_["val_loss"])
    assert same(again, whole)


def test_a_checkpoint_holds_the_learning_rate_search_and_a_new_fit_removes_it(tmp_path: Path) -> None:
    whole = net(lr="search", epochs=6).fit(X, Y)
    net(lr="search", epochs=3).fit(X, Y, checkpoint=tmp_path / "run.npz")
    again = net(lr="search", epochs=6).fit(X, Y, checkpoint=tmp_path / "run.npz")
    assert same(again, whole)
    assert again.lr_search_ == whole.lr_search_
    assert not hasattr(again.set_params(lr=0.01).fit(X, Y), "lr_search_")


def test_a_checkpoint_compares_the_first_weights_of_a_warm_start(tmp_path: Path) -> None:
    model = net(warm_start=True).fit(X, Y)
    model.fit(X, Y, checkpoint=tmp_path / "run.npz")
    with pytest.raises(ValueError, match="other values of: the weights it starts from"):
        model.fit(X, Y, checkpoint=tmp_path / "run.npz")


def test_settings_as_plain_values() -> None:
    numbers = [(np.float64(0.1), 0.1), (np.int64(3), 3), (np.str_("a"), "a"), (np.bool_(1), True)]
    assert all(plain(theirs) == plain(ours) for theirs, ours in numbers)
    assert plain(np.float32(0.1)) != plain(0.1) != plain(0.2)
    assert plain(Jitter(0.1)) == plain(Jitter(0.1)) != plain(Jitter(0.2))
    assert plain({"a": np.arange(3)}) == plain({"a": np.arange(3)}) != plain({"a": np.arange(4)})
    assert plain(partial(falling, step=1)) == plain(partial(falling, step=1)) != plain(partial(falling, step=2))
    adam = [fastopt.Adam(np.zeros(1, np.float32), eps=eps) for eps in (1e-3, 1e-3, 1e-4)]
    assert plain(adam[0]) == plain(adam[1]) != plain(adam[2])
    for function in (falling, print, np.exp, Jitter):
        assert plain(function) is function


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


class Press:
    """A trace function that raises KeyboardInterrupt at the k-th line executed in these files."""

    FILES = frozenset(
        str(file)
        for folder in ("mlp", "sklearn")
        for file in (Path(fastopt.__file__).parent / folder).glob("*.py")
        if file.stem not in ("__init__", "blas", "settings", "progress")
    )

    def __init__(self, k: int) -> None:
        self.k, self.lines = k, 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        return self.line if frame.f_code.co_filename in self.FILES else None

    def line(self, _: FrameType, event: str, __: Any) -> Any:
        self.lines += event == "line"
        if event == "line" and self.lines == self.k:
            raise KeyboardInterrupt
        return self.line


def pressed(k: int, fit: Callable[[], Any]) -> tuple[bool, int]:
    """Run a fit with Press(k). Return whether the fit raised KeyboardInterrupt, and the number of lines executed."""
    press, before = Press(k), sys.gettrace()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.settrace(press)
        try:
            fit()
        except KeyboardInterrupt:
            return True, press.lines
        finally:
            sys.settrace(before)
    return False, press.lines


def state(model: Any) -> str:
    """Return "whole" if the attributes of the fit are complete and consistent."""
    assert len({len(values) for values in model.history_.values()}) == 1
    assert model.n_iter_ == len(model.loss_curve_)
    assert model.predict(X[:5]).shape == (5,)
    return "whole"


FITS: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "validation": ({}, lambda m: m.fit(X, Y, X_val=X[:50], y_val=Y[:50])),
    "noisy": (
        {"batch_norm": True, "dropout": 0.1, "weight_noise": 0.1, "optimizer": "nag", "early_stopping": True},
        lambda m: m.fit(X, Y),
    ),
    "callbacks": ({"callbacks": lambda *_: None}, lambda m: m.fit(X, Y)),
    "partial_fit": ({}, lambda m: m.partial_fit(X, Y, classes=LABELS)),
}


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("fitted", [False, True])
def test_ctrl_c_at_any_line_keeps_the_old_fit_or_leaves_a_complete_one(name: str, fitted: bool) -> None:
    params, fit = FITS[name]

    def make() -> Any:
        model = net(epochs=2, batch_size=150, **params)
        return model.fit(X[:150], Y[:150]) if fitted else model

    _, lines = pressed(-1, lambda: fit(make()))
    for k in range(1, lines, 11):
        model = make()
        before = dict(vars(model))
        raised, _ = pressed(k, partial(fit, model))
        untouched = vars(model).keys() == before.keys() and all(vars(model)[n] is before[n] for n in before)
        assert (raised and untouched) or state(model) == "whole", k


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_at_any_line_of_fit_many_leaves_each_fit_complete(workers: int) -> None:
    threads = fastopt.get_num_threads()
    fastopt.set_num_threads(workers)
    try:
        _, lines = pressed(-1, lambda: fit_many([net(epochs=2), net(epochs=2)], [X, X], [Y, Y]))
        for k in range(1, lines, 11):
            models = [net(epochs=2), net(epochs=2, random_state=1)]
            before = [dict(vars(m)) for m in models]
            pressed(k, lambda models=models: fit_many(models, [X, X], [Y, Y]))  # type: ignore[misc]
            assert all(vars(m) == old or state(m) == "whole" for m, old in zip(models, before, strict=True)), k
    finally:
        fastopt.set_num_threads(threads)


def test_a_fit_continues_after_ctrl_c_during_a_checkpoint(tmp_path: Path) -> None:
    whole = net(epochs=3, batch_size=150).fit(X, Y)
    _, lines = pressed(-1, lambda: net(epochs=3, batch_size=150).fit(X, Y, checkpoint=tmp_path / "run.npz"))
    for k in range(lines // 3, lines, 23):
        path = tmp_path / f"{k}.npz"
        pressed(k, partial(net(epochs=3, batch_size=150).fit, X, Y, checkpoint=path))
        assert same(net(epochs=3, batch_size=150).fit(X, Y, checkpoint=path), whole), k
    assert not list(tmp_path.glob("*.part"))


# -- many at once -----------------------------------------------------------------------------------------------------


def test_fit_many_refuses_duplicate_and_foreign_estimators() -> None:
    model = net()
    with pytest.raises(ValueError, match="twice"):
        fit_many([model, model], [X, X], [Y, Y])
    with pytest.raises(TypeError, match=r"estimators\[1\] must be an MLPClassifier"):
        fit_many([model, TheirClassifier()], [X, X], [Y, Y])
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("restore_best", [True, False])
def test_a_network_that_stops_early_does_not_change_while_others_train(restore_best: bool) -> None:
    def make(k: int) -> MLPClassifier:
        stopping = EarlyStopping(3, restore_best=restore_best)
        return net(random_state=k, dropout=0.1, early_stopping=stopping, epochs=40, lr=0.05)

    before = fastopt.get_num_threads()
    fastopt.set_num_threads(1)  # one stack of all
    try:
        together = fit_many([make(k) for k in range(4)], [X] * 4, [Y] * 4)
    finally:
        fastopt.set_num_threads(before)
    assert len({model.n_iter_ for model in together}) > 1
    for k, model in enumerate(together):
        assert same(model, make(k).fit(X, Y)), k


def test_fit_many_refuses_a_generator_without_drawing_from_it() -> None:
    generator, older = np.random.default_rng(0), np.random.RandomState(0)
    for given in (generator, older):
        with pytest.raises(CannotFitTogether, match="a generator as random_state"):
            fit_many([net(random_state=given), net()], [X, X], [Y, Y])
    assert generator.random() == np.random.default_rng(0).random()
    assert older.random() == np.random.RandomState(0).random()
