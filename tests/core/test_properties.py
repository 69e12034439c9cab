"""Properties that hold for any model, hyper-parameters and gradients, drawn by hypothesis: the same bits for any split
of a step, agreement with the reference, continuation of a saved state, symmetries that are exact in binary."""

from __future__ import annotations

import copy
import pickle
import tempfile
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import fastopt
from tests.support.rows import (
    ISAS,
    ROWS,
    TILE,
    Array,
    Row,
    Tensor,
    assert_right,
    assert_same_bits,
    assert_within,
    core,
    expected_step,
    in_training,
    numbers,
    relative,
)

settings.register_profile("fastopt", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastopt")

SPECIAL = np.array([0.0, -0.0, 1e-45, -1e-40, 1e-38, 3e38, -3e38, np.inf, -np.inf, np.nan], np.float32)


def zero_or(low: float, high: float) -> st.SearchStrategy[float]:
    """0, or a number far above float32's subnormal range, in which a scalar would lose digits."""
    return st.just(0.0) | st.floats(low, high)


#: Strategies by name of the hyper-parameter. One that is not listed keeps its default or is set to 0.25.
RANGES: dict[str, st.SearchStrategy[Any]] = {
    "lr": zero_or(1e-6, 1.0),
    "momentum": zero_or(1e-3, 0.999),
    "dampening": zero_or(1e-3, 1.0),
    "betas": st.tuples(zero_or(1e-3, 0.999), zero_or(1e-3, 0.9999)),
    "alpha": zero_or(1e-3, 0.999),
    "rho": zero_or(1e-3, 0.999),
    "eps": st.floats(1e-16, 1e-2),
    "eps_root": zero_or(1e-16, 1e-2),
    "lr_decay": zero_or(1e-6, 1.0),
    "initial_accumulator_value": zero_or(1e-6, 1.0),
    "weight_decay": zero_or(1e-6, 0.5),
    "l1": zero_or(1e-6, 0.5),
    "clip_value": st.none() | st.floats(1e-3, 10.0),
}

any_row = st.sampled_from(list(ROWS.values()))
seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(
    st.one_of(
        st.lists(st.integers(0, 6), max_size=3).map(tuple),
        st.tuples(st.integers(1, 70)),
        st.tuples(st.integers(TILE - 2, TILE + 2)),
    ),
    min_size=1,
    max_size=8,
)
cores = st.fixed_dictionaries(
    {"isa": st.sampled_from(ISAS), "threads": st.integers(1, 8), "threshold": st.sampled_from([0, None])}
)


@st.composite
def hyper_parameters(draw: st.DrawFn, row: Row) -> dict[str, Any]:
    """Arguments with which the row's class still chooses the row."""
    values = {}
    for name, default in row.hyper().items():
        if isinstance(default, bool):
            value = draw(st.booleans())
        else:
            value = draw(RANGES.get(name, st.sampled_from([default, 0.25])))
        if name not in row.chosen and row.keeps({**values, name: value}):
            values[name] = value
    return values


@st.composite
def rows_with_values(draw: st.DrawFn) -> tuple[Row, dict[str, Any]]:
    row = draw(any_row)
    return row, draw(hyper_parameters(row))


def tensors(seed: int, sizes: list[tuple[int, ...]], special: bool = False) -> list[Array]:
    """Random numbers of many magnitudes; with `special`, one in 20 is at the limits of float32."""
    rng = np.random.default_rng(seed)
    arrays = []
    for shape in sizes:
        n = int(np.prod(shape))
        x = numbers(rng, n, -6.0, 2.0)
        if special:
            x = np.where(rng.random(n) < 0.05, rng.choice(SPECIAL, n), x)
        arrays.append(x.reshape(shape))
    return arrays


def copies(arrays: list[Array]) -> list[Array]:
    return [a.copy() for a in arrays]


def step(opt: Any, grads: list[Array], **options: Any) -> float | None:
    return opt.step(lambda: grads, **options)  # type: ignore[no-any-return]


def buffers(opt: Any) -> list[Array]:
    params = [p for group in opt.param_groups for p in group["params"]]
    return [*params, *(v for state in opt.state for name, v in state.items() if name != "step")]


def assert_same_optimizers(a: Any, b: Any, label: str) -> None:
    for i, (x, y) in enumerate(zip(buffers(a), buffers(b), strict=True)):
        assert_same_bits(x, y, f"{label}, buffer {i} of shape {x.shape}")


@settings(max_examples=400)
@given(rows_with_values(), shapes, seeds, cores, st.booleans())
def test_a_step_of_many_is_many_steps_of_one(
    drawn: tuple[Row, dict[str, Any]], sizes: list[tuple[int, ...]], seed: int, setting: dict[str, Any], special: bool
) -> None:
    row, values = drawn
    ws = tensors(seed, sizes)
    gs = [tensors(seed + t, sizes, special) for t in (1, 2)]
    together = row.make(copies(ws), **values)
    with core(**setting):
        for g in gs:
            step(together, g)
    with core(isa=ISAS[0], threads=1):
        for i, w in enumerate(ws):
            alone = row.make([w], **values)
            for g in gs:
                step(alone, [g[i]])
            label = f"{row.rule}, {values}, {setting}, tensor {i} of shape {w.shape}"
            assert_same_bits(together.param_groups[0]["params"][i], w, label)
            for name, state in alone.state[0].items():
                if name != "step":
                    assert_same_bits(together.state[i][name], state, f"{label}, {name}")


@settings(max_examples=150)
@given(st.data(), any_row, seeds, cores, st.floats(0.01, 2.0), st.sampled_from([1.0, 0.5, -3.0]), st.booleans())
def test_groups_clipped_together_are_one_group_with_the_same_values(
    data: st.DataObject,
    row: Row,
    seed: int,
    setting: dict[str, Any],
    limit: float,
    grad_scale: float,
    zero_grads: bool,
) -> None:
    values, sizes = data.draw(hyper_parameters(row)), data.draw(shapes)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sizes)), max_size=3)))
    ws, gs = tensors(seed, sizes), tensors(seed + 1, sizes)
    limit *= float(np.sqrt(sum(np.sum(g.astype(float) ** 2) for g in gs)))
    one = row.make(copies(ws), **values)
    with core(isa=ISAS[0], threads=1):
        norm = step(one, copies(gs), max_norm=limit, grad_scale=grad_scale)
    pieces = [ws[i:j] for i, j in zip([0, *cuts], [*cuts, len(ws)], strict=True)]
    many = row.make([{"params": copies(piece)} for piece in pieces], **values)
    with core(**setting):
        assert step(many, gs, max_norm=limit, grad_scale=grad_scale, zero_grads=zero_grads) == norm
    label = f"{row.rule}, {values}, {setting}, groups cut at {cuts}"
    for i, (a, b) in enumerate(
        zip([p for g in many.param_groups for p in g["params"]], one.param_groups[0]["params"], strict=True)
    ):
        assert_same_bits(a, b, f"{label}, tensor {i}")
    assert all(not g.any() for g in gs) or not zero_grads


@settings(max_examples=400)
@given(rows_with_values(), st.integers(1, 50), st.integers(1, 6), seeds)
def test_agrees_with_the_reference(drawn: tuple[Row, dict[str, Any]], n: int, t: int, seed: int) -> None:
    row, values = drawn
    x = in_training(row, values, np.random.default_rng(seed), n, t)
    expected = expected_step(row, row.hyper(**values), x, t)
    assume(np.abs(x.w).max() < 1e20)  # with a variance of 0 and a small ε the size of a step is unbounded
    y = x.copy()
    row.update(values, [y], t)
    assert_right(row, y, expected, f"{values}, n={n}, t={t}")


@settings(max_examples=150)
@given(rows_with_values(), shapes, seeds, st.integers(0, 3), st.sampled_from(["dict", "pickle", "deepcopy", "file"]))
def test_continuing_from_a_saved_state_changes_no_bit(
    drawn: tuple[Row, dict[str, Any]], sizes: list[tuple[int, ...]], seed: int, taken: int, how: str
) -> None:
    row, values = drawn
    opt = row.make(tensors(seed, sizes), **values)
    for t in range(taken):
        step(opt, tensors(seed + 1 + t, sizes))
    params = copies(list(opt.param_groups[0]["params"]))
    if how == "pickle":
        other = pickle.loads(pickle.dumps(opt))
    elif how == "deepcopy":
        other = copy.deepcopy(opt)
    else:
        other = row.make(params)  # with defaults: load_state_dict sets the values
        if how == "dict":
            other.load_state_dict(opt.state_dict())
        else:
            with tempfile.TemporaryDirectory() as folder:
                opt.save(f"{folder}/state.npz")
                other.load(f"{folder}/state.npz")
    label = f"{row.rule}, {values}, by {how} after {taken} steps"
    assert_same_optimizers(other, opt, label)
    for t in range(2):
        for o in (opt, other):
            step(o, tensors(seed + 10 + t, sizes), max_norm=1.0)
        assert_same_optimizers(other, opt, f"{label}, then {t + 1}")


@settings(max_examples=200)
@given(rows_with_values(), shapes, seeds)
def test_maximizing_is_minimizing_with_the_gradient_negated(
    drawn: tuple[Row, dict[str, Any]], sizes: list[tuple[int, ...]], seed: int
) -> None:
    row, values = drawn
    up = row.make(tensors(seed, sizes), **{**values, "maximize": True})
    down = row.make(tensors(seed, sizes), **{**values, "maximize": False})
    for t in (1, 2):
        gs = tensors(seed + t, sizes)
        step(up, gs)
        step(down, [np.negative(g, out=np.empty_like(g)) for g in gs])
    assert_same_optimizers(up, down, f"{row.rule}, {values}")


@settings(max_examples=200)
@given(rows_with_values(), st.integers(1, 3 * TILE), seeds, cores)
def test_elements_are_independent(
    drawn: tuple[Row, dict[str, Any]], n: int, seed: int, setting: dict[str, Any]
) -> None:
    """Shuffled elements give the shuffled result: no result depends on the place in a vector, tile or thread."""
    row, values = drawn
    x = in_training(row, values, np.random.default_rng(seed), n, 2)
    order = np.random.default_rng(seed + 1).permutation(n)
    y = x.map(lambda a: a[order])
    with core(**setting):
        row.update(values, [x], 2)
        row.update(values, [y], 2)
    for name, a, b in zip(row.names(), y.buffers(), x.buffers(), strict=True):
        assert_same_bits(a, b[order], f"{row.rule}, {values}, {setting}, n={n}, {name}")


@settings(max_examples=150)
@given(rows_with_values(), shapes, seeds)
def test_no_learning_rate_no_gradient_no_change(
    drawn: tuple[Row, dict[str, Any]], sizes: list[tuple[int, ...]], seed: int
) -> None:
    row, values = drawn
    still = row.make(tensors(seed, sizes), **{**values, "lr": 0.0})
    idle = row.make(tensors(seed, sizes), **{**values, "weight_decay": 0.0, "l1": 0.0})
    for t in (1, 2):
        step(still, tensors(seed + t, sizes))
        step(idle, [np.zeros_like(w) for w in tensors(seed, sizes)])
    for opt, what in ((still, "lr = 0"), (idle, "gradient 0")):
        for a, b in zip(opt.param_groups[0]["params"], tensors(seed, sizes), strict=True):
            assert np.array_equal(a, b), f"{what}: {row.rule}, {values}, shape {b.shape}"


#: With ε = 0, if the gradient is multiplied by 2ᵏ, parameter and states are multiplied by these powers of 2ᵏ. Rules
#: that are not listed have no such property.
POWERS: dict[str, tuple[int, ...]] = {
    "sgd": (1,),
    "momentum": (1, 1),
    "nesterov": (1, 1),
    "nag": (1, 1),
    "adagrad": (0, 2),
    "adadelta": (0, 2, 0),
    "rmsprop": (0, 2),
    "rmsprop_centered": (0, 2, 1),
    "rmsprop_momentum": (0, 2, 0),
    "rmsprop_centered_momentum": (0, 2, 1, 0),
    "adam": (0, 1, 2),
    "amsgrad": (0, 1, 2, 2),
}


@settings(max_examples=300)
@given(rows_with_values(), st.integers(-20, 20), seeds)
def test_powers_of_two_scale_exactly(drawn: tuple[Row, dict[str, Any]], k: int, seed: int) -> None:
    row, values = drawn
    assume(row.rule in POWERS)
    alone = {"weight_decay": 0.0, "l1": 0.0, "clip_value": None, "eps": 0.0, "eps_root": 0.0}
    values = {**values, **{name: value for name, value in alone.items() if name in row.hyper()}}
    x = in_training(row, {**values, "eps": 1e-8} if "eps" in values else values, np.random.default_rng(seed), 100, 3)
    x.g[x.g == 0] = 1.0  # 0/0
    scale = np.float32(2.0**k)
    powers = POWERS[row.rule]
    factors = [scale**p for p in powers]
    y = Tensor(x.w * factors[0], x.g * scale, tuple(s * f for s, f in zip(x.states, factors[1:], strict=True)))
    row.update(values, [x], 3)
    row.update(values, [y], 3)
    for name, a, b, factor in zip(row.names(), y.buffers(), x.buffers(), factors, strict=True):
        assert_same_bits(a, b * factor, f"{row.rule}, {values}, times 2^{k}, {name}")


@settings(max_examples=150)
@given(zero_or(1e-30, 0.95), st.floats(1e-4, 0.3), st.booleans(), zero_or(1e-30, 0.3), seeds)
def test_the_shifted_nesterov_is_the_lookahead_point_of_the_textbooks(
    momentum: float, lr: float, lr_in_momentum: bool, weight_decay: float, seed: int
) -> None:
    """At a constant lr: the shifted form's parameters are where the textbook takes its gradients."""
    rng = np.random.default_rng(seed)
    w, curvature = rng.normal(size=30).astype(np.float32), rng.uniform(0.1, 2.0, 30).astype(np.float32)
    v = w.copy()
    kw: dict[str, Any] = {"momentum": momentum, "lr_in_momentum": lr_in_momentum, "weight_decay": weight_decay}
    textbook = fastopt.NAG(w, lr=lr, lookahead=True, **kw)
    shifted = fastopt.NAG(v, lr=lr, lookahead=False, **kw)
    start = w.astype(float)
    for t in range(10):
        before = w.copy()
        with textbook.lookahead():
            point, gradient = w.copy(), curvature * w
        assert_same_bits(w, before, "leaving lookahead()")
        assert_within(v, point, relative(v, point, start), 1e-5, f"{kw}, lr={lr}, step {t}")
        textbook.step(gradient)
        shifted.step(curvature * v)
