"""Copies of an optimizer (deepcopy, pickle, state_dict, file) continue bit for bit; a bad one is refused."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from tests.support.rows import (
    ROWS,
    Row,
    arrays,
    contents,
    given,
    params_of,
    steps,
    variants,
)

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


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
def test_every_copy_continues_bit_for_bit(row: Row, tmp_path: Path) -> None:
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
    """Also None, set after the constructor got a number."""
    opt = fastopt.SGD(arrays(0), lr=0.5, clip_value=0.1, weight_decay=0.1)
    opt.param_groups[0].update(clip_value=None, weight_decay=0.0, lr=0.25, maximize=True)
    for other in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt)), reloaded(opt, fastopt.SGD(arrays(1)))):
        assert contents(other) == contents(opt)
    assert opt.param_groups[0]["clip_value"] is None


def test_none_in_a_group_switches_clipping_off() -> None:
    """In a group, None is a value of clip_value and means no clipping."""
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
    """It has dicts, lists, numbers, strings and arrays only: no class of fastopt, no schedule."""

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


def other_state_dict(opt: Any) -> dict[str, Any]:
    """A state_dict that `opt` can load and that differs from its own in every group and state."""
    saved: dict[str, Any] = copy.deepcopy(opt.state_dict())
    for group in saved["param_groups"]:
        group["lr"] = 0.625
        group["steps"] = 77
    for state in saved["state"]:
        state["step"] = 77
        for name in state.keys() - {"step"}:
            state[name] += 1.0
    return saved


def broken_state_dicts(opt: Any) -> Iterator[tuple[str, Any]]:
    """Labels and state_dicts that `opt` must refuse. All that precedes the damage differs from `opt`'s own state."""
    make = partial(other_state_dict, opt)
    for value in (None, [], "state", 3, {}):
        yield f"{value!r}", value
    yield from broken_entries(make)
    yield from broken_groups(make)
    yield from broken_states(make)


def broken_entries(make: Callable[[], dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """A key of the dict is missing, or its value is wrong."""
    for key in make():
        yield f"without {key}", {k: v for k, v in make().items() if k != key}
    for key, values in {
        "version": (0, 2, "1", None, 1.5),
        "optimizer": ("", "Other", None, 3),
        "skipped": (-1, 1.5, "3", "many", None, float("nan"), []),
        "param_groups": (None, [], {}, "x", 3, [None, None], [1, 2], make()["param_groups"] * 2),
        "state": (None, [], {}, "x", 3, [None] * 3, make()["state"][:-1], make()["state"] * 2),
    }.items():
        for value in values:
            yield f"{key} {value!r:.50}", {**make(), key: value}


def broken_groups(make: Callable[[], dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """A value of the last group is wrong or missing."""
    last = make()["param_groups"][-1]
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
            saved = make()
            saved["param_groups"][-1][key] = value
            yield f"{key} {value!r:.30} in the last group", saved
    for key in last:
        if key != "name":
            saved = make()
            del saved["param_groups"][-1][key]
            yield f"last group without {key}", saved


def broken_states(make: Callable[[], dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """An array or the step of the last state is wrong or missing."""
    for name in make()["state"][-1].keys() - {"step"}:
        right = make()["state"][-1][name]
        for value in (None, 0.0, right.tolist(), right.astype(float), right.astype(">f4"), right[:-1], right[None]):
            saved = make()
            saved["state"][-1][name] = value
            yield f"{name} {value!r:.30}", saved
        saved = make()
        del saved["state"][-1][name]
        yield f"without {name}", saved
    saved = make()
    saved["state"][-1]["more"] = np.zeros(3, np.float32)
    yield "more states", saved
    for step in (-1, None, "3", 76, 1.5):
        saved = make()
        saved["state"][-1]["step"] = step
        yield f"step {step!r} in the last state", saved
    saved = make()
    del saved["state"][-1]["step"]
    yield "without step", saved


@rows
def test_broken_state_dicts_change_nothing(row: Row) -> None:
    """All failures are reported together, so that one missing check does not hide another."""
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
    """Every rule refuses the state_dict of every other rule, even if the names of the states are the same."""
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


def test_pickles_contain_arrays_and_plain_values_only() -> None:
    """Unpickling imports modules of fastopt, NumPy and the standard library's copyreg and builtins only."""
    names = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            names.add(module.partition(".")[0])
            return super().find_class(module, name)

    for row in ROWS.values():
        Unpickler(io.BytesIO(pickle.dumps(steps(row.make(arrays(0)), 1, 1)))).load()
    assert names <= {"fastopt", "numpy", "copyreg", "builtins"}


def test_a_state_of_another_convention_is_refused() -> None:
    a, b = fastopt.Adam(arrays(0), convention="torch"), fastopt.Adam(arrays(0))
    with pytest.raises(ValueError, match=r"'torch'.*'textbook'"):
        b.load_state_dict(a.state_dict())
