"""The global norm, clipping, scaling, zeroing and the skipping of non-finite gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastopt
from tests.support import reference
from tests.support.rows import (
    ROWS,
    TILE,
    Row,
    assert_right,
    assert_same_bits,
    core,
    expected_step,
    in_training,
    numbers,
    settings,
)
from tests.support.stepping import (
    SHAPES,
    assert_same_optimizers,
    copies,
    everything,
    exact_norm,
    last_variant,
    step,
    tensors,
)

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


@pytest.mark.parametrize(
    ("low", "high"),
    [(-3.0, 1.0), (-30.0, -20.0), (20.0, 38.0), (-44.0, -38.0)],
    ids=["usual", "tiny", "huge", "subnormal"],
)
def test_the_norm_agrees_with_float64_and_has_the_same_bits_everywhere(low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    grads = [numbers(rng, math.prod(s), low, high).reshape(s) for s in SHAPES]
    opt = fastopt.SGD(tensors(0), lr=0.0)
    norms = set()
    for setting in settings():
        with core(**setting):
            norms.add(opt.step(grads, max_norm=1.0))
    (norm,) = norms
    assert norm == pytest.approx(exact_norm(grads), rel=1e-12, abs=0.0)


def test_norm_does_not_depend_on_alignment_or_on_the_groups() -> None:
    ws, grads = tensors(0), tensors(1)
    norm = fastopt.SGD(ws).step(grads, max_norm=1.0)
    for offset in range(1, 4):
        moved = []
        for g in grads:
            room = np.zeros(g.size + 8, np.float32)[offset : offset + g.size]
            room[:] = g.ravel()
            moved.append(room.reshape(g.shape))
        assert fastopt.SGD(copies(ws)).step(moved, max_norm=1.0) == norm
    opt = fastopt.SGD([{"params": copies(ws)[:4]}, {"params": copies(ws)[4:], "lr": 1.0}])
    assert opt.step(grads, max_norm=1.0) == norm


def test_the_norm_is_returned_only_on_request_and_is_zero_without_elements() -> None:
    opt = fastopt.SGD(tensors(0))
    assert opt.step(tensors(1)) is None
    assert opt.step([np.zeros_like(g) for g in tensors(1)], max_norm=1.0) == 0.0
    nothing = fastopt.SGD([np.zeros(0, np.float32)])
    assert nothing.step([np.zeros(0, np.float32)], max_norm=1.0) == 0.0


@rows
def test_clipping_and_scaling_against_the_reference(row: Row) -> None:
    """max_norm and grad_scale together with every other operation on the gradient, in the order of the reference."""
    values, t = last_variant(row), 3
    xs = [in_training(row, values, np.random.default_rng(k), n, t) for k, n in enumerate((1, 20, TILE + 7))]
    limit = exact_norm([x.g for x in xs])
    for max_norm, grad_scale in [
        (0.3 * limit, 1.0),
        (2 * limit, 1.0),
        (0.1 * limit, 0.25),
        (0.5 * limit, 3.0),
        (0.0, 1.0),
    ]:
        ys = [x.copy() for x in xs]
        got = row.update(values, ys, t, max_norm=max_norm, grad_scale=grad_scale)
        norm = reference.global_norm([x.g for x in xs], grad_scale)
        assert got == pytest.approx(norm, rel=1e-12, abs=0.0)
        for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
            label = f"max_norm {max_norm:g}, grad_scale {grad_scale}, tensor {i}"
            options = {"max_norm": max_norm, "grad_scale": grad_scale, "norm": norm}
            assert_right(row, y, expected_step(row, row.hyper(**values), x, t, **options), label)


@rows
def test_scaling_and_clipping_are_one_factor_formed_in_double(row: Row) -> None:
    grads = tensors(1)
    exact = exact_norm(grads)
    for grad_scale in (1.0, 0.1, -0.3, 1e-20, 3e20):
        limit = 0.37 * abs(grad_scale) * exact
        a, b = (row.make(tensors(0), **last_variant(row)) for _ in range(2))
        norm = step(a, grads, max_norm=limit, grad_scale=grad_scale)
        assert norm == pytest.approx(abs(grad_scale) * exact, rel=1e-12, abs=0.0)
        step(b, grads, grad_scale=grad_scale * (limit / norm))
        assert_same_optimizers(a, b, f"{row.rule}, clipped against scaled, grad_scale {grad_scale}")


def test_a_norm_equal_to_max_norm_is_not_clipped() -> None:
    a, b = fastopt.SGD(tensors(0)), fastopt.SGD(tensors(0))
    norm = fastopt.SGD(tensors(0)).step(tensors(1), max_norm=1.0)
    assert a.step(tensors(1), max_norm=norm) == norm
    b.step(tensors(1))
    assert_same_optimizers(a, b, "norm equal to max_norm")


def test_norm_is_taken_after_grad_scale_and_before_clip_value() -> None:
    grads = tensors(1)
    for kw in ({}, {"clip_value": 0.01}, {"maximize": True}, {"weight_decay": 0.5, "l1": 0.5}):
        opt = fastopt.SGD(tensors(0), **kw)
        assert opt.step(grads, max_norm=1.0, grad_scale=-0.5) == pytest.approx(0.5 * exact_norm(grads), rel=1e-12)


def test_a_norm_that_is_not_finite() -> None:
    for bad, expected in [(np.inf, np.inf), (np.nan, np.nan)]:
        w = np.ones(3, np.float32)
        norm = fastopt.SGD(w, lr=1.0).step(np.array([bad, 1.0, 0.0], np.float32), max_norm=1.0)
        np.testing.assert_equal(norm, expected)
        # ∞: the factor is 1/∞ = 0, and 0·∞ is NaN. NaN: the factor is NaN, as torch's is.
        np.testing.assert_array_equal(w, [np.nan, 1.0, 1.0] if bad == np.inf else [np.nan, np.nan, np.nan])
        w = np.ones(3, np.float32)
        fastopt.SGD(w, lr=1.0).step(
            np.array([bad, 1.0, 0.0], np.float32), max_norm=np.inf
        )  # infinity measures the norm without clipping
        np.testing.assert_array_equal(w, [-bad, 0.0, 1.0])


@rows
def test_scaling_by_powers_of_two_is_exact(row: Row) -> None:
    a, b = (row.make(tensors(0), **last_variant(row)) for _ in range(2))
    for t in range(2):
        step(a, tensors(t + 1))
        step(b, [np.asarray(np.float32(1024.0) * g) for g in tensors(t + 1)], grad_scale=1 / 1024)
    assert_same_optimizers(a, b, row.rule)


@rows
@pytest.mark.parametrize("max_norm", [None, 1.0])
def test_zero_grads_changes_nothing_but_the_gradients(row: Row, max_norm: float | None) -> None:
    kept = row.make(tensors(0), **last_variant(row))
    step(kept, tensors(1), max_norm=max_norm)
    for setting in settings():
        opt, grads = row.make(tensors(0), **last_variant(row)), tensors(1)
        with core(**setting):
            step(opt, grads, max_norm=max_norm, zero_grads=True)
        assert_same_optimizers(opt, kept, f"{row.rule}, {setting}")
        for i, g in enumerate(grads):
            assert_same_bits(g, np.zeros_like(g), f"{row.rule}, {setting}, gradient {i} (+0.0)")


def test_gradients_are_read_only_without_zero_grads() -> None:
    grads = tensors(1)
    for g in grads:
        g.flags.writeable = False
    for row in ROWS.values():
        step(row.make(tensors(0)), grads, max_norm=1.0)
    for a, b in zip(grads, tensors(1), strict=True):
        assert_same_bits(a, b, "gradient")


def test_zero_grads_reaches_a_gradient_that_had_to_be_copied() -> None:
    grid = numbers(np.random.default_rng(0), 60).reshape(6, 10)
    before = grid.copy()
    w, v = np.ones((6, 5), np.float32), np.ones((6, 5), np.float32)
    fastopt.SGD(w).step(grid[:, ::2], zero_grads=True)
    fastopt.SGD(v).step(before[:, ::2].copy())
    assert_same_bits(w, v, "a strided gradient")
    assert not grid[:, ::2].any()
    assert_same_bits(grid[:, 1::2], before[:, 1::2], "what lies between")


@rows
def test_a_nonfinite_gradient_skips_the_whole_step(row: Row) -> None:
    values = last_variant(row)
    places = [(0, ()), (3, 0), (3, TILE), (7, 4 * TILE - 2), (9, (1, 1, 1, 0)), (11, 32)]
    expected = row.make(tensors(0), **values)
    for t in range(3):
        step(expected, tensors(t + 1))
    for setting in settings():
        opt = row.make(tensors(0), **values, skip_nonfinite=True)
        count = 0
        for t in range(3):
            for (tensor, where), bad in zip(places, [np.nan, np.inf, -np.inf] * 2, strict=True):
                grads = tensors(50)
                grads[tensor][where] = bad
                given, before = copies(grads), copies(everything(opt))
                with core(**setting):
                    norm = step(opt, grads, zero_grads=True)
                count += 1
                label = f"{row.rule}, {setting}, {bad} at {where} of tensor {tensor}"
                assert norm is not None, label
                assert not math.isfinite(norm), label
                assert opt.skipped == count, label
                assert {s["step"] for s in opt.state} == {t}, label
                for i, (a, b) in enumerate(zip(everything(opt), before, strict=True)):
                    assert_same_bits(a, b, f"{label}, buffer {i}")
                for i, (a, b) in enumerate(zip(grads, given, strict=True)):
                    assert_same_bits(a, b, f"{label}, gradient {i}")
            with core(**setting):
                assert math.isfinite(step(opt, tensors(t + 1)) or math.nan)
        assert_same_optimizers(opt, expected, f"{row.rule}, {setting}, after skipped steps")


def test_the_largest_gradients_are_finite() -> None:
    w = np.zeros(3 * TILE, np.float32)
    opt = fastopt.SGD(w, lr=2e-38, skip_nonfinite=True)
    g = np.full(w.size, np.finfo(np.float32).max)
    assert opt.step(g) == pytest.approx(math.sqrt(g.size) * float(g[0]), rel=1e-12)
    assert opt.skipped == 0
    assert (w < 0).all()


def test_without_skip_nonfinite_nan_goes_through() -> None:
    for row in ROWS.values():
        w, g = np.ones(20, np.float32), np.full(20, 0.5, np.float32)
        g[7] = np.nan
        opt = row.make(w)
        step(opt, g)
        assert np.flatnonzero(np.isnan(w)).tolist() == [7], row.rule
        assert opt.skipped == 0
        assert opt.state[0]["step"] == 1


def test_a_scale_that_overflows_float32_is_skipped() -> None:
    """The norm is finite in double, but the scaled gradient would overflow float32."""
    w, g = np.ones(3, np.float32), np.full(3, 1e30, np.float32)
    opt = fastopt.SGD(w, skip_nonfinite=True)
    opt.step(g, grad_scale=1e20)
    assert opt.skipped == 1
    assert (w == 1).all()
    opt.step(g, grad_scale=1e20, max_norm=1.0)
    assert opt.skipped == 1
    assert (w < 1).all()
    assert np.isfinite(w).all()
