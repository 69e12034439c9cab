"""Compares each convention with its library: torch, Keras, optax, scikit-learn.

First the reference, with the hyper-parameters that fastopt chooses, must agree with the library in float64. This
tests the reference and conventions.py. Then fastopt is compared with the library in float32. Tests of missing
libraries are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pytest

import fastopt
from tests.support import reference
from tests.support.rows import Array, assert_within, numbers

os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras' NumPy backend rounds everything to float32

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # in the other libraries

STEPS = 40
SHAPES = [(7, 5), (11,), (1,)]


class Torch:
    """torch.optim: a class name and its arguments."""

    reason = "torch 2.13 is the peer of convention='torch'"

    def __init__(self, ws: Sequence[Array], name: str, **kw: Any) -> None:
        self.torch = pytest.importorskip("torch", reason=self.reason)
        self.params = [self.torch.nn.Parameter(self.torch.tensor(w)) for w in ws]
        self.opt = getattr(self.torch.optim, name)(self.params, **kw)

    def step(self, gs: Sequence[Array]) -> None:
        for p, g in zip(self.params, gs, strict=True):
            p.grad = self.torch.tensor(g)
        self.opt.step()

    def results(self) -> list[Array]:
        return [p.detach().numpy() for p in self.params]

    def state(self, name: str, i: int) -> Array | None:
        state = self.opt.state[self.params[i]].get(name)  # fastopt uses torch's names
        return None if state is None else state.numpy()


class Keras:
    """keras.optimizers."""

    reason = "Keras 3 is the peer of convention='keras'"
    #: class, our state -> its attribute
    STATES: ClassVar = {
        ("SGD", "momentum_buffer"): "momentums",
        ("Adagrad", "sum"): "_accumulators",
        ("Adadelta", "square_avg"): "_accumulated_grads",
        ("Adadelta", "acc_delta"): "_accumulated_delta_vars",
        ("RMSprop", "square_avg"): "_velocities",
        ("RMSprop", "grad_avg"): "_average_gradients",
        ("RMSprop", "momentum_buffer"): "_momentums",
        ("Adam", "exp_avg"): "_momentums",
        ("Adam", "exp_avg_sq"): "_velocities",
        ("Adam", "max_exp_avg_sq"): "_velocity_hats",
    }

    def __init__(self, ws: Sequence[Array], name: str, **kw: Any) -> None:
        self.keras = pytest.importorskip("keras", reason=self.reason)
        assert self.keras.backend.backend() in ("torch", "jax"), "Keras' numpy backend rounds to float32"
        self.name, self.floatx = name, str(ws[0].dtype)
        with self.in_floatx():
            self.opt = getattr(self.keras.optimizers, name)(**kw)
            self.variables = [self.keras.Variable(w, dtype=self.floatx) for w in ws]

    @contextmanager
    def in_floatx(self) -> Iterator[None]:
        before = self.keras.config.floatx()
        self.keras.config.set_floatx(self.floatx)
        try:
            yield
        finally:
            self.keras.config.set_floatx(before)

    def step(self, gs: Sequence[Array]) -> None:
        with self.in_floatx():
            tensors = [self.keras.ops.convert_to_tensor(g, dtype=self.floatx) for g in gs]
            self.opt.apply(tensors, self.variables)

    def results(self) -> list[Array]:
        return [self.keras.ops.convert_to_numpy(v.value) for v in self.variables]

    def state(self, name: str, i: int) -> Array | None:
        attribute = self.STATES["Adam" if self.name == "AdamW" else self.name, name]
        return self.keras.ops.convert_to_numpy(getattr(self.opt, attribute)[i].value)  # type: ignore[no-any-return]


class Optax:
    """optax: a function name and its arguments."""

    reason = "optax is the peer of convention='optax'"
    #: our state -> the field of one of the states in its chain
    STATES: ClassVar = {
        "momentum_buffer": ("trace",),
        "sum": ("sum_of_squares",),
        "square_avg": ("nu", "e_g"),
        "acc_delta": ("e_x",),
        "grad_avg": ("mu",),
        "exp_avg": ("mu",),
        "exp_avg_sq": ("nu",),
        "max_exp_avg_sq": ("nu_max",),
    }

    def __init__(self, ws: Sequence[Array], name: str, **kw: Any) -> None:
        self.jax = pytest.importorskip("jax", reason=self.reason)
        self.optax = pytest.importorskip("optax", reason=self.reason)
        self.name = name
        with self.jax.enable_x64(True):
            self.tx = getattr(self.optax, name)(**kw)
            self.params = [self.jax.numpy.asarray(w) for w in ws]
            self.states = self.tx.init(self.params)

    def step(self, gs: Sequence[Array]) -> None:
        with self.jax.enable_x64(True):
            tensors = [self.jax.numpy.asarray(g) for g in gs]
            updates, self.states = self.tx.update(tensors, self.states, self.params)
            self.params = self.optax.apply_updates(self.params, updates)

    def results(self) -> list[Array]:
        return [np.asarray(p) for p in self.params]

    def state(self, name: str, i: int) -> Array | None:
        sign = -1.0 if self.name == "rmsprop" and name == "momentum_buffer" else 1.0  # optax stores −η d
        for part in self.states:
            for field in self.STATES[name]:
                if hasattr(part, field):
                    return sign * np.asarray(getattr(part, field)[i])
        raise AssertionError(f"optax.{self.name} keeps no {name}")


class Sklearn:
    """sklearn.neural_network._stochastic_optimizers."""

    reason = "scikit-learn is the peer of convention='sklearn'"
    STATES: ClassVar = {"momentum_buffer": "velocities", "exp_avg": "ms", "exp_avg_sq": "vs"}

    def __init__(self, ws: Sequence[Array], name: str, **kw: Any) -> None:
        module = pytest.importorskip("sklearn.neural_network._stochastic_optimizers", reason=self.reason)
        self.params = [w.copy() for w in ws]
        self.opt = getattr(module, name)(self.params, **kw)

    def step(self, gs: Sequence[Array]) -> None:
        self.opt.update_params(self.params, list(gs))

    def results(self) -> list[Array]:
        return self.params

    def state(self, name: str, i: int) -> Array | None:
        if name == "momentum_buffer" and self.opt.nesterov:
            return None  # scikit-learn overwrites the list with β v − η g and keeps v only in between
        return getattr(self.opt, self.STATES[name])[i]  # type: ignore[no-any-return]


# Allowed relative errors of (the value, the displacement) in float32. torch forms its scalars in double, as fastopt
# does; the other libraries form bias corrections in float32, which causes errors up to 7e-6.
TOLERANCE = {Torch: (1e-6, 2e-6), Keras: (2e-5, 2e-5), Optax: (2e-5, 2e-5), Sklearn: (1e-6, 2e-6)}
CONVENTION = {Torch: "torch", Keras: "keras", Optax: "optax", Sklearn: "sklearn"}

WD, LR = {"weight_decay": 0.1}, {"lr": 0.003}

#: library, fastopt's class and arguments, the library's class and arguments; defaults if the library has them
CASES: list[tuple[Any, str, dict[str, Any], str, dict[str, Any]]] = [
    (Torch, "SGD", {}, "SGD", {}),
    (Torch, "SGD", LR | WD | {"maximize": True}, "SGD", LR | WD | {"maximize": True}),
    (Torch, "Momentum", {}, "SGD", {"momentum": 0.9}),
    (
        Torch,
        "Momentum",
        LR | WD | {"momentum": 0.7, "dampening": 0.3},
        "SGD",
        LR | WD | {"momentum": 0.7, "dampening": 0.3},
    ),
    (Torch, "Momentum", {"maximize": True}, "SGD", {"momentum": 0.9, "maximize": True}),
    (Torch, "NAG", {}, "SGD", {"momentum": 0.9, "nesterov": True}),
    (Torch, "NAG", LR | WD | {"momentum": 0.5}, "SGD", LR | WD | {"momentum": 0.5, "nesterov": True}),
    (Torch, "Adagrad", {}, "Adagrad", {}),
    *[
        (Torch, "Adagrad", kw, "Adagrad", kw)
        for kw in (
            LR | WD | {"lr_decay": 0.1, "initial_accumulator_value": 0.2},
            {"eps": 1e-3, "maximize": True},
        )
    ],
    *[(Torch, "Adadelta", kw, "Adadelta", kw) for kw in ({}, LR | WD | {"rho": 0.7, "eps": 1e-3}, {"maximize": True})],
    *[
        (Torch, "RMSprop", kw, "RMSprop", kw)
        for kw in (
            {},
            LR | WD | {"alpha": 0.8, "eps": 1e-3},
            {"centered": True},
            {"momentum": 0.8},
            LR | WD | {"momentum": 0.8, "centered": True, "maximize": True},
        )
    ],
    *[
        (Torch, "Adam", kw, "Adam", kw)
        for kw in (
            {},
            LR | WD | {"betas": (0.8, 0.95), "eps": 1e-3},
            {"amsgrad": True},
            {"maximize": True},
            LR | WD | {"amsgrad": True, "betas": (0.5, 0.6)},
        )
    ],
    *[(Torch, "AdamW", kw, "AdamW", kw) for kw in ({}, LR | WD, {"amsgrad": True, "maximize": True})],
    (Keras, "SGD", {}, "SGD", {}),
    (Keras, "SGD", LR | WD, "SGD", {"learning_rate": 0.003} | WD),
    (Keras, "Momentum", {}, "SGD", {"momentum": 0.9}),
    (Keras, "Momentum", LR | WD | {"momentum": 0.5}, "SGD", {"learning_rate": 0.003, "momentum": 0.5} | WD),
    (Keras, "NAG", {}, "SGD", {"momentum": 0.9, "nesterov": True}),
    (Keras, "NAG", LR | WD, "SGD", {"learning_rate": 0.003, "momentum": 0.9, "nesterov": True} | WD),
    (Keras, "Adagrad", {}, "Adagrad", {}),
    (
        Keras,
        "Adagrad",
        LR | WD | {"eps": 1e-3, "initial_accumulator_value": 0.5},
        "Adagrad",
        {"learning_rate": 0.003, "epsilon": 1e-3, "initial_accumulator_value": 0.5} | WD,
    ),
    (Keras, "Adadelta", {}, "Adadelta", {}),
    (
        Keras,
        "Adadelta",
        LR | WD | {"rho": 0.7, "eps": 1e-3},
        "Adadelta",
        {"learning_rate": 0.003, "rho": 0.7, "epsilon": 1e-3} | WD,
    ),
    (Keras, "RMSprop", {}, "RMSprop", {}),
    (Keras, "RMSprop", {"centered": True}, "RMSprop", {"centered": True}),
    (Keras, "RMSprop", {"momentum": 0.8}, "RMSprop", {"momentum": 0.8}),
    (
        Keras,
        "RMSprop",
        LR | WD | {"alpha": 0.7, "eps": 1e-3, "momentum": 0.8, "centered": True},
        "RMSprop",
        {"learning_rate": 0.003, "rho": 0.7, "epsilon": 1e-3, "momentum": 0.8, "centered": True} | WD,
    ),
    (Keras, "Adam", {}, "Adam", {}),
    (
        Keras,
        "Adam",
        LR | WD | {"betas": (0.8, 0.95), "eps": 1e-3},
        "Adam",
        {"learning_rate": 0.003, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3} | WD,
    ),
    (Keras, "Adam", {"amsgrad": True}, "Adam", {"amsgrad": True}),
    (Keras, "AdamW", {}, "AdamW", {}),
    (Optax, "SGD", LR, "sgd", {"learning_rate": 0.003}),
    (Optax, "Momentum", LR, "sgd", {"learning_rate": 0.003, "momentum": 0.9}),
    (Optax, "NAG", LR, "sgd", {"learning_rate": 0.003, "momentum": 0.9, "nesterov": True}),
    (Optax, "Adagrad", LR, "adagrad", {"learning_rate": 0.003}),
    (
        Optax,
        "Adagrad",
        LR | {"eps": 1e-3, "initial_accumulator_value": 0.5},
        "adagrad",
        {"learning_rate": 0.003, "eps": 1e-3, "initial_accumulator_value": 0.5},
    ),
    (Optax, "Adadelta", {}, "adadelta", {"learning_rate": 1.0}),
    (
        Optax,
        "Adadelta",
        LR | WD | {"rho": 0.7, "eps": 1e-3},
        "adadelta",
        {"learning_rate": 0.003, "rho": 0.7, "eps": 1e-3} | WD,
    ),
    (Optax, "RMSprop", LR, "rmsprop", {"learning_rate": 0.003}),
    *[
        (Optax, "RMSprop", LR | kw, "rmsprop", {"learning_rate": 0.003} | kw)
        for kw in (
            {"centered": True},
            {"momentum": 0.8},
            {"momentum": 0.8, "nesterov": True},
            {"momentum": 0.8, "centered": True, "nesterov": True, "eps": 1e-3},
            {"eps_in_sqrt": False},
        )
    ],
    (Optax, "Adam", LR, "adam", {"learning_rate": 0.003}),
    (
        Optax,
        "Adam",
        LR | {"betas": (0.8, 0.95), "eps": 1e-3, "eps_root": 1e-4},
        "adam",
        {"learning_rate": 0.003, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-4},
    ),
    (Optax, "Adam", LR | {"amsgrad": True}, "amsgrad", {"learning_rate": 0.003}),
    (Optax, "AdamW", LR, "adamw", {"learning_rate": 0.003}),
    (Optax, "AdamW", LR | WD, "adamw", {"learning_rate": 0.003} | WD),
    (Sklearn, "SGD", LR, "SGDOptimizer", {"learning_rate_init": 0.003, "momentum": 0.0, "nesterov": False}),
    (Sklearn, "Momentum", LR, "SGDOptimizer", {"learning_rate_init": 0.003, "nesterov": False}),
    (Sklearn, "NAG", LR, "SGDOptimizer", {"learning_rate_init": 0.003}),
    (Sklearn, "NAG", LR | {"momentum": 0.5}, "SGDOptimizer", {"learning_rate_init": 0.003, "momentum": 0.5}),
    (Sklearn, "Adam", {}, "AdamOptimizer", {}),
    (
        Sklearn,
        "Adam",
        LR | {"betas": (0.8, 0.95), "eps": 1e-3},
        "AdamOptimizer",
        {"learning_rate_init": 0.003, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3},
    ),
]


def ident(case: tuple[Any, str, dict[str, Any], str, dict[str, Any]]) -> str:
    peer, ours, kw, _, _ = case
    return "-".join([peer.__name__, ours, *(f"{k}={v}" for k, v in kw.items())])


cases = pytest.mark.parametrize("case", CASES, ids=ident)


def problem(dtype: str) -> tuple[list[Array], list[list[Array]]]:
    """Parameters about as large as a few steps, and gradients of very different sizes, some of them 0."""
    rng = np.random.default_rng(0)
    ws = [0.05 * rng.normal(size=s).astype(np.float32) for s in SHAPES]
    gs = [[numbers(rng, w.size, -3.0, 1.0).reshape(w.shape) for w in ws] for _ in range(STEPS)]
    return [w.astype(dtype) for w in ws], [[g.astype(dtype) for g in step] for step in gs]


def way(start: Sequence[Array], path: Sequence[Sequence[Array]], i: int) -> Array:
    """The sum of the absolute changes of tensor i over all steps."""
    return np.sum(np.abs(np.diff([start[i].astype(float), *(np.array(p[i], float) for p in path)], axis=0)), axis=0)


def compare(got: Array, expected: Array, way: Array, tolerance: tuple[float, float], label: str) -> None:
    of_value, of_way = tolerance
    allowed = of_value * np.abs(expected) + of_way * way + 1e-30
    assert_within(got.ravel(), expected.ravel(), (np.abs(got - expected) / allowed).ravel(), 1.0, label)


@cases
def test_the_reference_agrees_with_the_peer_in_float64(
    case: tuple[Any, str, dict[str, Any], str, dict[str, Any]],
) -> None:
    Peer, name, values, its_name, its_values = case
    ws, gs = problem("float64")
    peer = Peer(ws, its_name, **its_values)
    opt = getattr(fastopt, name)([w.astype(np.float32) for w in ws], convention=CONVENTION[Peer], **values)
    h = dict(opt.param_groups[0])
    rule = opt.rule_of(h)
    states: Any = [tuple(np.full(w.shape, opt.initial(h).get(state, 0.0)) for state in opt.rules[rule]) for w in ws]
    here, path = list(ws), []
    for t, g in enumerate(gs, 1):
        here, states, _ = reference.step(rule, here, g, states, t, h)
        path.append(here)
        peer.step(g)
    for i, theirs in enumerate(peer.results()):
        assert theirs.dtype == np.float64
        length = way(ws, path, i)
        compare(here[i], theirs, length, (1e-12, 1e-12), f"{ident(case)}, tensor {i}")
        for state_name, mine in zip(opt.rules[rule], states[i], strict=True):
            if (state := peer.state(state_name, i)) is not None:
                compare(mine, state, np.max(np.abs(state)), (1e-12, 1e-12), f"{ident(case)}, {state_name} {i}")


@cases
def test_fastopt_agrees_with_the_peer_in_float32(case: tuple[Any, str, dict[str, Any], str, dict[str, Any]]) -> None:
    Peer, name, values, its_name, its_values = case
    ws, gs = problem("float32")
    peer = Peer(ws, its_name, **its_values)
    mine = [w.copy() for w in ws]
    opt = getattr(fastopt, name)(mine, convention=CONVENTION[Peer], **values)
    path = []
    for g in gs:
        opt.step(g)
        path.append([w.copy() for w in mine])
        peer.step(g)
    for i, theirs in enumerate(peer.results()):
        assert theirs.dtype == np.float32
        compare(mine[i], theirs, way(ws, path, i), TOLERANCE[Peer], f"{ident(case)}, tensor {i}")
        for state_name, state in opt.state[i].items():
            if state_name != "step" and (its := peer.state(state_name, i)) is not None:
                label = f"{ident(case)}, {state_name} {i}"
                compare(state, its, np.max(np.abs(its)), TOLERANCE[Peer], label)


def test_every_convention_of_every_class_has_a_case() -> None:
    have = {(name, CONVENTION[Peer]) for Peer, name, *_ in CASES}
    classes = [*fastopt.Optimizer.registry.values(), fastopt.AdamW]
    want = {(c.__name__, convention) for c in classes for convention in c.conventions} - {
        (c.__name__, "textbook") for c in classes
    }
    assert want - have <= {
        ("AdamW", "sklearn")
    }  # scikit-learn has no AdamW: fastopt takes Adam's values and torch's weight decay


@pytest.mark.parametrize("name", ["constant", "cosine", "exponential"])
def test_an_optax_schedule_fits_as_lr(name: str) -> None:
    optax = pytest.importorskip("optax", reason=Optax.reason)
    schedule = {
        "constant": lambda: optax.constant_schedule(0.01),
        "cosine": lambda: optax.cosine_decay_schedule(0.01, STEPS),
        "exponential": lambda: optax.exponential_decay(0.01, 5, 0.7, staircase=True),
    }[name]()
    ws, gs = problem("float32")
    peer = Optax(ws, "sgd", learning_rate=schedule, momentum=0.9)
    mine = [w.copy() for w in ws]
    opt = fastopt.Momentum(mine, lr=schedule, convention="optax")
    path = []
    for g in gs:
        opt.step(g)
        path.append([w.copy() for w in mine])
        peer.step(g)
    for i, theirs in enumerate(peer.results()):
        compare(mine[i], theirs, way(ws, path, i), TOLERANCE[Optax], f"{name} schedule, tensor {i}")


def clip_by_torch(gs: list[Array], max_norm: float) -> tuple[list[Array], float]:
    torch = pytest.importorskip("torch", reason=Torch.reason)
    params = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in gs]
    for p, g in zip(params, gs, strict=True):
        p.grad = torch.tensor(g, dtype=torch.float64)
    norm = torch.nn.utils.clip_grad_norm_(params, max_norm)
    return [p.grad.numpy() for p in params], float(norm)


def clip_by_optax(gs: list[Array], max_norm: float) -> tuple[list[Array], float]:
    jax = pytest.importorskip("jax", reason=Optax.reason)
    optax = pytest.importorskip("optax", reason=Optax.reason)
    with jax.enable_x64(True):
        tensors = [jax.numpy.asarray(g, jax.numpy.float64) for g in gs]
        clipped, _ = optax.clip_by_global_norm(max_norm).update(tensors, None)
        return [np.asarray(g) for g in clipped], float(np.linalg.norm(np.concatenate([np.ravel(g) for g in tensors])))


@pytest.mark.parametrize("clip", [clip_by_torch, clip_by_optax])
@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_max_norm_clips_as_the_peers_do(clip: Callable[..., tuple[list[Array], float]], factor: float) -> None:
    ws, (gs, *_) = problem("float32")
    max_norm = factor * reference.global_norm(gs)
    clipped, norm = clip(gs, max_norm)
    mine = [np.zeros_like(w) for w in ws]
    got = fastopt.SGD(mine, lr=1.0).step(gs, max_norm=max_norm)
    assert got == pytest.approx(norm, rel=1e-12)
    for w, g in zip(mine, clipped, strict=True):
        np.testing.assert_allclose(-w, g, rtol=2e-6 if factor < 1 else 1e-7)  # torch adds 1e-6 to the norm
