"""Early stopping: when it stops and why, and that the best parameters are restored however training ends."""

from __future__ import annotations

import math
import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastopt.regularization import EarlyStopping
from tests.support import reference_layers as reference
from tests.support.rows import Array


def run(stopping: EarlyStopping, values: Any) -> int | None:
    """The index of the update that stops the run, or None."""
    for i, v in enumerate(values):
        if stopping.update(v):
            return i
    return None


@given(
    st.lists(st.integers(-20, 20), max_size=40),
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(0, 4),
    st.integers(0, 3),
)
def test_against_the_reference(values: list[int], patience: int, delta: int, start: int, cooldown: int) -> None:
    stopping = EarlyStopping(patience, min_delta=delta, start_from=start, cooldown=cooldown)
    at = run(stopping, values)
    expected, best = reference.stops_at(values, patience, delta, start, cooldown)
    assert (at, stopping.best_step) == (expected, best)
    assert stopping.best_value == (None if best is None else values[best])
    assert stopping.reason == (None if expected is None else "patience")
    assert stopping.stopped == (expected is not None)
    mirrored = EarlyStopping(patience, min_delta=delta, mode="max", start_from=start, cooldown=cooldown)
    assert (run(mirrored, [-v for v in values]), mirrored.best_step) == (expected, best)


def test_delta() -> None:
    assert run(EarlyStopping(2, min_delta=0.5), [10, 9.6, 9.4, 9.3, 9.2]) == 4
    assert run(EarlyStopping(2, min_delta=0.1, relative=True), [10, 9.5, 8.9, 8.5, 8.1]) == 4
    assert run(EarlyStopping(2, min_delta=0.1, relative=True, mode="max"), [-10, -9.5, -8.9, -8.5, -8.1]) == 4


def test_baseline() -> None:
    """As in Keras: an improvement that does not beat the baseline is kept, but still counts against the patience."""
    stopping = EarlyStopping(3, baseline=1.0)
    assert run(stopping, [5, 4, 3, 2]) == 2
    assert stopping.best_value == 3
    assert run(EarlyStopping(3, baseline=1.0), [5, 4, 0.9, 0.95, 0.95, 0.95]) == 5
    assert run(EarlyStopping(2, baseline=1.0, mode="max"), [0.5, 0.6]) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nonfinite(bad: float) -> None:
    stopping = EarlyStopping(10)
    assert run(stopping, [1.0, bad, 0.5]) == 1
    assert (stopping.reason, stopping.best_value) == ("not finite", 1.0)
    stopping = EarlyStopping(2, check_finite=False)
    assert run(stopping, [bad, 1.0, bad, bad, bad]) == 3
    assert (stopping.reason, stopping.best_value) == ("patience", 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1e9, 1e9])
def test_values_before_start_from_are_ignored(bad: float) -> None:
    late, plain = EarlyStopping(2, start_from=2), EarlyStopping(2)
    assert [late.update(v) for v in (bad, bad, 3, 2, 4, 4)][2:] == [plain.update(v) for v in (3, 2, 4, 4)]
    assert (late.best_value, late.best_step, late.reason) == (2, 3, "patience")


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({"patience": 2}, [1, 2, 3, 0.5, 0.4], [0, 0, 1, 0, 0]),
        ({"patience": 2, "latch": True}, [1, 2, 3, 0.5, 0.4], [0, 0, 1, 1, 1]),
        ({"patience": 2}, [1, math.nan, 0.5], [0, 1, 0]),
        ({"patience": 2, "latch": True}, [1, math.nan, 0.5], [0, 1, 1]),
        ({"patience": 0}, [3, 2, 2, 1], [0, 0, 1, 0]),
        ({"patience": 0, "start_from": 2}, [3, 2, 2, 1, 1], [0, 0, 0, 0, 1]),
        ({"patience": 1, "min_epochs": 4}, [1, 2, 3, 4, 5], [0, 0, 0, 1, 1]),
        ({"patience": 1, "min_epochs": 4}, [1, 2, 3, 0, 5], [0, 0, 0, 0, 1]),
        ({"patience": 1, "min_epochs": 4}, [1, math.nan], [0, 1]),
    ],
)
def test_each_answer(settings: dict[str, Any], values: list[float], expected: list[int]) -> None:
    stopping = EarlyStopping(**settings)
    assert [stopping.update(v) for v in values] == [bool(e) for e in expected]


def test_rebound_parameters_are_noticed() -> None:
    """In the block, where they are restored; a new view of the same memory is the same parameter."""
    params, stopping = params_of(0.0), EarlyStopping(3)
    with stopping:
        for value in (3.0, 2.0):
            stopping.update(value, [p[...] for p in params])
        params[1] = params[1] + np.float32(1)
        with pytest.raises(ValueError, match="parameter 1 is another array"):
            stopping.update(1.0, params)
    assert (stopping.step, stopping.best_value) == (2, 2.0)
    stopping.update(1.0, params_of(1.0))  # outside of the block nothing is restored by itself
    stopping.reset()
    for free in (stopping, EarlyStopping(3, restore_best=False)):
        with free:
            free.update(1.0, params)
        free.update(0.5, params_of(1.0))


def test_reduce() -> None:
    """Two workers that see the same average stop at the same update."""
    streams = [[3.0, 1.0, 2.0, 3.0, 9.0], [3.0, 3.0, 3.0, 3.0, 9.0]]
    means = [(a + b) / 2 for a, b in zip(*streams, strict=True)]
    results = []
    for stream in streams:
        step = iter(means)
        stopping = EarlyStopping(2, reduce=lambda value, step=step: next(step))
        results.append((run(stopping, stream), stopping.best_value, stopping.best_step))
    assert results == [(3, 2.0, 1)] * 2


def params_of(value: float) -> list[Array]:
    return [
        np.full((3, 2), value, np.float32),
        np.asfortranarray(np.full((2, 5), -value, np.float32)),
        np.full((), value, np.float32),
        np.zeros(0, np.float32),
    ]


def train(stopping: EarlyStopping, params: list[Array], values: list[float], at_end: Any = None) -> None:
    with stopping:
        for i, v in enumerate(values):
            for p in params:
                p[...] = i if p.flags.c_contiguous else -i
            if stopping.update(v, params):
                break
        if at_end is not None:
            raise at_end


@pytest.mark.parametrize("end", [None, ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("values", [[3, 1, 2, 2, 2, 2], [3, 2, 1], [1, 5]])
def test_best_parameters_are_restored(values: list[float], end: Any) -> None:
    params = params_of(-1.0)
    stopping = EarlyStopping(3)
    if end is None:
        train(stopping, params, values)
    else:
        with pytest.raises(end):
            train(stopping, params, values, end)
    best = float(np.argmin(values))
    for p, expected in zip(params, params_of(best), strict=True):
        assert np.array_equal(p, expected)
    copies = stopping.best_params
    copies[0][:] = 99
    assert np.array_equal(stopping.best_params[0], params[0])


def test_without_restoring() -> None:
    params = params_of(-1.0)
    stopping = EarlyStopping(2, restore_best=False)
    train(stopping, params, [1, 2, 3])
    assert params[0][0, 0] == 2
    assert stopping.restore()
    assert params[0][0, 0] == 0
    other = params_of(7.0)
    assert stopping.restore(other)
    assert np.array_equal(other[1], params[1])
    assert not EarlyStopping().restore(other)
    with EarlyStopping() as nothing:
        nothing.update(1.0)


def test_buffers_are_allocated_once() -> None:
    params = params_of(0.0)
    stopping = EarlyStopping(3)
    stopping.update(3.0, params)
    before = [id(b) for b in stopping._best]
    for v in (2.0, 1.0, 0.0):
        stopping.update(v, params)
    assert [id(b) for b in stopping._best] == before


@pytest.mark.parametrize("cut", range(8))
def test_state_dict(cut: int) -> None:
    """A run that continues from a state_dict after update `cut` equals a run without a break."""
    values = [5.0, 4.0, 4.5, 3.0, 3.5, 3.4, 3.3, 3.2]
    params, whole = params_of(0.0), EarlyStopping(3, cooldown=1)
    part = EarlyStopping(3, cooldown=1)
    for i, v in enumerate(values):
        for p in params:
            p[...] = i
        if whole.update(v, params):
            break
        if i == cut:
            state = part.state_dict()
            part = EarlyStopping(3, cooldown=1)
            part.load_state_dict(state)
        part.update(v, params)
    part.update(v, params)
    assert part.state_dict().keys() == whole.state_dict().keys()
    for name in ("best_value", "best_step", "step", "wait", "cooling", "reason"):
        assert part.state_dict()[name] == whole.state_dict()[name], name
    for a, b in zip(part.best_params, whole.best_params, strict=True):
        assert np.array_equal(a, b)
    whole.reset()
    assert (whole.step, whole.best_value, whole.best_params) == (0, None, [])


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"patience": -1}, "patience"),
        ({"min_epochs": -1}, "min_epochs"),
        ({"latch": 1}, "latch"),
        ({"patience": 2.5}, "patience"),
        ({"min_delta": -1}, "min_delta"),
        ({"min_delta": math.nan}, "min_delta"),
        ({"mode": "auto"}, "mode"),
        ({"relative": "yes"}, "relative"),
        ({"start_from": -1}, "start_from"),
        ({"cooldown": -1}, "cooldown"),
        ({"baseline": math.nan}, "baseline"),
        ({"reduce": 3}, "reduce"),
    ],
)
def test_bad_settings(settings: dict[str, Any], name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        EarlyStopping(**settings)


@pytest.mark.parametrize(
    ("value", "params", "message"),
    [
        ("0.5", params_of(1.0), "value must be a number"),
        (True, params_of(1.0), "value must be a number"),
        (1.0, [np.zeros(3)], "parameter 0 has dtype float64"),
        (1.0, [], "params is empty"),
        (1.0, [np.zeros((4, 4), np.float32)[:, ::2]], "parameter 0 is not contiguous"),
        (1.0, "weights", "params must be"),
    ],
)
def test_bad_first_update(value: Any, params: Any, message: str) -> None:
    stopping = EarlyStopping(3)
    with pytest.raises((TypeError, ValueError), match=message):
        stopping.update(value, params)
    assert (stopping.step, stopping.best_value) == (0, None)


def test_bad_later_update() -> None:
    stopping, params = EarlyStopping(3), params_of(1.0)
    stopping.update(1.0, params)
    with pytest.raises(ValueError, match="params has 1 arrays, earlier updates had 4"):
        stopping.update(0.5, params[:1])
    with pytest.raises(ValueError, match="has shape"):
        stopping.update(0.5, [np.zeros((2, 2), np.float32), *params[1:]])
    with pytest.raises(ValueError, match="parameter 0 has shape"):  # also if the value is not an improvement
        stopping.update(2.0, [np.zeros((2, 2), np.float32), *params[1:]])
    with pytest.raises(TypeError, match="parameter 1 must be a float32"):
        stopping.update(2.0, [params[0], params[1].astype(float), *params[2:]])
    with pytest.raises(TypeError, match="value must be a number"):
        stopping.update(np.array([1.0, 2.0]), params)
    assert (stopping.step, stopping.best_value) == (1, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wait": None}, "lacks wait"),
        ({"step": -1}, "step"),
        ({"best_params": [np.zeros(3)]}, "best parameter 0"),
        ({"best_value": "x"}, "best_value"),
        ({"best_value": math.nan}, "best_value"),
        ({"best_step": None}, "best_step"),
        ({"reason": 3}, "reason"),
    ],
)
def test_bad_state_dict(changes: dict[str, Any], message: str) -> None:
    """An error changes nothing."""
    stopping, other = EarlyStopping(3), EarlyStopping(3)
    other.update(1.0, params_of(1.0))
    state = {**other.state_dict(), **changes}
    if message == "lacks wait":
        del state["wait"]
    for target, before in ((stopping, (0, None)), (other, (1, 1.0))):
        with pytest.raises((TypeError, ValueError), match=message):
            target.load_state_dict(state)
        assert (target.step, target.best_value) == before


def test_the_end_of_the_block_runs_no_python_code() -> None:
    """Ctrl-C can interrupt only between bytecodes. __exit__ has none, so the copy back always takes place."""
    for method in (EarlyStopping.__enter__, EarlyStopping.__exit__):
        assert not isinstance(method, types.FunctionType)
