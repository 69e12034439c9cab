"""One call of `step`: the kinds of gradients it takes, what it returns, closures, skipped and nested steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np
import pytest

import fastopt
from tests.support.rows import (
    ROWS,
    Array,
    Row,
    arrays,
    contents,
    given,
    params_of,
    steps,
    steps_of,
)

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


@rows
def test_gradients_that_are_not_contiguous_are_copied(row: Row) -> None:
    for options in ({}, {"zero_grads": True}, {"max_norm": 0.5, "zero_grads": True}):
        grid = np.random.default_rng(0).normal(size=(2, 8, 9)).astype(np.float32)
        grids = [grid[0], grid[1]]
        views = [grids[0][::2, ::-3], grids[1][1::2, 2:5]]
        plain = [np.ascontiguousarray(view) for view in views]
        a = row.make([np.ones((4, 3), np.float32) for _ in range(2)])
        b = row.make([np.ones((4, 3), np.float32) for _ in range(2)])
        before = grid.copy()
        for _ in range(2):
            grid[...] = before
            a.step(given(views), **options)
            b.step(given([g.copy() for g in plain]), **options)
            assert contents(a) == contents(b)
            if "zero_grads" in options:
                assert not any(view.any() for view in views)
                before_elsewhere = before.copy()
                before_elsewhere[0, ::2, ::-3] = before_elsewhere[1, 1::2, 2:5] = 0
                assert grid.tobytes() == before_elsewhere.tobytes()
            else:
                assert grid.tobytes() == before.tobytes()


@rows
def test_skip_nonfinite_changes_nothing(row: Row) -> None:
    opt = steps(row.make(arrays(0), skip_nonfinite=True), 1, 2)
    twin = copy.deepcopy(opt)
    before = contents(opt)
    for k, bad in enumerate((np.nan, np.inf, -np.inf), 1):
        for place in (0, 2, 4):
            grads = arrays(5)
            grads[place].flat[-1] = bad
            given_bytes = [g.tobytes() for g in grads]
            norm = opt.step(given(grads), zero_grads=True, max_norm=1.0)
            assert norm is not None
            assert not np.isfinite(norm)
            assert [g.tobytes() for g in grads] == given_bytes
            assert contents(opt)[:3] == before[:3]
        assert opt.skipped == 3 * k
    norm = opt.step(given(arrays(6)))
    assert norm == twin.step(given(arrays(6)))
    assert contents(opt)[:3] == contents(twin)[:3]
    assert (opt.skipped, twin.skipped) == (9, 0)


def test_what_a_step_returns() -> None:
    g = np.array([3.0, 4.0], np.float32)
    opt = fastopt.SGD(np.zeros(2, np.float32))
    assert opt.step(g) is None
    assert opt.step(lambda: g) is None
    assert opt.step(g, max_norm=1.0) == 5.0
    assert opt.step(lambda: g, max_norm=100, grad_scale=-2) == 10.0
    assert fastopt.SGD(np.zeros(2, np.float32), skip_nonfinite=True).step(g) == 5.0
    assert fastopt.SGD(np.zeros((0,), np.float32)).step(np.zeros((0,), np.float32), max_norm=0.0) == 0.0


@rows
def test_a_closure_sees_the_parameters_and_is_called_once(row: Row) -> None:
    calls = []
    opt = row.make(arrays(0))

    def closure() -> list[Array]:
        calls.append([p.tobytes() for p in params_of(opt)])
        return arrays(1)

    before = contents(opt)[0]
    opt.step(closure)
    assert calls == [before]  # at the first step the momentum is 0, so NAG's lookahead point is W

    def broken() -> None:
        raise KeyError("no gradient")

    now = contents(opt)
    with pytest.raises(KeyError, match="no gradient"):
        opt.step(broken)
    assert contents(opt) == now


def test_a_step_inside_a_step_is_refused() -> None:
    """The iterator that yields the gradients calls the optimizer in the middle of its step."""
    opt = fastopt.Adam(arrays(0))

    def gradients() -> Iterator[Array]:
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            opt.step(arrays(1))
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            opt.load_state_dict(opt.state_dict())
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            opt.add_param_group({"params": np.ones(3, np.float32)})
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            copy.deepcopy(opt)
        yield from arrays(1)

    opt.step(gradients())
    assert contents(steps(opt, 2, 2)) == contents(steps(steps_of(fastopt.Adam(arrays(0)), arrays(1)), 2, 2))


def test_a_numpy_scalar_is_the_gradient_of_a_0d_parameter() -> None:
    """NumPy's arithmetic on 0-d arrays returns scalars. A scalar cannot be set to zero."""
    w, v = np.array(1.0, np.float32), np.array(1.0, np.float32)
    one, many = fastopt.Adam(w), fastopt.Adam([v, np.ones(3, np.float32)])
    one.step(np.float32(0.5))
    many.step([v * np.float32(0.5), np.ones(3, np.float32)], max_norm=math.inf)
    assert w == v != 1.0
    with pytest.raises(TypeError, match="gradient must be"):
        one.step(np.float32(0.5), zero_grads=True)
    with pytest.raises(TypeError, match="gradient 1 must be"):
        many.step([np.float32(0.5), np.float32(0.5)])
    with pytest.raises(TypeError, match="float64"):
        one.step(np.float64(0.5))


def test_scalars_that_overflow_are_named() -> None:
    """η/(1 − β₁) of the first step, and 1 − ηλ, overflow float32."""
    for opt, name in (
        (fastopt.Adam(arrays(0), lr=3e38, convention="torch"), "lr"),
        (fastopt.SGD(arrays(0), lr=1e38, weight_decay=1e38, decoupled=True), "decay"),
    ):
        before = contents(opt)
        with pytest.raises(ValueError, match=f"^{name} of the step"):
            opt.step(arrays(1))
        assert contents(opt) == before
