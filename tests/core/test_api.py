"""What a user meets beside the numbers: params and groups, state, copies, schedules, conventions.

Numbers are compared bit for bit with what the same optimizer does otherwise, never with a formula.
"""

from __future__ import annotations

import copy
import gc
import io
import math
import pickle
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt._native import step as native_step
from tests.support.rows import (
    ROWS,
    SHAPES,
    Array,
    Row,
    arrays,
    away,
    contents,
    fresh,
    given,
    params_of,
    steps,
    steps_of,
    variants,
)

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
CLASSES = {cls.__name__: cls for cls in [*{row.cls: None for row in ROWS.values()}, fastopt.AdamW]}
classes = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
ROOT = Path(fastopt.__file__).resolve().parent.parent

# -- params -----------------------------------------------------------------------------------------------------------


@rows
def test_forms_of_params(row: Row) -> None:
    """One array, a list, a tuple, a generator, a dict's values, groups: the same arrays, updated in place alike."""
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
            continue  # below
        single, listed = row.make(arrays(0)[i]), row.make([arrays(0)[i]])
        for t in range(3):
            single.step(given(arrays(t)[i]))
            listed.step(given([arrays(t)[i]]))
        assert contents(single) == contents(listed)


@rows
def test_parameters_that_are_all_empty(row: Row) -> None:
    """In a process of its own: reading past the end of an empty list would end this one."""
    code = f"""
        import fastopt, numpy as np
        from tests.support.rows import ROWS
        row, empty = ROWS[{row.rule!r}], np.zeros((0, 3), np.float32)
        for opt in (row.make(empty), row.make([empty]), row.make([{{"params": []}}])):
            count = len(opt.param_groups[0]["params"])
            for t in range(2):
                norm = opt.step(lambda: empty if opt._single else [empty] * count, max_norm=1.0, zero_grads=True)
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
    """Parameter and gradient in any of the orders: the same numbers at the same indices, states in the parameter's."""
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
def test_states_lie_in_their_cache_lines_as_their_parameters_do(row: Row) -> None:
    """Then a vector crosses a line's border in all of them or in none."""
    room = np.zeros(200, np.float32)
    opt = row.make([*arrays(0), *(room[k * 40 + k : k * 40 + 3 * k + 1] for k in range(4))])
    opt.add_param_group({"params": [room[190:195]]})
    for p, state in zip(params_of(opt), opt.state, strict=True):
        for name, array in state.items():
            assert name == "step" or p.size == 0 or (array.ctypes.data - p.ctypes.data) % 64 == 0


# -- groups and state -------------------------------------------------------------------------------------------------


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
    """The new group counts from 0 and goes on as an optimizer of its own would; the old one as if alone."""
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
    """A group that NAG refuses late, after it was made: one array is still one array."""
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
def test_the_list_of_groups_is_not_the_users_to_change(change: str) -> None:
    """Refused, or without effect: never a group without its parameters, nor a read past the end of a list."""
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
    """As a schedule with the same rates, whichever way it is set."""
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
def test_what_is_dropped_is_gone(row: Row) -> None:
    """Without waiting for a garbage collection: states may be most of a machine's memory."""
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


# -- copies -----------------------------------------------------------------------------------------------------------


def reloaded(opt: Any, fresh: Any) -> Any:
    """`fresh`, another optimizer of the same kind, with the state_dict and the parameters of `opt`."""
    fresh.load_state_dict(opt.state_dict())
    for mine, theirs in zip(params_of(fresh), params_of(opt), strict=True):
        mine[...] = theirs
    return fresh


def from_file(opt: Any, fresh: Any, path: Path) -> Any:
    opt.save(path, params=True)
    fresh.load(path)
    return fresh


@rows
def test_every_copy_goes_on_bit_for_bit(row: Row, tmp_path: Path) -> None:
    for label, values in variants(row):
        opt = steps(row.make(arrays(0), **values, skip_nonfinite=True), 1, 3)
        opt.step(given([np.full_like(p, np.nan) for p in arrays(0)]))
        opt.add_param_group({"params": np.ones(5, np.float32), "lr": 0.03, "name": "late"})

        def fresh(values: Mapping[str, Any] = values) -> Any:
            other = row.make(arrays(1), **values, skip_nonfinite=True)
            other.add_param_group({"params": np.zeros(5, np.float32)})
            return other

        before = contents(opt)
        copies = {
            "deepcopy": copy.deepcopy(opt),
            **{f"pickle {k}": pickle.loads(pickle.dumps(opt, k)) for k in range(2, pickle.HIGHEST_PROTOCOL + 1)},
            "state_dict": reloaded(opt, fresh()),
            "file": from_file(opt, fresh(), tmp_path / "opt.npz"),
        }
        ends = {}
        for name, other in {**copies, "itself": opt}.items():
            assert contents(other) == before, (label, name)
            for p, q in zip(params_of(other), params_of(opt), strict=True):
                assert other is opt or not np.shares_memory(p, q)
                assert p.flags.fnc == q.flags.fnc
            for t in range(4, 7):
                other.step(given([*arrays(100 + t), np.full(5, t, np.float32)]), max_norm=3.0)
            ends[name] = contents(other)
        assert all(end == ends["itself"] != before for end in ends.values()), label
        assert copies["deepcopy"].skipped == 1
        assert repr(copies["deepcopy"]) == repr(opt)


def test_a_copy_keeps_what_was_set_after_construction() -> None:
    """Also None, where the constructor was given a number."""
    opt = fastopt.SGD(arrays(0), lr=0.5, clip_value=0.1, weight_decay=0.1)
    opt.param_groups[0].update(clip_value=None, weight_decay=0.0, lr=0.25, maximize=True)
    for other in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt)), reloaded(opt, fastopt.SGD(arrays(1)))):
        assert contents(other) == contents(opt)
    assert opt.param_groups[0]["clip_value"] is None


def test_a_group_may_be_free_of_what_the_others_have() -> None:
    """In a group dict, as in an assignment, None is a value for clip_value: no clipping."""
    opt = fastopt.SGD([{"params": arrays(0)[2], "clip_value": None}, {"params": arrays(0)[3]}], clip_value=0.1)
    assert [group["clip_value"] for group in opt.param_groups] == [None, 0.1]


def test_deepcopy_with_a_schedule_and_pickle_of_one_that_can_be() -> None:
    opt = steps(fastopt.Adam(arrays(0), lr=lambda count: 0.1 / (count + 1)), 1, 2)
    other = copy.deepcopy(opt)
    assert contents(steps(other, 3, 4))[:2] == contents(steps(opt, 3, 4))[:2]
    opt = steps(fastopt.Adam(arrays(0), lr=Decaying()), 1, 2)
    other = pickle.loads(pickle.dumps(opt))
    assert contents(steps(other, 3, 4))[:2] == contents(steps(opt, 3, 4))[:2]
    assert type(other.param_groups[0]["lr"]) is Decaying


class Decaying:
    """A schedule that can be pickled."""

    def __call__(self, count: int) -> float:
        return 0.1 / (count + 1)


@rows
def test_state_dict_holds_copies(row: Row) -> None:
    opt = steps(row.make(arrays(0)), 1, 2)
    saved = opt.state_dict()
    snapshot = copy.deepcopy(saved)
    steps(opt, 3, 3)
    opt.param_groups[0]["lr"] = 0.125
    assert repr(saved) == repr(snapshot)
    other = row.make(arrays(0))
    other.load_state_dict(saved)
    for state in saved["state"]:
        for name in state.keys() - {"step"}:
            state[name].fill(7.0)
    saved["param_groups"][0]["lr"] = 7.0
    for state in other.state:
        for name in state.keys() - {"step"}:
            assert state[name].size == 0 or (state[name] != 7.0).any()
    assert other.param_groups[0]["lr"] != 7.0


def test_state_dict_is_plain() -> None:
    """Dicts, lists, numbers, strings and arrays: no class of this library, no schedule."""

    def plain(x: Any) -> bool:
        if isinstance(x, dict):
            return type(x) is dict and all(type(k) is str and plain(v) for k, v in x.items())
        if isinstance(x, (list, tuple)):
            return all(map(plain, x))
        return x is None or type(x) in (int, float, bool, str, np.ndarray)

    for row in ROWS.values():
        assert plain(steps(row.make(arrays(0)), 1, 1).state_dict())
    saved = steps(fastopt.SGD(arrays(0), lr=Decaying()), 1, 1).state_dict()
    assert saved["param_groups"][0]["lr"] is None
    assert saved["param_groups"][0]["steps"] == 1
    opt = fastopt.SGD(arrays(0), lr=Decaying())
    opt.load_state_dict(saved)
    assert type(opt.param_groups[0]["lr"]) is Decaying
    with pytest.raises(ValueError, match="schedule"):
        fastopt.SGD(arrays(0)).load_state_dict(saved)


def broken_state_dicts(opt: Any) -> Iterator[tuple[str, Any]]:
    """A label and a state_dict that this optimizer cannot take; whatever precedes the damage differs from `opt`."""

    def broken(**changes: Any) -> dict[str, Any]:
        saved: dict[str, Any] = copy.deepcopy(opt.state_dict())
        for group in saved["param_groups"]:
            group["lr"] = 0.625
            group["steps"] = 77
        for state in saved["state"]:
            state["step"] = 77
            for name in state.keys() - {"step"}:
                state[name] += 1.0
        return {**saved, **changes}

    for value in (None, [], "state", 3, {}):
        yield f"{value!r}", value
    for key in broken():
        yield f"without {key}", {k: v for k, v in broken().items() if k != key}
    for key, values in {
        "version": (0, 2, "1", None, 1.5),
        "optimizer": ("", "Other", None, 3),
        "skipped": (-1, 1.5, "3", "many", None, float("nan"), []),
        "param_groups": (None, [], {}, "x", 3, [None, None], [1, 2], broken()["param_groups"] * 2),
        "state": (None, [], {}, "x", 3, [None] * 3, broken()["state"][:-1], broken()["state"] * 2),
    }.items():
        for value in values:
            yield f"{key} {value!r:.50}", broken(**{key: value})
    last = opt.state_dict()["param_groups"][-1]
    changes: dict[str, tuple[Any, ...]] = {
        "steps": (-1, 1.5, "3", None, True, 2**63, 2**70, np.nan),
        "params": (None, [], [0, 1, 2, 3], 3),
        "lr": (-1.0, "x", None, np.nan, True, 10**400),
        "weight_decay": (-1.0, None, [0.1]),
        "maximize": (1, None, "yes"),
        "unknown": (1.0,),
        **{k: (not v,) for k, v in last.items() if k in ("amsgrad", "centered", "lookahead")},
    }
    for key, values in changes.items():
        for value in values:
            saved = broken()
            saved["param_groups"][-1][key] = value
            yield f"{key} {value!r:.30} in the last group", saved
    for key in last:
        if key != "name":
            saved = broken()
            del saved["param_groups"][-1][key]
            yield f"last group without {key}", saved
    yield from broken_states(broken, opt)


def broken_states(broken: Callable[[], dict[str, Any]], opt: Any) -> Iterator[tuple[str, Any]]:
    for name in opt.state[-1].keys() - {"step"}:
        right = broken()["state"][-1][name]
        for value in (None, 0.0, right.tolist(), right.astype(float), right.astype(">f4"), right[:-1], right[None]):
            saved = broken()
            saved["state"][-1][name] = value
            yield f"{name} {value!r:.30}", saved
        saved = broken()
        del saved["state"][-1][name]
        yield f"without {name}", saved
    saved = broken()
    saved["state"][-1]["more"] = np.zeros(3, np.float32)
    yield "more states", saved
    for step in (-1, None, "3", 76, 1.5):
        saved = broken()
        saved["state"][-1]["step"] = step
        yield f"step {step!r} in the last state", saved
    saved = broken()
    del saved["state"][-1]["step"]
    yield "without step", saved


@rows
def test_broken_state_dicts_change_nothing(row: Row) -> None:
    """Reported all together: one missed check must not hide another."""
    faults = []
    opt = row.make([{"params": arrays(0)[2:4]}, {"params": np.ones((3, 2), np.float32)}])
    opt.step(given([*arrays(1)[2:4], np.ones((3, 2), np.float32)]))
    before = contents(opt)
    for label, saved in broken_state_dicts(opt):
        try:
            opt.load_state_dict(saved)
            faults.append(f"{label}: taken")
        except (TypeError, ValueError):
            pass
        except Exception as error:
            faults.append(f"{label}: {error!r}")
        if contents(opt) != before:
            faults.append(f"{label}: something changed")
            opt = row.make([{"params": arrays(0)[2:4]}, {"params": np.ones((3, 2), np.float32)}])
            opt.step(given([*arrays(1)[2:4], np.ones((3, 2), np.float32)]))
            assert contents(opt) == before
    assert not faults, "\n" + "\n".join(faults)


def test_state_dict_of_another_kind_is_refused() -> None:
    """Of every class and rule by every other, even where the names of the states agree."""
    for row in ROWS.values():
        saved = steps(row.make(arrays(0)), 1, 1).state_dict()
        for other in ROWS.values():
            opt = other.make(arrays(0))
            before = contents(opt)
            if other is row:
                continue
            with pytest.raises(ValueError, match="state_dict"):
                opt.load_state_dict(saved)
            assert contents(opt) == before


def test_states_may_be_loaded_from_any_strides() -> None:
    opt = steps(fastopt.Adam(arrays(0)), 1, 2)
    saved = opt.state_dict()
    for state in saved["state"]:
        for name in state.keys() - {"step"}:
            state[name] = np.asarray(state[name].T.copy().T)
    other = fastopt.Adam(arrays(0))
    other.load_state_dict(saved)
    assert contents(other)[1] == contents(opt)[1]


# -- conventions ------------------------------------------------------------------------------------------------------

#: DESIGN.md, section 3: the table and the defaults below it.
CONVENTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "SGD": {
        "textbook": {"lr": 1e-2, "weight_decay": 0.0, "decoupled": False, "l1": 0.0, "clip_value": None},
        "torch": {"decoupled": False, "weight_decay": 0.0},
        "keras": {"decoupled": True, "weight_decay": 0.0},
        "optax": {"decoupled": False},
        "sklearn": {"decoupled": False},
    },
    "Momentum": {
        "textbook": {"lr": 1e-2, "momentum": 0.9, "dampening": 0.0, "lr_in_momentum": False, "maximize": False},
        "torch": {"dampening": 0.0, "lr_in_momentum": False},
        "keras": {"lr_in_momentum": True, "decoupled": True},
        "optax": {"lr_in_momentum": False},
        "sklearn": {"lr_in_momentum": True, "momentum": 0.9},
    },
    "NAG": {
        "textbook": {"lr": 1e-2, "momentum": 0.9, "lookahead": True, "lr_in_momentum": False},
        "torch": {"lookahead": False, "lr_in_momentum": False},
        "keras": {"lookahead": False, "lr_in_momentum": True},
        "optax": {"lookahead": False, "lr_in_momentum": False},
        "sklearn": {"lookahead": False, "lr_in_momentum": True, "momentum": 0.9},
    },
    "Adagrad": {
        "textbook": {"lr": 1e-2, "eps": 1e-16, "eps_in_sqrt": True, "lr_decay": 0.0, "initial_accumulator_value": 0.0},
        "torch": {"lr": 1e-2, "eps": 1e-10, "eps_in_sqrt": False, "lr_decay": 0.0, "initial_accumulator_value": 0.0},
        "keras": {"lr": 1e-3, "eps": 1e-7, "eps_in_sqrt": True, "initial_accumulator_value": 0.1, "decoupled": True},
        "optax": {"eps": 1e-7, "eps_in_sqrt": True, "initial_accumulator_value": 0.1},
    },
    "Adadelta": {
        "textbook": {"lr": 1.0, "rho": 0.95, "eps": 1e-6},
        "torch": {"lr": 1.0, "rho": 0.9, "eps": 1e-6},
        "keras": {"lr": 1e-3, "rho": 0.95, "eps": 1e-7, "decoupled": True},
        "optax": {"rho": 0.9, "eps": 1e-6},
    },
    "RMSprop": {
        "textbook": {"lr": 1e-3, "alpha": 0.9, "eps": 1e-16, "eps_in_sqrt": True, "momentum": 0.0, "centered": False},
        "torch": {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "eps_in_sqrt": False, "lr_in_momentum": False},
        "keras": {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "eps_in_sqrt": True, "lr_in_momentum": True},
        "optax": {"alpha": 0.9, "eps": 1e-8, "eps_in_sqrt": True, "nesterov": False},
    },
    "Adam": {
        "textbook": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-16, "eps_in_sqrt": True, "corrected_v": False},
        "torch": {"eps": 1e-8, "eps_in_sqrt": False, "corrected_v": True, "max_corrected_v": False, "eps_root": 0.0},
        "keras": {"eps": 1e-7, "eps_in_sqrt": False, "corrected_v": False, "decoupled": True},
        "optax": {"eps": 1e-8, "eps_in_sqrt": False, "corrected_v": True, "max_corrected_v": True},
        "sklearn": {"eps": 1e-8, "eps_in_sqrt": False, "corrected_v": False},
    },
    "AdamW": {
        "textbook": {"decoupled": True, "weight_decay": 0.01, "eps": 1e-16, "eps_in_sqrt": True},
        "torch": {"decoupled": True, "weight_decay": 0.01, "eps": 1e-8, "corrected_v": True},
        "keras": {"decoupled": True, "weight_decay": 0.004, "eps": 1e-7, "corrected_v": False},
        "optax": {"decoupled": True, "weight_decay": 1e-4, "eps": 1e-8, "corrected_v": True},
    },
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions_are_those_of_the_table(name: str) -> None:
    for convention, values in CONVENTIONS[name].items():
        opt = getattr(fastopt, name)(arrays(0), convention=convention)
        group = opt.param_groups[0]
        assert {k: group[k] for k in values} == values, convention
        assert opt.convention == convention
    plain = getattr(fastopt, name)(arrays(0))
    assert plain.param_groups[0] == getattr(fastopt, name)(arrays(0), convention="textbook").param_groups[0] | {
        "params": plain.param_groups[0]["params"]
    }


@classes
def test_explicit_arguments_beat_the_convention(cls: Any) -> None:
    """Every hyper-parameter of every convention; also one equal to the textbook's value, False and 0."""
    textbook = dict(cls(arrays(0)).param_groups[0])
    for convention in cls.conventions:
        default = dict(cls(arrays(0), convention=convention).param_groups[0])
        for name in default.keys() - {"params"}:
            for value in (away(name, default[name]), away(name, textbook[name]), textbook[name], default[name]):
                if value is None:
                    continue
                for made in (
                    cls(arrays(0), convention=convention, **{name: value}),
                    cls([{"params": arrays(0), name: value}], convention=convention),
                ):
                    group = made.param_groups[0]
                    assert group[name] == value, (convention, name)
                    rest = {k: v for k, v in group.items() if k not in ("params", name)}
                    assert rest == {k: v for k, v in default.items() if k not in ("params", name)}
                    assert type(group[name]) is type(value)


@rows
def test_none_means_the_conventions_value(row: Row) -> None:
    for convention in row.cls.conventions:
        default = row.cls(arrays(0), convention=convention)
        names = default.param_groups[0].keys() - {"params"}
        opt = row.cls(arrays(0), **dict.fromkeys(names), convention=convention)
        assert contents(opt)[2] == contents(default)[2]


@rows
def test_a_convention_is_its_values(row: Row) -> None:
    """The same steps as the textbook's class with all values given: a convention does nothing else."""
    for convention in row.cls.conventions:
        opt = row.cls(arrays(0), convention=convention)
        values = {k: v for k, v in opt.param_groups[0].items() if k != "params"}
        spelled = row.cls(arrays(0), **values)
        assert contents(steps(opt, 1, 3)) == contents(steps(spelled, 1, 3))


@classes
def test_a_small_rate_makes_small_steps_in_every_convention(cls: Any) -> None:
    """No convention loses the learning rate: a hundredth of it moves the first step by a hundredth."""
    for convention in cls.conventions:
        moved = []
        for lr in (1e-2, 1e-4):
            w = np.zeros(100, np.float32)
            cls(w, lr=lr, convention=convention).step(given(np.linspace(0.5, 1.5, 100, dtype=np.float32)))
            moved.append(np.abs(w).astype(float))
        np.testing.assert_allclose(moved[0], 100 * moved[1], rtol=1e-4, err_msg=convention)
        assert (moved[0] > 0).all()


@classes
def test_repr(cls: Any) -> None:
    opt = cls([{"params": arrays(0)[2:4], "name": "weights"}, {"params": arrays(0)[4], "lr": 0.25}], convention="torch")
    opt.step(given(arrays(1)[2:]))
    text = repr(opt)
    assert text.startswith(f"{cls.__name__}(")
    for part in (
        "torch",
        "group 0",
        "group 1",
        "2 tensors",
        "32 elements",
        "24 elements",
        "step 1",
        "lr=0.25",
        "weights",
    ):
        assert part in text, (part, text)
    assert "array" not in text


# -- the step ---------------------------------------------------------------------------------------------------------


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
    assert calls == [before]  # at the first step NAG looks ahead to where it stands

    def broken() -> None:
        raise KeyError("no gradient")

    now = contents(opt)
    with pytest.raises(KeyError, match="no gradient"):
        opt.step(broken)
    assert contents(opt) == now


def test_a_step_inside_a_step_is_refused() -> None:
    """From the iterator that yields the gradients, in the middle of the step."""
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


def test_pickles_do_not_need_what_they_do_not_hold() -> None:
    """An optimizer's pickle is NumPy arrays and plain values, read back by a class of this library."""
    names = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            names.add(module.partition(".")[0])
            return super().find_class(module, name)

    for row in ROWS.values():
        Unpickler(io.BytesIO(pickle.dumps(steps(row.make(arrays(0)), 1, 1)))).load()
    assert names <= {"fastopt", "numpy", "copyreg", "builtins"}


@rows
def test_an_optimizer_goes_with_its_last_reference(row: Row) -> None:
    """No circle of references keeps its arrays until the collector comes."""
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


def test_a_numpy_scalar_is_the_gradient_of_a_0d_parameter() -> None:
    """NumPy makes one of any arithmetic on a 0-d array; but it cannot be zeroed."""
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


def test_a_state_of_another_convention_is_refused() -> None:
    a, b = fastopt.Adam(arrays(0), convention="torch"), fastopt.Adam(arrays(0))
    with pytest.raises(ValueError, match=r"'torch'.*'textbook'"):
        b.load_state_dict(a.state_dict())


def test_scalars_that_overflow_are_named() -> None:
    """η/(1 − β₁) of the first step; 1 − ηλ."""
    for opt, name in (
        (fastopt.Adam(arrays(0), lr=3e38, convention="torch"), "lr"),
        (fastopt.SGD(arrays(0), lr=1e38, weight_decay=1e38, decoupled=True), "decay"),
    ):
        before = contents(opt)
        with pytest.raises(ValueError, match=f"^{name} of the step"):
            opt.step(arrays(1))
        assert contents(opt) == before


@rows
def test_loading_is_undone_by_an_error_in_the_middle(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    opt, other = (row.make(arrays(0), lr=lr) for lr in (0.5, 0.25))
    other.step(given(arrays(1)))
    before, saved = contents(opt), other.state_dict()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(native_step, "copy_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opt.load_state_dict(saved)
    assert contents(opt) == before
    opt.load_state_dict(saved)
    assert opt.state[0]["step"] == 1
    assert opt.param_groups[0]["lr"] == 0.25
