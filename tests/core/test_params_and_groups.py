"""Parameters, param groups and state: their forms, memory, ownership and changes between steps."""

from __future__ import annotations

import copy
import gc
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from tests.support.rows import (
    ROWS,
    SHAPES,
    Row,
    arrays,
    contents,
    fresh,
    given,
    params_of,
    steps,
)

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


ROOT = Path(fastopt.__file__).resolve().parent.parent


@rows
def test_forms_of_params(row: Row) -> None:
    """One array, a list, a tuple, a generator, values of a dict, or groups: the same result for each form."""
    expected = contents(steps(row.make(arrays(0)), 1, 3))
    named = {str(i): p for i, p in enumerate(arrays(0))}
    forms: list[Any] = [
        tuple(arrays(0)),
        iter(arrays(0)),
        (p for p in arrays(0)),
        named.values(),
        [{"params": arrays(0)}],
        iter([{"params": (p for p in arrays(0))}]),
    ]
    for params in forms:
        assert contents(steps(row.make(params), 1, 3)) == expected
    apart = steps(row.make([{"params": p} for p in arrays(0)]), 1, 3)
    assert contents(apart)[:2] == expected[:2]
    for i, (shape, _) in enumerate(SHAPES):
        if 0 in shape:
            continue  # tested in the next function
        single, listed = row.make(arrays(0)[i]), row.make([arrays(0)[i]])
        for t in range(3):
            single.step(given(arrays(t)[i]))
            listed.step(given([arrays(t)[i]]))
        assert contents(single) == contents(listed)


@rows
def test_parameters_that_are_all_empty(row: Row) -> None:
    """In a child process, because reading past the end of an empty list would end the process."""
    code = f"""
        import fastopt, numpy as np
        from tests.support.rows import ROWS
        row, empty = ROWS[{row.rule!r}], np.zeros((0, 3), np.float32)
        for opt in (row.make(empty), row.make([empty]), row.make([{{"params": []}}])):
            count = len(opt.param_groups[0]["params"])
            for t in range(2):
                grads = empty if opt._array_step.single else [empty] * count
                norm = opt.step(lambda grads=grads: grads, max_norm=1.0, zero_grads=True)
                assert norm == 0.0
            assert [state["step"] for state in opt.state] == [2] * count
        opt = row.make([np.ones(3, np.float32)])
        opt.step(lambda: [np.ones(3, np.float32)])
        opt.add_param_group({{"params": [np.zeros(0, np.float32), np.zeros((3, 0), np.float32)]}})
        for t in range(2):
            opt.step(lambda: [np.ones(3, np.float32), np.zeros(0, np.float32), np.zeros((3, 0), np.float32)])
        assert [state["step"] for state in opt.state] == [3, 2, 2]
    """
    result = fresh(code)
    assert result.returncode == 0, f"{result.returncode}: {result.stderr}"


@rows
def test_parameters_are_the_callers_own_arrays(row: Row) -> None:
    params = arrays(0)
    before = [p.copy() for p in params]
    opt = steps(row.make(params), 1, 1)
    assert all(p is q for p, q in zip(params, opt.param_groups[0]["params"], strict=True))
    assert all((p != q).all() for p, q in zip(params, before, strict=True))


@rows
def test_fortran_order(row: Row) -> None:
    """Parameter and gradient may have different memory orders; states have the order of the parameter."""
    expected = None
    for order in ("C", "F"):
        for gradient_order in ("C", "F"):
            w = np.array(np.random.default_rng(0).normal(size=(3, 5, 2)), np.float32, order=order)  # type: ignore[call-overload]
            opt = row.make(w)
            for t in range(3):
                g = np.random.default_rng(t + 1).normal(size=w.shape)
                opt.step(given(np.array(g, np.float32, order=gradient_order)), max_norm=2.0)  # type: ignore[call-overload]
            got = [w.tolist(), *(v.tolist() for k, v in opt.state[0].items() if k != "step")]
            expected = expected or got
            assert got == expected
            for name, state in opt.state[0].items():
                assert name == "step" or state.flags.f_contiguous == w.flags.f_contiguous


@rows
def test_memory_maps(row: Row, tmp_path: Path) -> None:
    w = np.memmap(tmp_path / "w", np.float32, "w+", shape=(5, 7))
    g = np.memmap(tmp_path / "g", np.float32, "w+", shape=(5, 7))
    w[...], g[...] = 1.0, np.arange(35).reshape(5, 7) + 1.0
    plain = row.make(np.ones((5, 7), np.float32))
    mapped = row.make(w)
    plain.step(given(np.array(g)))
    mapped.step(given(g), zero_grads=True)
    assert contents(plain) == contents(mapped)
    w.flush()
    g.flush()
    assert (tmp_path / "w").read_bytes() == params_of(plain)[0].tobytes()
    assert (tmp_path / "g").read_bytes() == bytes(35 * 4)


@rows
def test_states_have_the_cache_line_offset_of_their_parameter(row: Row) -> None:
    """Parameter and states have the same offset in a cache line, so vectors cross lines in all or in none."""
    room = np.zeros(200, np.float32)
    opt = row.make([*arrays(0), *(room[k * 40 + k : k * 40 + 3 * k + 1] for k in range(4))])
    opt.add_param_group({"params": [room[190:195]]})
    for p, state in zip(params_of(opt), opt.state, strict=True):
        for name, array in state.items():
            assert name == "step" or p.size == 0 or (array.ctypes.data - p.ctypes.data) % 64 == 0


@rows
def test_param_groups_and_state(row: Row) -> None:
    a, b, c = arrays(0)[2:]
    opt = row.make([{"params": [a, b], "name": "first"}, {"params": c, "lr": 0.5, "weight_decay": 0.1}])
    first, second = opt.param_groups
    assert first["name"] == "first"
    assert (second["lr"], second["weight_decay"]) == (0.5, 0.1)
    assert first["lr"] == opt.defaults["lr"] != 0.5
    assert [p.shape for p in params_of(opt)] == [a.shape, b.shape, c.shape]
    states = opt.state
    assert [list(state) for state in states] == [["step", *row.cls.rules[row.rule]]] * 3
    assert [state["step"] for state in states] == [0, 0, 0]
    opt.step(given([a.copy(), b.copy(), c.copy()]))
    assert [state["step"] for state in opt.state] == [1, 1, 1]
    for before, now, p in zip(states, opt.state, (a, b, c), strict=True):
        for name in row.cls.rules[row.rule]:
            assert np.shares_memory(before[name], now[name])
            assert now[name].shape == p.shape
            assert now[name].any()


@rows
def test_writing_a_state_through_its_view(row: Row) -> None:
    a, b = (steps(row.make(arrays(0)), 1, 2) for _ in range(2))
    for mine, theirs in zip(a.state, b.state, strict=True):
        for name in mine.keys() - {"step"}:
            mine[name][...] = 0.25
            theirs[name].fill(0.25)
    assert contents(steps(a, 3, 3)) == contents(steps(b, 3, 3))


@rows
def test_add_param_group(row: Row) -> None:
    """The new group counts its steps from 0. Both groups continue as two separate optimizers would."""
    first, second = arrays(0)[2:4], arrays(1)[4:]
    opt = row.make(first)
    for t in range(1, 3):
        opt.step(given(arrays(t)[2:4]))
    opt.add_param_group({"params": second, "lr": 0.03})
    assert [state["step"] for state in opt.state] == [2, 2, 0]
    for t in range(3, 5):
        opt.step(given(arrays(t)[2:]))
    alone, other = row.make(arrays(0)[2:4]), row.make(arrays(1)[4:], lr=0.03)
    for t in range(1, 5):
        alone.step(given(arrays(t)[2:4]))
    for t in range(3, 5):
        other.step(given(arrays(t)[4:]))
    assert [state["step"] for state in opt.state] == [4, 4, 2]
    assert contents(opt)[0] == contents(alone)[0] + contents(other)[0]
    assert contents(opt)[1] == contents(alone)[1] + contents(other)[1]


@rows
def test_add_param_group_to_one_array(row: Row) -> None:
    opt = row.make(arrays(0)[2])
    opt.step(given(arrays(1)[2]))
    opt.add_param_group({"params": arrays(0)[3]})
    opt.step(given(arrays(2)[2:4]))
    with pytest.raises(TypeError, match="list of 2 arrays"):
        opt.step(given(arrays(2)[2]))


def test_failed_add_param_group_of_other_rules_leaves_all_as_it_was() -> None:
    """NAG refuses the group only after it was made. Gradients are still one array, not a list."""
    for lookahead in (True, False):
        a, b = (fastopt.NAG(arrays(0)[2], lookahead=lookahead) for _ in range(2))
        for bad in ({"lookahead": not lookahead}, {"lookahead": not lookahead, "lr": 0.5}):
            with pytest.raises(ValueError, match="lookahead"):
                a.add_param_group({"params": arrays(0)[3], **bad})
        for opt in (a, b):
            for t in range(2):
                opt.step(given(arrays(t)[2]))
        assert contents(a) == contents(b)


def test_lookahead_is_the_same_in_every_group() -> None:
    with pytest.raises(ValueError, match="lookahead"):
        fastopt.NAG([{"params": arrays(0)[2]}, {"params": arrays(0)[3], "lookahead": False}])


@pytest.mark.parametrize(
    "change",
    [
        "groups.pop()",
        "groups.clear()",
        "kept = groups[0]; groups.clear(); kept['lr'] = kept['lr']",
        "groups.reverse()",
        "groups.append({'params': [], 'lr': 0.1})",
        "groups[0] = dict(groups[0])",
        "groups[0] = groups[1]",
        "opt.param_groups = groups[:1]",
        "opt.param_groups = None",
    ],
)
def test_the_list_of_groups_cannot_be_changed(change: str) -> None:
    """A change is refused or has no effect. No group loses its parameters, and nothing reads past the end of a list."""
    code = f"""
        import contextlib, numpy as np, fastopt

        def make():
            opt = fastopt.Adam([{{"params": np.ones(3, np.float32)}}, {{"params": np.ones(2, np.float32), "lr": 0.5}}])
            opt.step([np.ones(3, np.float32), np.ones(2, np.float32)])
            return opt

        opt, twin = make(), make()
        params = [group["params"][0] for group in opt.param_groups]
        groups = opt.param_groups
        with contextlib.suppress(AttributeError, TypeError):
            {change}
        for one in (opt, twin):
            for group in list(one.param_groups):
                with contextlib.suppress(TypeError):
                    group["weight_decay"] = 0.25
            one.step([np.ones(3, np.float32), np.ones(2, np.float32)])
        assert [p.tolist() for p in params] == [group["params"][0].tolist() for group in twin.param_groups]
        assert [state["step"] for state in opt.state] == [2, 2]
    """
    result = fresh(code)
    assert result.returncode == 0, f"{result.returncode}: {result.stderr}"


@rows
def test_changing_lr_between_steps(row: Row) -> None:
    """Setting lr in any way gives the same result as a schedule with the same rates."""
    rates = [0.1, 0.02, 0.5]
    expected = contents(steps(row.make(arrays(0), lr=lambda count: rates[count]), 1, 3))
    for way in ("item", "update", "or", "whole group"):
        opt = row.make(arrays(0), lr=7.0)
        for t, lr in enumerate(rates, 1):
            group = opt.param_groups[0]
            if way == "item":
                group["lr"] = lr
            elif way == "update":
                group.update(lr=lr)
            elif way == "or":
                group |= {"lr": lr}
            else:
                group.update({**group, "lr": lr})
            steps(opt, t, t)
        assert contents(opt)[:2] == expected[:2], way


def test_a_schedule_counts_from_0_in_each_group() -> None:
    for row in ROWS.values():
        seen: list[tuple[str, Any]] = []

        def rate(name: str, count: Any, seen: list[Any] = seen) -> float:
            assert type(count) is int
            if (name, count) not in seen:
                seen.append((name, count))
            return 0.1

        opt = row.make(arrays(0)[2], lr=lambda count, rate=rate: rate("a", count))
        assert seen == []
        opt.step(given(arrays(1)[2]))
        opt.add_param_group({"params": arrays(0)[3], "lr": lambda count, rate=rate: rate("b", count)})
        opt.step(given(arrays(2)[2:4]))
        assert seen == [("a", 0), ("a", 1), ("b", 0)]


@pytest.mark.peer
def test_a_schedule_of_optax_fits() -> None:
    optax = pytest.importorskip("optax")
    schedule = optax.cosine_decay_schedule(0.5, 4)
    rates = [float(schedule(count)) for count in range(4)]
    a = fastopt.SGD(arrays(0), lr=schedule)
    b = fastopt.SGD(arrays(0), lr=lambda count: rates[count])
    assert contents(steps(a, 1, 4))[0] == contents(steps(b, 1, 4))[0]
    assert rates[0] == 0.5 > rates[3] > 0


@rows
def test_memory_is_freed_without_garbage_collection(row: Row) -> None:
    """Reference counting frees states and parameters; they may be most of a machine's memory."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            params = arrays(0)
            opt = steps(row.make(params), 1, 2)
            copy.deepcopy(opt)
            alive = [weakref.ref(state.base) for s in opt.state for name, state in s.items() if name != "step"]
            counts = [sys.getrefcount(p) for p in params]
            del opt
            assert all(ref() is None for ref in alive)
            assert all(sys.getrefcount(p) < count for p, count in zip(params, counts, strict=True))
    finally:
        gc.enable()


@rows
def test_an_optimizer_is_freed_with_its_last_reference(row: Row) -> None:
    """There is no reference cycle that would keep its arrays until a garbage collection."""
    gc.collect()
    gc.disable()
    try:
        opt = row.make([np.ones(3, np.float32)], weight_decay=0.1)
        opt.step(lambda: [np.ones(3, np.float32)])
        opt.param_groups[0]["lr"] = 0.5
        opt.step(lambda: [np.ones(3, np.float32)])
        gone = weakref.ref(opt), weakref.ref(params_of(opt)[0])
        del opt
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()
