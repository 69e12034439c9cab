"""fastopt.functional: each function computes the same bits as its class, on buffers that the caller owns.

Bad arguments are tested in test_bad_functional.py.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import functional
from fastopt._native import runtime
from tests.support.rows import ROWS, Array, Row, core, variants

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
SHAPES: list[tuple[int, ...]] = [(3, 4), (), (0, 2), (17,), (2, 3, 2)]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"max_norm": 0.5},
    {"grad_scale": -0.25},
    {"zero_grads": True},
    {"max_norm": 0.5, "grad_scale": 3.0, "zero_grads": True, "skip_nonfinite": True},
]


def arrays(seed: int, order: Any = "C") -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.array(rng.normal(size=shape), np.float32, order=order) for shape in SHAPES]


def function(row: Row) -> Any:
    return getattr(functional, f"{row.rule}_")


def arguments(row: Row, values: dict[str, Any]) -> dict[str, Any]:
    """The arguments that class and function share: all but those that the rule implies."""
    implied = row.cls.implied.get(row.rule, {})
    return {k: v for k, v in {**row.chosen, **values}.items() if k not in implied}


def states_of(opt: Any) -> list[list[Array]]:
    """The states of all parameters, by name."""
    names = [name for name in opt.state[0] if name != "step"]
    return [[np.copy(state[name], order="K") for state in opt.state] for name in names]


@rows
def test_functions_give_the_bits_of_their_classes(row: Row) -> None:
    """Every variant and every option over four steps, with lists, single arrays and keyword arguments."""
    for label, values in variants(row):
        for options in OPTIONS if label == "all away" else OPTIONS[-1:]:
            keep = {k: v for k, v in options.items() if k != "skip_nonfinite"}
            opt = row.make(arrays(0), **values, skip_nonfinite="skip_nonfinite" in options)
            params, states = arrays(0), states_of(opt)
            singly, single_states = arrays(0), states_of(opt)
            for t in range(1, 5):
                grads, mine = arrays(t), arrays(t)
                norm = opt.step(lambda grads=grads: grads, **keep)
                call = {"step": t, **arguments(row, values), **options}
                assert function(row)(params, mine, *states, **call) == norm
                for i, (p, g) in enumerate(zip(singly, arrays(t), strict=True)):
                    if "max_norm" not in options:
                        named = dict(zip(row.cls.rules[row.rule], (s[i] for s in single_states), strict=True))
                        function(row)(param=p, grad=g, **named, **call)
                where = f"{label}, {options}, step {t}"
                for i, p in enumerate(opt.param_groups[0]["params"]):
                    assert params[i].tobytes() == p.tobytes(), where
                    assert mine[i].tobytes() == grads[i].tobytes(), where
                    if "max_norm" not in options:
                        assert singly[i].tobytes() == p.tobytes(), where
                for theirs, name in zip(states, row.cls.rules[row.rule], strict=True):
                    for a, state in zip(theirs, opt.state, strict=True):
                        assert a.tobytes() == state[name].tobytes(), (where, name)


@rows
def test_large_arrays_use_several_threads(row: Row) -> None:
    n = 3 * runtime.TILE + 5
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=(2, n)).astype(np.float32)
    ends = []
    for threads in (1, 3):
        buffers = [w.copy(), g.copy(), *(np.abs(w) + k for k in range(len(row.cls.rules[row.rule])))]
        with core(threads=threads, threshold=0):
            norm = function(row)(*buffers, step=3, max_norm=1.0)
        ends.append((norm, [b.tobytes() for b in buffers]))
    assert ends[0] == ends[1]


@rows
def test_fortran_order_and_any_gradient(row: Row) -> None:
    count = len(row.cls.rules[row.rule])
    ends = []
    for order in ("C", "F"):
        for gradient in (lambda g: g, np.asfortranarray, lambda g: np.repeat(g, 2, axis=0)[::2]):
            buffers = [np.abs(arrays(k, order)[0]) for k in range(count + 1)]
            g = gradient(arrays(99)[0])
            function(row)(buffers[0], g, *buffers[1:], step=2, zero_grads=True)
            assert not g.any()
            ends.append([b.tolist() for b in buffers])
    assert all(end == ends[0] for end in ends)


@rows
def test_a_schedule_is_called_with_the_number_of_earlier_steps(row: Row) -> None:
    asked = []
    count = len(row.cls.rules[row.rule])
    a, b = (arrays(0)[0] for _ in range(2))
    states = [[np.ones_like(a) for _ in range(count)] for _ in range(2)]
    function(row)(a, arrays(1)[0], *states[0], step=5, lr=lambda k: asked.append(k) or 0.25)
    function(row)(b, arrays(1)[0], *states[1], step=5, lr=0.25)
    assert asked == [4]
    assert a.tobytes() == b.tobytes()


@rows
def test_skip_nonfinite(row: Row) -> None:
    count = len(row.cls.rules[row.rule])
    buffers = [np.ones(5, np.float32) for _ in range(count + 1)]
    g = np.array([1, 2, np.nan, 4, 5], np.float32)
    before = [b.tobytes() for b in (*buffers, g)]
    norm = function(row)(buffers[0], g, *buffers[1:], step=1, skip_nonfinite=True, zero_grads=True)
    assert np.isnan(norm)
    assert [b.tobytes() for b in (*buffers, g)] == before
    assert function(row)(buffers[0], g, *buffers[1:], step=1) is None
    assert np.isnan(buffers[0]).tolist() == [False, False, True, False, False]


@rows
def test_signature_and_documentation(row: Row) -> None:
    f = function(row)
    states = row.cls.rules[row.rule]
    parameters = inspect.signature(f).parameters
    kinds = {name: p.kind for name, p in parameters.items()}
    assert list(parameters)[: 3 + len(states)] == ["param", "grad", *states, "step"]
    assert all(kinds[name] is inspect.Parameter.POSITIONAL_OR_KEYWORD for name in ("param", "grad", *states))
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for kind in list(kinds.values())[2 + len(states) :])
    assert parameters["step"].default is inspect.Parameter.empty
    assert parameters["convention"].default == "textbook"
    hyper = row.make(np.zeros(1, np.float32)).param_groups[0].keys() - {"params"}
    implied = row.cls.implied.get(row.rule, {}).keys()
    options = {"max_norm", "grad_scale", "zero_grads", "skip_nonfinite"}
    assert parameters.keys() == {"param", "grad", *states, "step", "convention"} | options | (hyper - implied)
    # every name of the signature is accepted
    buffers = [np.ones(3, np.float32) for _ in range(2 + len(states))]
    defaults = {k: p.default for k, p in parameters.items() if p.default is not inspect.Parameter.empty}
    f(*buffers, step=1, **defaults)
    assert f.__name__ == f.__qualname__ == f"{row.rule}_"
    assert f.__name__ in functional.__all__
    for word in (row.cls.__name__, repr(row.rule), *states, "step = 1, 2"):
        assert word in f.__doc__
    assert f.__module__ == "fastopt.functional"


def test_names() -> None:
    assert set(functional.__all__) == {f"{rule}_" for rule in runtime.RULES} | {"lookahead_"}
    assert fastopt.functional is functional
    with pytest.raises(AttributeError, match=r"no function 'adamw_'; it has .*adam_"):
        functional.adamw_  # noqa: B018


@rows
def test_calls_that_are_refused(row: Row) -> None:
    f, names = function(row), ("param", "grad", *row.cls.rules[row.rule])
    buffers = [np.ones(3, np.float32) for _ in names]
    before = [b.tobytes() for b in buffers]
    for step in (0, -1, 1.0, "1", None, True, 1.5, np.float32(2)):
        with pytest.raises((TypeError, ValueError), match="step"):
            f(*buffers, step=step)
    with pytest.raises(TypeError, match="step"):
        f(*buffers)
    for wrong in (buffers[:-1], [*buffers, np.ones(3, np.float32)]):
        with pytest.raises(TypeError, match=r"param|grad"):
            f(*wrong, step=1)
    implied = row.cls.implied.get(row.rule, {})
    for name, value in implied.items():
        with pytest.raises(TypeError, match=name):
            f(*buffers, step=1, **{name: value})
    for convention in ("pytorch", None, 3):
        with pytest.raises(ValueError, match="convention"):
            f(*buffers, step=1, convention=convention)
    for k, name in enumerate(names):
        lists: list[Any] = [[b, np.ones(2, np.float32)] for b in buffers]
        lists[k] = lists[k][:1]
        with pytest.raises(ValueError, match=rf"({name}|{names[1]}) has \d arrays, param has \d"):
            f(*lists, step=1)
        lists[k] = buffers[k]  # one array among lists
        with pytest.raises((TypeError, ValueError), match="got list|has 1 arrays" if k else "must be a float32"):
            f(*lists, step=1)
    assert [b.tobytes() for b in buffers] == before
    f(*buffers, step=np.int64(1))


def test_empty_lists_are_accepted() -> None:
    for row in ROWS.values():
        assert function(row)([], [], *([] for _ in row.cls.rules[row.rule]), step=1, max_norm=1.0) == 0.0


def test_no_reference_to_an_array_remains() -> None:
    """After a call, fastopt holds no reference to the caller's arrays."""
    for row in ROWS.values():
        buffers = [np.ones(3, np.float32) for _ in range(2 + len(row.cls.rules[row.rule]))]
        before = [sys.getrefcount(b) for b in buffers]
        for t in range(1, 4):
            function(row)(*buffers, step=t, max_norm=1.0)
        assert [sys.getrefcount(b) for b in buffers] == before


def test_lookahead_and_nag_give_the_bits_of_the_class() -> None:
    opt = fastopt.NAG(arrays(0), lr=0.1, momentum=0.7)
    params, buffers = arrays(0), [np.zeros_like(p) for p in arrays(0)]
    for t in range(1, 4):
        origins = [np.empty_like(p) for p in params]
        functional.lookahead_(params, buffers, origins, lr=0.1, momentum=0.7)
        with opt.lookahead():
            for p, q, origin in zip(params, opt.param_groups[0]["params"], origins, strict=True):
                assert p.tobytes() == q.tobytes()
                assert origin.tobytes() != p.tobytes() or t == 1 or p.size == 0
            grads = [np.asarray(np.cos(p)) for p in params]
        for p, origin in zip(params, origins, strict=True):
            p[...] = origin
        opt.step(grads)
        functional.nag_(params, grads, buffers, step=t, lr=0.1, momentum=0.7)
        for p, q in zip(params, opt.param_groups[0]["params"], strict=True):
            assert p.tobytes() == q.tobytes()
    single, buffer, origin = np.ones(3, np.float32), np.full(3, 2.0, np.float32), np.zeros(3, np.float32)
    functional.lookahead_(single, buffer, origin, lr=0.5, momentum=0.5)
    assert (single.tolist(), buffer.tolist(), origin.tolist()) == ([0.5] * 3, [2.0] * 3, [1.0] * 3)


def test_lookahead_checks_its_numbers_as_the_class_does() -> None:
    w, a, origin = (np.ones(3, np.float32) for _ in range(3))
    for bad in ({"lr": -1.0}, {"lr": "x"}, {"lr": np.nan}, {"lr": 0.1, "momentum": -0.1}, {"lr": True}):
        with pytest.raises((TypeError, ValueError), match=r"lr|momentum"):
            functional.lookahead_(w, a, origin, **bad)
    for momentum in (1.0, 1.5):
        with pytest.raises(ValueError, match="momentum"):
            functional.lookahead_(w, a, origin, lr=0.1, momentum=momentum)
    for wrong in (([w, w.copy()], [a], [origin]), ([w], [a], [origin, origin.copy()]), ([w], [], [origin])):
        with pytest.raises(ValueError, match=r"has \d arrays, param has \d"):
            functional.lookahead_(*wrong, lr=0.1)
    assert (w == 1).all()
