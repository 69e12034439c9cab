"""Norm penalties: value, gradient and exclusion, against equations, finite differences and the optimizer's own."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastopt
from fastopt.regularization import add_norm_penalty_, is_vector, max_norm_, norm_penalty, penalty_groups
from tests.support.rows import THRESHOLD, TILE, Array, assert_same_bits, core, settings

SIZES = (0, 1, 15, 16, 17, TILE - 1, TILE, TILE + 1, 2 * TILE + 19, THRESHOLD + 1)


def floats(*shape: int, seed: int = 0) -> Array:
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    x.flat[::5] = 0
    return x


@pytest.mark.parametrize("size", SIZES)
def test_value(size: int) -> None:
    w = floats(size)
    exact = w.astype(np.float64)
    l2, l1 = math.fsum(exact**2) / 2, math.fsum(np.abs(exact))
    expected = None
    for setting in settings():
        with core(**setting):
            got = [norm_penalty(w, l2=0.3), norm_penalty(w, l1=0.2), norm_penalty(w, l2=0.3, l1=0.2)]
        expected = expected or got
        assert got == expected, setting
    assert np.allclose(expected, [0.3 * l2, 0.2 * l1, 0.3 * l2 + 0.2 * l1], rtol=1e-14)


@pytest.mark.parametrize("size", SIZES)
def test_gradient(size: int) -> None:
    w, g = floats(size), floats(size, seed=1)
    for l2, l1 in ((0.3, 0.0), (0.0, 0.2), (0.3, 0.2)):
        expected = g + np.float32(l2) * w if l2 else g.copy()
        expected = expected + np.sign(w) * np.float32(l1) if l1 else expected
        for setting in settings():
            with core(**setting):
                got = g.copy()
                add_norm_penalty_(got, w, l2=l2, l1=l1)
            assert_same_bits(got, expected, f"{l2}, {l1}, {setting}")


def test_gradient_is_the_derivative_of_the_value() -> None:
    w = np.array([0.5, -1.5, 2.0], np.float32)
    g = np.zeros(3, np.float32)
    add_norm_penalty_(g, w, l2=0.3, l1=0.2)
    for i in range(3):
        up, down = w.copy(), w.copy()
        up[i] += 2.0**-8
        down[i] -= 2.0**-8
        slope = (norm_penalty(up, l2=0.3, l1=0.2) - norm_penalty(down, l2=0.3, l1=0.2)) / 2.0**-7
        assert slope == pytest.approx(g[i], rel=1e-6)


def test_absent_terms_keep_nan_and_infinity() -> None:
    w = np.array([np.nan, np.inf, -0.0, 0.0], np.float32)
    g = np.array([1, 2, -0.0, 3], np.float32)
    got = g.copy()
    add_norm_penalty_(got, w)
    assert_same_bits(got, g, "no penalty")
    add_norm_penalty_(got, w, l1=1.0)
    assert_same_bits(got[1:], np.array([3, 0.0, 3], np.float32), "sign(0) = 0")
    assert math.isnan(got[0])  # as numpy.sign, and as in a step
    before = w.copy()
    fastopt.SGD(w, lr=1.0, l1=1.0).step(np.zeros(4, np.float32))
    assert_same_bits(w, before - np.sign(before), "a step")
    assert math.isnan(norm_penalty(before, l2=1.0))
    assert math.isnan(norm_penalty(before, l1=1.0))


def test_exclude() -> None:
    w, b = floats(4, 3), floats(3, seed=1)
    grads = [np.zeros((4, 3), np.float32), np.zeros(3, np.float32)]
    add_norm_penalty_(grads, [w, b], l2=0.5, exclude=is_vector)
    assert np.array_equal(grads[0], 0.5 * w)
    assert not grads[1].any()
    assert norm_penalty([w, b], l2=0.5, exclude=is_vector) == norm_penalty(w, l2=0.5)
    assert norm_penalty([w, b], l2=0.5, exclude=lambda i, p: i == 0) == norm_penalty(b, l2=0.5)
    assert norm_penalty([w, b], l2=0.5, exclude=lambda i, p: True) == 0.0
    fortran, gradient = np.asfortranarray(w), np.zeros((4, 3), np.float32, order="F")
    add_norm_penalty_(gradient, fortran, l1=1.0)
    assert np.array_equal(gradient, np.sign(w))


def test_penalty_groups_equal_add_norm_penalty() -> None:
    """weight_decay and l1 of the param groups give the same bits as the gradient of the penalty."""
    start = [floats(40, 30), floats(30, seed=1), floats(TILE + 3, 2, seed=2)]
    grads = [floats(*p.shape, seed=9) for p in start]
    fused = [p.copy() for p in start]
    opt = fastopt.Adam(penalty_groups(fused, weight_decay=0.1, l1=0.02))
    opt.step(grads)
    apart = [p.copy() for p in start]
    penalized = [g.copy() for g in grads]
    add_norm_penalty_(penalized, apart, l2=0.1, l1=0.02, exclude=is_vector)
    fastopt.Adam(apart).step(penalized)
    for i, (a, b) in enumerate(zip(fused, apart, strict=True)):
        assert_same_bits(a, b, f"parameter {i}")
    assert len(penalty_groups([start[0]])) == len(penalty_groups([start[1]])) == 1


@pytest.mark.parametrize("free", [set(), {0}, {2}, {0, 1}, {1, 3}, {0, 1, 2, 3}])
def test_penalty_groups_keep_the_order(free: set[int]) -> None:
    params = [np.ones(2, np.float32) for _ in range(4)]
    groups = penalty_groups(params, weight_decay=0.5, exclude=lambda i, p: i in free)
    assert [id(p) for g in groups for p in g["params"]] == [id(p) for p in params]
    fastopt.SGD(groups, lr=1.0).step([np.full(2, i, np.float32) for i in range(4)])
    assert [p[0] for p in params] == [1 - i - (0 if i in free else 0.5) for i in range(4)]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (3, 4, 5), (300, 700), (2, TILE + 9), (TILE + 9, 2)])
def test_max_norm(shape: tuple[int, ...], axis: int) -> None:
    w = floats(*shape) * 2
    flat = w.reshape(shape[0], -1) if axis == 1 else w.reshape(-1, shape[-1]).T
    norms = np.sqrt((flat.astype(np.float64) ** 2).sum(1))
    limit = float(np.median(norms)) + 1e-6
    factor = np.where(norms > limit, limit / np.maximum(norms, limit), 1.0).astype(np.float32)
    expected = flat * factor[:, None]
    for setting in settings():
        with core(**setting):
            got = w.copy()
            assert max_norm_(got, limit, axis=axis) is got
        flat_got = got.reshape(shape[0], -1) if axis == 1 else got.reshape(-1, shape[-1]).T
        assert np.allclose(flat_got, expected, rtol=2e-7, atol=0), setting
        inside = norms <= limit
        assert_same_bits(flat_got[inside], flat[inside], "what is within the limit keeps its bits")
        after = np.sqrt((flat_got.astype(np.float64) ** 2).sum(1))
        assert (after <= limit * (1 + 2e-7)).all()


def test_max_norm_of_nonfinite_rows() -> None:
    w = np.array([[np.nan, 5], [np.inf, 1], [0, 0], [1e30, 1e30], [-0.0, 1]], np.float32)
    got = max_norm_(w.copy(), 2.0)
    assert_same_bits(got[[0, 1, 2, 4]], w[[0, 1, 2, 4]], "not finite, zero, within")
    assert np.allclose(got[3], math.sqrt(2))


def test_refuses() -> None:
    w, g = floats(4, 3), floats(4, 3, seed=1)
    before = g.copy()
    for call, text in (
        (lambda: norm_penalty(w, l2=-1), "l2"),
        (lambda: norm_penalty(w, l1=math.inf), "l1"),
        (lambda: norm_penalty([], l1=1), "params is empty"),
        (lambda: norm_penalty(w.astype(float), l1=1), "parameter 0 has dtype float64"),
        (lambda: norm_penalty(w[:, ::2], l1=1), "parameter 0 is not contiguous"),
        (lambda: norm_penalty("w", l1=1), "params must be"),
        (lambda: add_norm_penalty_(g, [w, w], l2=1), "grads has 1 arrays, params has 2"),
        (lambda: add_norm_penalty_(g, w.T, l2=1), "has shape"),
        (lambda: add_norm_penalty_(g, np.asfortranarray(w), l2=1), "memory order"),
        (lambda: add_norm_penalty_([g, g], [w, w], l2=1), "gradient 1 overlaps gradient 0"),
        (lambda: add_norm_penalty_([g, before[:2]], [w, g[:2]], l2=1), "parameter 1 overlaps gradient 0"),
        (lambda: add_norm_penalty_(g[:, ::2], w[:, ::2], l2=1), "gradient 0 is not contiguous"),
        (lambda: max_norm_(g, 0), "max_norm"),
        (lambda: max_norm_(g, 1e39), "max_norm"),
        (lambda: max_norm_(g, 1, axis=2), "axis"),
        (lambda: max_norm_(g[0], 1), "two dimensions"),
        (lambda: max_norm_(np.asfortranarray(g), 1), "not C-contiguous"),
        (lambda: penalty_groups([]), "params is empty"),
    ):
        with pytest.raises((TypeError, ValueError), match=text):
            call()
        assert np.array_equal(g, before)


@pytest.mark.parametrize("axis", [0, 1])
def test_max_norm_refuses_empty_arrays(axis: int) -> None:
    for shape in ((3, 0), (0, 3)):
        with pytest.raises(ValueError, match="w is empty"):
            max_norm_(np.zeros(shape, np.float32), 1.0, axis=axis)
