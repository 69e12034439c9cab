"""Every row against the float64 reference, and the same bits on every instruction set, thread count, path, alignment
and split. Every element is compared. Loops are inside the tests, and a failure names its case."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.support import reference
from tests.support.rows import (
    ISAS,
    ROWS,
    SIZES,
    TILE,
    ULPS,
    Array,
    Guarded,
    Row,
    Sized,
    Tensor,
    assert_right,
    assert_same,
    assert_same_bits,
    assert_within,
    core,
    expected_step,
    in_training,
    numbers,
    settings,
    variants,
)

# Allowed error after fifty steps, relative to the sum of |changes| of an array, its start included. Each step adds some
# roundings of 6e-8 of its own length, of both signs. Largest error seen: 1.2e-6.
DRIFT = 2e-6

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def stepped(row: Row, values: dict[str, Any], x: Tensor, t: int) -> Tensor:
    """A copy of x after step t."""
    y = x.copy()
    row.update(values, [y], t)
    return y


@rows
@pytest.mark.parametrize("t", [1, 7])
def test_one_step_of_every_variant(row: Row, t: int) -> None:
    for k, (label, values) in enumerate(variants(row)):
        x = in_training(row, values, np.random.default_rng([k, t]), 2 * TILE + 19, t)
        with core(isa=ISAS[0], threads=1):
            base = stepped(row, values, x, t)
        assert_right(row, base, expected_step(row, row.hyper(**values), x, t), f"{label}, t={t}")
        for setting in settings():
            with core(**setting):
                assert_same(row, stepped(row, values, x, t), base, f"{label}, t={t}, {setting}")


def test_no_multiplication_is_fused_with_an_addition() -> None:
    """If all kernels used fused multiply-add, they would agree with each other, but not with this rounded product."""
    w, g = numbers(np.random.default_rng(0), TILE), numbers(np.random.default_rng(1), TILE)
    for isa in ISAS:
        x = Tensor(w.copy(), g, ())
        with core(isa=isa):
            ROWS["sgd"].update({"lr": 0.3}, [x], 1)
        assert_same_bits(x.w, w - np.float32(0.3) * g, f"sgd, {isa}")


@rows
def test_every_size_on_every_isa_thread_count_path_and_alignment(row: Row) -> None:
    *_, (label, values) = variants(row)
    for size, reason in SIZES.items():
        where = f"{label}, size {size} ({reason})"
        x = in_training(row, values, np.random.default_rng(size), size, 3)
        with core(isa=ISAS[0], threads=1):
            base = stepped(row, values, x, 3)
        assert_right(row, base, expected_step(row, row.hyper(**values), x, 3), where)
        for setting, offset in itertools.product(settings(), (0, 1, 5)):
            guarded, zero = Guarded(x, offset), offset == 5
            with core(**setting):
                row.update(values, [guarded.tensor], 3, zero_grads=zero)
            here = f"{where}, {setting}, offset {offset} words, zero_grads={zero}"
            guarded.check(f"{row.rule}, {here}")
            assert_same(row, guarded.tensor, base, here)
            assert_same_bits(guarded.tensor.g, np.zeros_like(x.g) if zero else x.g, f"{row.rule}, {here}, gradient")


@rows
def test_serial_and_parallel_path_at_the_default_threshold_agree(row: Row) -> None:
    for size in (n for n in SIZES if n > TILE):
        x = in_training(row, {}, np.random.default_rng(size), size, 2)
        with core(threads=1):
            base = stepped(row, {}, x, 2)
        with core(threads=3):
            assert_same(row, stepped(row, {}, x, 2), base, f"size {size}, 3 threads, default threshold")


@rows
def test_splitting_a_tensor_changes_no_bit(row: Row) -> None:
    *_, (label, values) = variants(row)
    n = 3 * TILE + 101
    x = in_training(row, values, np.random.default_rng(5), n, 4)
    with core(isa=ISAS[0], threads=1):
        base = stepped(row, values, x, 4)
    rng = np.random.default_rng(6)
    splits = {
        "first element alone": [1],
        "last element alone": [n - 1],
        "empty pieces at both ends": [0, n],
        "at a tile": [TILE],
        "off a tile": [TILE + 1, 2 * TILE - 1],
        "single elements": list(range(1, 40)),
        "at random": sorted(rng.integers(0, n, 60).tolist()),
    }
    for (how, at), setting in itertools.product(splits.items(), settings()):
        y = x.copy()
        with core(**setting):
            row.update(values, y.split(at), 4)
        assert_same(row, y, base, f"{label}, split {how}, {setting}")


def reference_run(
    row: Row, h: dict[str, Any], w: Array, states: tuple[Array, ...], gs: list[Array]
) -> tuple[list[Array], list[Array]]:
    """Every array after all steps, and the sum of its absolute changes."""
    here: list[Any] = [w.astype(float), *(s.astype(float) for s in states)]
    way = [np.abs(b) for b in here]
    for t, g in enumerate(gs, 1):
        (new,), (new_states,), _ = reference.step(
            row.rule, [here[0]], [g.astype(float)], [tuple(here[1:])], t, h, norm=0.0
        )
        there = [new, *new_states]
        way = [d + np.abs(b - a) for d, a, b in zip(way, here, there, strict=True)]
        here = there
    return here, way


@rows
def test_fifty_steps_of_every_variant(row: Row) -> None:
    for k, (label, values) in enumerate(variants(row)):
        rng = np.random.default_rng(k)
        n, h = 1000, row.hyper(**values)
        gs = [numbers(rng, n, -2.0, 1.0) for _ in range(50)]
        opt = row.make(np.zeros(n, np.float32), **values)
        states = tuple(s.copy() for name, s in opt.state[0].items() if name != "step")
        # Parameters start about as large as a step; otherwise their rounding would be larger than the updates.
        pace = np.mean(reference_run(row, h, np.zeros(n), states, gs[:5])[1][0]) / 5
        w = (pace * numbers(rng, n, -2.0, 0.5)).astype(np.float32)
        opt.param_groups[0]["params"][0][...] = w
        for g in gs:
            opt.step(lambda g=g: g)
        expected, way = reference_run(row, h, w, states, gs)
        got = [opt.param_groups[0]["params"][0], *(s for name, s in opt.state[0].items() if name != "step")]
        for name, a, b, d in zip(row.names(), got, expected, way, strict=True):
            error = np.abs(a - b) / np.maximum(d, 1e-30)
            assert_within(a, b, error, DRIFT, f"{row.rule}, {label}, 50 steps, {name}")


@rows
def test_a_gradient_that_never_changes_leaves_everything_finite(row: Row) -> None:
    """Its variance is 0 up to rounding, which may make it negative."""
    g = numbers(np.random.default_rng(0), 500, -2.0, 1.0)
    for values in ({}, *({name: 0.5} for name in ("alpha", "rho") if name in row.hyper())):
        opt = row.make(np.zeros(g.size, np.float32), **values)
        for _ in range(150):
            opt.step(lambda: g)
        for name, state in {"parameter": opt.param_groups[0]["params"][0], **opt.state[0]}.items():
            assert np.isfinite(state).all(), f"{row.rule}, {values}, {name}"


#: Squares of the largest overflow and squares of the smallest underflow, in any order of multiplication.
EDGES = np.array([0.0, 1.0, 0.3, 1e-3, 1e-21, 1e-30, 1.17549435e-38, 1e-40, 1.4e-45, 1e25, np.inf, np.nan], np.float32)
EDGES = np.concatenate([EDGES, -EDGES])


@rows
def test_edge_values_follow_ieee_754(row: Row) -> None:
    """Steps over all pairs of edge gradients and every edge parameter, then a step with an ordinary gradient.

    They are compared with the reference in float32: NaN, infinities, signs of zeros, and values up to rounding. This
    would find flushed subnormals or a lost −0.0.
    """
    w, g1, g2 = (a.ravel() for a in np.meshgrid(EDGES, EDGES, EDGES))
    for label, values in variants(row):
        values = {
            **values,
            "lr": 0.5,
        }  # a small one would take subnormal gradients to 0 before a small root divides them
        h = row.hyper(**values)
        start = row.make(np.zeros(w.size, np.float32), **values).state[0]
        x = Tensor(w, g1, tuple(s for name, s in start.items() if name != "step"))
        for t, g in enumerate((g1, g2, np.full_like(w, 0.25)), 1):
            x.g = g
            with core(isa=ISAS[0], threads=1):
                y = stepped(row, values, x, t)
            for isa in ISAS[1:]:
                with core(isa=isa, threads=1):
                    assert_same(row, stepped(row, values, x, t), y, f"{label}, edge values, t={t}, {isa}")
            with np.errstate(all="ignore"):
                (w32,), (states32,), _ = reference.step(row.rule, [x.w], [x.g], [x.states], t, h, norm=0.0)
            exact = expected_step(row, row.hyper(**values), x, t)
            for name, a, b, e in zip(row.names(), y.buffers(), (w32, *states32), exact, strict=True):
                where = f"{row.rule}, {label}, edge values, t={t}, {name}"
                assert_same_kind(a, b, x, where)
                assert_within(a, b, edge_error(a, b, e), 2 * ULPS, where)
            x = y


def edge_error(got: Array, expected: Array, exact: Sized) -> Array:
    """In ulps as before (of the value itself where a term overflowed), where both are finite.

    To these ulps 2⁻¹⁴³ is added: an underflow in the middle of a rule may be multiplied by 1000, the 1/√ε of Adadelta.
    """
    with np.errstate(all="ignore"):
        unit = np.spacing(exact.size.astype(np.float32)).astype(np.float64)
        unit = np.where(np.isfinite(unit), unit, np.spacing(np.abs(expected)).astype(np.float64)) + 2.0**-143
        error = np.abs(got.astype(np.float64) - expected) / unit
    return np.where(np.isfinite(got) & np.isfinite(expected), error, 0.0)


def assert_same_kind(got: Array, expected: Array, x: Tensor, label: str) -> None:
    """NaN and infinities in the same elements, and zeros with the same sign where both are zero."""
    assert got.dtype == expected.dtype == np.float32
    zeros = (got == 0) & (expected == 0)
    special = ~np.isfinite(got) | ~np.isfinite(expected)
    same = np.where(special, (got == expected) | (np.isnan(got) & np.isnan(expected)), True)
    same &= ~zeros | (np.signbit(got) == np.signbit(expected))
    at = np.flatnonzero(~same)
    if at.size:
        i = at[0]
        raise AssertionError(
            f"{label}: {at.size} of {got.size} elements, first {i}: got {got[i]!r}, expected {expected[i]!r} "
            f"from w={x.w[i]!r}, g={x.g[i]!r}, states {[s[i] for s in x.states]}"
        )
