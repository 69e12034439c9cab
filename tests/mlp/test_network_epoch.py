"""An epoch in one call into C: the same bits as single steps, cases left to Python, Ctrl-C, bad buffers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score

import fastopt
from fastopt._native import network as network_kernels
from fastopt._native import runtime
from fastopt.mlp import training
from fastopt.mlp.training import BatchedTrainer
from fastopt.regularization import Jitter
from fastopt.sklearn import MLPClassifier, MLPRegressor, fit_many
from tests.support.changing import while_it_runs

RNG = np.random.default_rng(3)
X = RNG.normal(size=(83, 6)).astype(np.float32)
Y = RNG.integers(3, size=83)
NUMBERS = RNG.normal(size=(83, 2))
WEIGHTS = RNG.random(83) + 0.1


def net(**params: Any) -> MLPClassifier:
    return MLPClassifier(**{"hidden_layer_sizes": (7,), "batch_size": 20, "lr": 0.02, "random_state": 1, **params})


def stack(model: Any, *, weight: Any = None, by_step: bool = False) -> BatchedTrainer:
    y = Y if isinstance(model, MLPClassifier) else NUMBERS
    return BatchedTrainer([model._make_task(X, y, weight)], by_step=by_step)


def state(s: BatchedTrainer) -> list[Any]:
    """Everything that an epoch changes."""
    states = [x for each in s.optimizer.state for x in each.values()]
    return [*s.net.params, *states, s.totals, s.tasks[0].streams[1].bit_generator.state["state"]["state"]]


def same(a: BatchedTrainer, b: BatchedTrainer) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(state(a), state(b), strict=True))


def falling(step: int) -> float:
    return 0.1 / (1 + step)


OPTIMIZERS: list[Any] = [
    "sgd", "momentum", "nag", "adagrad", "adadelta", "rmsprop", "adam", "adamw",
    partial(fastopt.Momentum, dampening=0.3, convention="torch"), partial(fastopt.Momentum, convention="keras"),
    partial(fastopt.NAG, lookahead=False, momentum=0.8), partial(fastopt.Adagrad, lr_decay=0.1, maximize=True),
    partial(fastopt.RMSprop, centered=True, momentum=0.5), partial(fastopt.Adam, amsgrad=True, convention="optax"),
    partial(fastopt.Adam, convention="torch", clip_value=1e-3),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("lr", [0.02, falling], ids=["constant", "schedule"])
@pytest.mark.parametrize("penalty", [{}, {"l1": 1e-3, "l2": 0.1}, {"l2": 0.1, "decoupled": True}], ids=repr)
def test_an_epoch_has_the_bits_of_single_steps_with_every_optimizer(
    optimizer: Any, lr: Any, penalty: dict[str, Any]
) -> None:
    model = net(optimizer=optimizer, lr=lr, **penalty)
    whole, steps = stack(model), stack(model, by_step=True)
    assert whole.epoch_in_c is not None
    assert steps.epoch_in_c is None
    before = [p.copy() for p in whole.net.params]
    for _ in range(3):
        whole.epoch()
        steps.epoch()
        assert same(whole, steps)
    assert not any(np.array_equal(p, q) for p, q in zip(before, whole.net.params, strict=True))
    assert whole.optimizer.param_groups[0].clock.steps == 3 * 5


@pytest.mark.parametrize(
    "model",
    [
        net(activation="gelu", hidden_layer_sizes=(7, 5)), net(activation="tanh"), net(hidden_layer_sizes=()),
        net(label_smoothing=0.1), net(batch_size=None), net(batch_size=1), net(batch_size=83), net(batch_size=82),
        MLPRegressor((7,), batch_size=20, random_state=1), MLPRegressor((), batch_size=7, optimizer="nag"),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("call", [1, 10**5, 2**30])
def test_an_epoch_in_any_number_of_calls_has_the_bits_of_single_steps(
    monkeypatch: pytest.MonkeyPatch, model: Any, weight: Any, call: int
) -> None:
    monkeypatch.setattr(training, "MULTIPLICATIONS_PER_CALL", call)
    model.set_params(random_state=1)
    whole, steps = stack(model, weight=weight), stack(model, weight=weight, by_step=True)
    for _ in range(2):
        whole.epoch()
        steps.epoch()
        assert same(whole, steps)
    assert whole.totals[0] > 0


@pytest.mark.parametrize(
    "change",
    [
        {"dropout": 0.1}, {"batch_norm": True}, {"input_noise": 0.1}, {"weight_noise": 0.1}, {"mixup": 0.2},
        {"cutmix": 1.0, "sample_shape": (1, 2, 3)}, {"augment": Jitter(0.1)}, {"max_norm": 1.0},
        {"optimizer": partial(fastopt.Adam, skip_nonfinite=True)}, {"hidden_layer_sizes": (2**17,)},
    ],
    ids=repr,
)  # fmt: skip
def test_other_options_train_step_by_step(change: dict[str, Any]) -> None:
    assert stack(net(**change)).epoch_in_c is None


# -- Ctrl-C and errors within an epoch --------------------------------------------------------------------------------


def test_an_epoch_can_be_stopped_between_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MULTIPLICATIONS_PER_CALL", 1)  # one batch per call
    asked: list[bool] = []

    def third() -> bool:
        asked.append(True)
        return len(asked) == 3

    whole, steps = stack(net()), stack(net(), by_step=True)
    for s in (whole, steps):
        asked.clear()
        with pytest.raises(KeyboardInterrupt):
            s.epoch(third)
        assert s.optimizer.param_groups[0].clock.steps == 2
    assert same(whole, steps)


def test_a_call_has_at_most_20_milliseconds_of_products() -> None:
    model = net(hidden_layer_sizes=(1000,), batch_size=50)
    asked: list[bool] = []
    x, y = np.tile(X, (200, 1)), np.tile(Y, 200)
    BatchedTrainer([model._make_task(x, y, None)]).epoch(lambda: bool(asked.append(True)))
    products = 3 * len(x) * (6 * 1000 + 1000 * 3)
    assert len(asked) - 1 <= products / training.MULTIPLICATIONS_PER_CALL + 1
    assert len(asked) >= products / training.MULTIPLICATIONS_PER_CALL


def ringing(step: int) -> float:
    if step == 17:  # the third batch of the fourth epoch
        signal.raise_signal(signal.SIGINT)
    return falling(step)


def test_ctrl_c_within_an_epoch_leaves_the_weights_of_the_last_call() -> None:
    model = net(lr=ringing, epochs=50)
    with pytest.warns(ConvergenceWarning, match="after 3 epochs"):
        model.fit(X, Y)
    until = net(lr=falling, epochs=3).fit(X, Y)
    assert all(np.array_equal(p, q) for p, q in zip(model.coefs_, until.coefs_, strict=True))
    assert model._optimizer_state["param_groups"][0]["steps"] == 15


def test_an_error_in_a_schedule_changes_no_step_and_no_parameter() -> None:
    def broken(step: int) -> float:
        return falling(step) if step != 7 else float("nan")

    s = stack(net(lr=broken))
    s.epoch()
    before = [p.copy() for p in s.net.params]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"lr\(7\) must be a finite number"):
            s.epoch()
        assert s.optimizer.param_groups[0].clock.steps == 5
        assert all(np.array_equal(p, q) for p, q in zip(before, s.net.params, strict=True))


def test_two_threads_cannot_run_one_epoch_at_once() -> None:
    s = stack(net(batch_size=1, hidden_layer_sizes=(500,)))
    assert s.epoch_in_c is not None
    refused = 0
    s.optimizer._scalars_ahead(5)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(s.epoch_in_c.run, ORDER, 0, 83, np.zeros(1)) for _ in range(60)]
    for run in runs:
        error = run.exception()
        refused += error is not None
        assert error is None or (isinstance(error, RuntimeError) and "in the middle of a step" in str(error))
    assert s.optimizer.param_groups[0].clock.steps == 83 * (60 - refused)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_network_that_diverges_ends_fit_many(threads: int) -> None:
    before = fastopt.get_num_threads()
    fastopt.set_num_threads(threads)
    models = [net(optimizer="sgd", lr=lr, epochs=10**7) for lr in (0.01, 1e30, 0.01)]
    try:
        with pytest.raises(ValueError, match="non-finite"):
            fit_many(models, [X] * 3, [Y] * 3)
    finally:
        fastopt.set_num_threads(before)
    assert not any(hasattr(m, "coefs_") for m in models)


# -- bad buffers ------------------------------------------------------------------------------------------------------


def parts(**change: Any) -> dict[str, Any]:
    """The arguments of an epoch. x, y and the positions may be bad."""
    s = stack(net())
    one = s.net.batch(0, 1, 20).fused
    whole = {
        "one": one,
        "step": s.optimizer._array_step,
        "gradients": s.gradients,
        "x": X,
        "y": Y,
        "weights": None,
    }
    return {**whole, "stack": s, **change}


def made(p: dict[str, Any]) -> network_kernels.NetworkEpoch:
    return network_kernels.NetworkEpoch(p["one"], p["step"], p["gradients"], p["x"], p["y"], p["weights"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": X[:, :5].copy()}, "x must be float32 of shape"), ({"x": X.astype(np.float64)}, "got float64"),
        ({"x": X[::-1]}, "x must be 498 contiguous"), ({"x": X[:0], "y": Y[:0]}, "x must be float32"),
        ({"y": Y[:82]}, "y must be int64"), ({"y": Y.astype(np.float32)}, "y must be float32"),
        ({"y": Y.astype(np.int32)}, "got int32"), ({"weights": np.ones(82, np.float32)}, "weights must be float32"),
        ({"weights": np.ones(83)}, "got float64"), ({"gradients": []}, "expected 4 gradients"),
    ],
)  # fmt: skip
def test_an_epoch_refuses_wrong_shapes_and_types(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        made(parts(**change))


ORDER = np.arange(83)


@pytest.mark.parametrize(
    ("order", "start", "stop", "totals", "error", "words"),
    [
        (np.full(83, 83), 0, 83, np.zeros(1), IndexError, "position 83 is not within the 83"),
        (-ORDER, 0, 83, np.zeros(1), IndexError, "position -1"),
        (ORDER, 0, 84, np.zeros(1), ValueError, "samples 0 to 84"),
        (ORDER, 7, 3, np.zeros(1), ValueError, "samples 7 to 3"),
        (ORDER.astype(np.int32), 0, 83, np.zeros(1), ValueError, "order must be 83"),
        (ORDER[::-1], 0, 83, np.zeros(1), ValueError, "order must be 83"),
        (ORDER, 0, 83, np.zeros(2), ValueError, "totals must be 1"),
        (ORDER, 0, 83, np.zeros(1, np.float32), ValueError, "totals must be 1"),
    ],
)
def test_an_epoch_refuses_positions_out_of_range(
    order: Any, start: int, stop: int, totals: Any, error: type[Exception], words: str
) -> None:
    p = parts()
    before = [a.copy() for a in p["stack"].net.params]
    with pytest.raises(error, match=words):
        made(p).run(order, start, stop, totals)
    assert all(np.array_equal(a, b) for a, b in zip(before, p["stack"].net.params, strict=True))
    with pytest.raises(RuntimeError, match="since these steps' scalars were formed"):
        made(p).run(ORDER, 0, 83, np.zeros(1))
    assert all(np.array_equal(a, b) for a, b in zip(before, p["stack"].net.params, strict=True))
    made(p).run(ORDER, 0, 83, np.zeros(1), p["stack"].optimizer._scalars_ahead(5))


def moved(p: dict[str, Any]) -> None:
    p["stack"].net.matrices[0].resize((1, 3, 3), refcheck=False)


def gone(p: dict[str, Any]) -> None:
    p["y"][40] = 3


def strided(p: dict[str, Any]) -> None:
    p["gradients"][0] = np.asfortranarray(p["gradients"][0])


def small(p: dict[str, Any]) -> None:
    p["gradients"][1] = p["gradients"][1][:, :1]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [(moved, "moved or resized"), (gone, "target 40 is 3"), (strided, "memory order"), (small, "gradient 1 has shape")],
)
def test_an_epoch_checks_again_what_can_change(break_it: Callable[[Any], None], words: str) -> None:
    p = parts(y=Y.copy())
    if break_it in (strided, small):
        break_it(p)
    epoch = made(p)
    if break_it not in (strided, small):
        break_it(p)
    for _ in range(2):  # the second attempt must repeat the checks of the first
        with pytest.raises(ValueError, match=words):
            epoch.run(ORDER, 0, 83, np.zeros(1))


def trained(changed: str) -> list[Any]:
    """The parameters after an epoch, during which another thread sets the order or the labels to 0."""
    arrays = {"y": np.repeat([0, 1], 10_000), "order": np.arange(20_000), "nothing": np.ones(1)}
    p = parts(x=np.random.default_rng(0).random((20_000, X.shape[1]), np.float32), y=arrays["y"])
    epoch, ahead, total = made(p), p["stack"].optimizer._scalars_ahead(1000), np.zeros(1)
    while_it_runs(lambda: epoch.run(arrays["order"], 0, 20_000, total, ahead), lambda: arrays[changed].fill(0))
    return [a.copy() for a in p["stack"].net.params]


@pytest.mark.parametrize("changed", ["order", "y"])
def test_an_epoch_uses_the_positions_and_labels_that_were_checked(changed: str) -> None:
    assert all(np.array_equal(a, b) for a, b in zip(trained(changed), trained("nothing"), strict=True))


def test_an_epoch_refuses_several_models_and_the_lookahead_point() -> None:
    jobs = [net(random_state=k)._make_task(X, Y, None) for k in range(2)]
    both = BatchedTrainer(jobs).net.batch(0, 2, 20).fused
    with pytest.raises(ValueError, match="the pass has 2"):
        made(parts(one=both))
    s = stack(net(optimizer="nag"))
    with s.optimizer.lookahead(), pytest.raises(RuntimeError, match="lookahead point already"):
        s.epoch()


# -- the score --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [Y, Y.astype(np.int8), Y > 0, Y.astype(str), Y.astype(float)], ids=lambda y: y.dtype)
def test_the_score_is_scikit_learns_accuracy(labels: Any) -> None:
    model = net(epochs=3).fit(X, labels)
    for y in (labels, list(labels), labels[::-1]):
        assert model.score(X, y) == accuracy_score(y, model.predict(X))
        weighted = accuracy_score(y, model.predict(X), sample_weight=WEIGHTS)
        assert model.score(X, y, WEIGHTS) == weighted != model.score(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(X, labels[1:])


# -- the loss with few classes: several rows at once ------------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 2, 7, 8, 9, 15, 16])  # around half a sum's lanes
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 40])  # around the number of rows computed at once
@pytest.mark.parametrize("isa", runtime.available_isas())
def test_few_classes_have_the_same_bits_as_many(classes: int, rows: int, isa: str) -> None:
    rng, former = np.random.default_rng(classes), runtime.isa()
    logits = (5 * rng.normal(size=(rows, classes))).astype(np.float32)
    logits[0, 0], logits[-1, -1] = 200.0, -np.inf
    wide = np.full((rows, 33), -np.inf, np.float32)  # classes of probability 0, which add zeros
    wide[:, :classes] = logits
    y = rng.integers(classes, size=rows)
    runtime.set_isa(isa)
    try:
        results = []
        for z in (logits, wide):
            g, losses = np.empty_like(z), np.empty(rows, np.float32)
            network_kernels.entropy_rows(z, y, g, losses, 0.0, 0.3)
            results.append((g[:, :classes], losses))
        assert np.array_equal(*(g for g, _ in results), equal_nan=True)
        assert np.array_equal(*(losses for _, losses in results), equal_nan=True)
        assert np.isfinite(results[0][0][1:-1]).all()
    finally:
        runtime.set_isa(former)
