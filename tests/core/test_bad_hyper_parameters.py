"""Hyper-parameters and options out of range: the error names the argument and its value, and nothing changes."""

from __future__ import annotations

import contextlib
import copy
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import functional
from fastopt._native import step as native_step
from tests.support.bad_input import LARGEST, buffers_of, call, floats, goes_on, grads_for, refused
from tests.support.rows import ROWS, Row, contents, given

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


BELOW_ONE = float(np.nextafter(1.0, 0.0))


SMALLEST = float(np.finfo(np.float32).tiny)


TOO_SMALL = float(np.nextafter(SMALLEST, 0.0))


ABOVE = float(np.nextafter(LARGEST, np.inf))


HALF_OPEN = (
    [0.0, -0.0, 0, 0.5, BELOW_ONE, np.float32(0.5), Fraction(1, 2), SMALLEST],
    [1.0, 1, -1e-30, -1.0, 1.5, TOO_SMALL, 5e-324],
)


POSITIVE_OR_0 = (
    [0.0, 0, SMALLEST, 1.0, np.int64(3), np.float16(2), LARGEST],
    [-1e-30, -1, TOO_SMALL, 1e-50, ABOVE, 10**300],
)


HUGE = 10**400  # beyond every float


#: name -> allowed values (at the bounds and inside), refused values (just outside and far outside)
RANGES: dict[str, tuple[list[Any], list[Any]]] = {
    **dict.fromkeys(("momentum", "alpha", "rho"), HALF_OPEN),
    "dampening": ([0.0, 1.0, 1, 0.5], [-5e-324, float(np.nextafter(1.0, 2.0)), -1, 2]),
    **dict.fromkeys(("lr", "eps", "eps_root", "initial_accumulator_value", "weight_decay", "l1"), POSITIVE_OR_0),
    "lr_decay": ([0.0, 5e-324, 1.0, LARGEST], [-5e-324, -1, ABOVE]),
    "clip_value": ([SMALLEST, 1.0, LARGEST], [0.0, 0, -0.0, -1.0, TOO_SMALL, ABOVE]),
}


NO_NUMBERS = [float("nan"), float("inf"), -float("inf"), "0.5", b"0", True, False, np.True_, 0.5j, (0.5,)]


FLAGS = {
    *("decoupled", "maximize", "amsgrad", "centered", "nesterov", "lookahead"),
    *("eps_in_sqrt", "lr_in_momentum", "corrected_v", "max_corrected_v"),
}


NO_FLAGS = [0, 1, 1.0, "True", "", (), float("nan"), np.int8(1)]


PAIRS = {
    "betas": (
        [(0.0, 0.0), (0.9, 0.999), [0.5, 0.5], (BELOW_ONE, BELOW_ONE), (0, np.float32(0.5))],
        [(1.0, 0.5), (0.5, 1.0), (-0.1, 0.5), (0.5, -0.1), (float("nan"), 0.5), (0.5, float("inf")), ("0.5", 0.5)],
        [0.9, "ab", (0.9,), (0.9, 0.9, 0.9), (), object()],
    )
}


def hyper_parameters(row: Row) -> list[str]:
    """Hyper-parameters whose ranges are in RANGES; a new optimizer states the ranges of its own ones in `checks`."""
    names = [k for k in row.make(floats()).param_groups[0] if k != "params" and k not in row.cls.checks]
    assert not [k for k in names if k not in RANGES and k not in PAIRS and k not in FLAGS], "add its range above"
    return names


def cases(name: str) -> tuple[list[Any], list[tuple[Any, str]]]:
    """Allowed values, and refused values with the text that the message must quote."""
    if name in FLAGS:
        return [True, False, np.True_], [(v, repr(v)) for v in NO_FLAGS]
    if name in PAIRS:
        good, outside, other = PAIRS[name]
        wrong = [(v, repr(next(x for x in v if not (isinstance(x, float) and 0 <= x < 1)))) for v in outside]
        return good, [*wrong, *((v, repr(v)) for v in other)]
    good, outside = RANGES[name]
    return good, [(v, repr(v)) for v in (*outside, *NO_NUMBERS)]


@rows
def test_hyper_parameters_out_of_range(row: Row) -> None:
    opt = row.make([floats(), floats(3)])
    opt.step(given(grads_for(opt)))
    twin = copy.deepcopy(opt)
    for name in hyper_parameters(row):
        for value, quoted in cases(name)[1]:
            w = floats()
            with refused(name, quoted, unchanged=[w]):
                row.cls(w, **{**row.chosen, name: value})
            with refused(name, quoted, unchanged=[w]):
                row.cls([{"params": w, **row.chosen, name: value}])
            with refused(name, quoted, unchanged=[opt]):
                opt.param_groups[0][name] = value
            with refused(name, quoted, unchanged=[opt, w]):
                opt.add_param_group({"params": w, name: value})
            if name not in row.cls.implied.get(row.rule, {}):
                buffers = buffers_of(row)
                with refused(name, quoted, unchanged=[*buffers.values()]):
                    call(row, buffers, **{name: value})
        if name != "clip_value":
            with refused(name, "None", unchanged=[opt]):
                opt.param_groups[0][name] = None
    goes_on(opt, twin)


def test_integers_beyond_every_float() -> None:
    for row in ROWS.values():
        opt = row.make(floats())
        for name in hyper_parameters(row):
            for value in (HUGE, -HUGE, Fraction(HUGE)):
                with refused(name, unchanged=[opt]):
                    row.cls(floats(), **{**row.chosen, name: value})
                with refused(name, unchanged=[opt]):
                    opt.param_groups[0][name] = value
        for option in ("max_norm", "grad_scale"):
            with refused(option, unchanged=[opt]):
                opt.step(floats, **{option: HUGE})


def test_step_beyond_every_float() -> None:
    """Bias corrections are 1 at such a step: it is accepted or refused, but raises no OverflowError."""
    for row in ROWS.values():
        with contextlib.suppress(TypeError, ValueError):
            call(row, buffers_of(row), step=HUGE)


@rows
def test_hyper_parameters_at_their_bounds(row: Row) -> None:
    for name in hyper_parameters(row):
        for value in cases(name)[0]:
            opt = row.cls(floats(), **{**row.chosen, name: value})
            got = opt.param_groups[0][name]
            assert got == (tuple(value) if isinstance(value, list) else value)
            assert type(got) in (float, bool, tuple)
            if row.cls.rule_of(opt.param_groups[0]) == row.rule:
                group = row.make(floats()).param_groups[0]
                group[name] = value
                assert group[name] == got
    assert row.make(floats()).param_groups[0]["clip_value"] is None


def test_a_number_that_the_cache_of_functional_has_seen_is_still_checked() -> None:
    """1.0 == 1 == True: a cache of checked arguments must tell them apart."""
    w, g = floats(), floats(seed=1)
    good = {"lr": 1.0, "maximize": True, "weight_decay": 0.0}
    functional.sgd_(w, g, step=1, **good)
    for name, bad in [("lr", True), ("maximize", 1), ("weight_decay", False)]:
        with refused(name, unchanged=[w, g], kind=TypeError):
            functional.sgd_(w, g, step=1, **{**good, name: bad})


def test_unhashable_arguments_are_named() -> None:
    w, g = floats(), floats(seed=1)
    for name, value in [("lr", np.array(0.1)), ("l1", [0.1]), ("weight_decay", {}), ("convention", ["torch"])]:
        with refused(name, unchanged=[w, g]):
            functional.sgd_(w, g, step=1, **{name: value})
        with refused(name, unchanged=[w]):
            fastopt.SGD(w, **{name: value})


@rows
def test_unknown_names(row: Row) -> None:
    opt = row.make(floats())
    for name in ("learning_rate", "Lr", "", "params_", "skip_nonfinite", "convention", "step", "steps", "state"):
        with refused(repr(name), unchanged=[opt], kind=TypeError):
            opt.param_groups[0][name] = 0.1
        with refused(repr(name), unchanged=[opt], kind=TypeError):
            opt.add_param_group({"params": floats(), name: 0.1})
        with refused(repr(name), kind=TypeError):
            row.cls([{"params": floats(), name: 0.1}])
    for name in ("learning_rate", "Lr", "steps", "foreach", "fused"):
        with refused(repr(name), kind=TypeError):
            row.cls(floats(), **{name: 0.1})
        with refused(repr(name), kind=TypeError):
            call(row, buffers_of(row), **{name: 0.1})


def test_unknown_conventions() -> None:
    for cls in {row.cls for row in ROWS.values()} | {fastopt.AdamW}:
        for bad in ("pytorch", "Torch", "", None, 3, ("torch",)):
            with refused("convention", "textbook, torch, keras, optax, sklearn", repr(bad), kind=ValueError):
                cls(floats(), convention=bad)


@pytest.mark.parametrize("name", ["Adagrad", "Adadelta", "RMSprop", "AdamW"])
def test_sklearn_has_only_sgd_and_adam(name: str) -> None:
    with refused("sklearn", name, kind=ValueError):
        getattr(fastopt, name)(floats(), convention="sklearn")


def test_options_of_a_step_out_of_range() -> None:
    nan, inf = float("nan"), float("inf")
    for row in ROWS.values():
        opt = row.make(floats())
        opt.step(given(floats(seed=1)))
        g = floats(seed=2)
        for bad in (-1.0, -5e-324, nan, -inf, "1", True, 1j, [1.0], ()):
            with refused("max_norm", repr(bad), unchanged=[opt, g]):
                opt.step(given(g), max_norm=bad, zero_grads=True)
        for bad in (nan, inf, -inf, "1", None, 1j, [1.0], False, ABOVE, -ABOVE, np.array([2.0])):
            with refused("grad_scale", repr(bad), unchanged=[opt, g]):
                opt.step(given(g), grad_scale=bad, zero_grads=True)
        opt.step(given(g), max_norm=0, grad_scale=-0.5)
        assert opt.step(given(g), max_norm=inf) == opt.step(given(g), max_norm=ABOVE) > 0
        assert opt.step(given(g), max_norm=np.float32(inf)) == opt.step(given(g), max_norm=inf)


@pytest.mark.parametrize("bad", [True, np.array(1.0), np.array([1.0, 2.0])], ids=["True", "0-d", "two"])
def test_grad_scale_is_one_number(bad: Any) -> None:
    opt = fastopt.SGD(floats())
    with refused("grad_scale", unchanged=[opt], kind=TypeError):
        opt.step(floats(), grad_scale=bad)
    with refused("grad_scale", kind=TypeError):
        functional.sgd_(floats(), floats(seed=1), step=1, grad_scale=bad)
    with refused("max_norm", kind=TypeError):
        opt.step(floats(), max_norm=bad)


def test_skip_nonfinite_is_a_flag() -> None:
    for bad in ("no", 1, 0.0, [], np.array([True, False])):
        with refused("skip_nonfinite", repr(bad), kind=TypeError):
            fastopt.SGD(floats(), skip_nonfinite=bad)
        with refused("skip_nonfinite", repr(bad), kind=TypeError):
            functional.sgd_(floats(), floats(seed=1), step=1, skip_nonfinite=bad)


def test_zero_grads_is_a_flag() -> None:
    """The string "no" is true in Python and would set the gradients to zero."""
    opt, g = fastopt.SGD(floats()), floats(seed=1)
    for bad in ("no", 1, 0.0, None, [], np.array([True, False])):
        with refused("zero_grads", repr(bad), unchanged=[opt, g], kind=TypeError):
            opt.step(g, zero_grads=bad)
        with refused("zero_grads", repr(bad), unchanged=[g], kind=TypeError):
            functional.sgd_(floats(), g, step=1, zero_grads=bad)
    opt.step(g, zero_grads=np.True_)
    assert not g.any()


def test_rates_that_schedules_return() -> None:
    for row in ROWS.values():
        rates: list[Any] = [0.1]
        w, g = floats(), floats(seed=1)
        opt = row.make([w], lr=lambda _, rates=rates: rates[0])
        opt.step(given([g]))
        twin = copy.deepcopy(opt)
        for bad in (float("nan"), float("inf"), -1e-9, ABOVE, None, "0.1", 1j, [0.1], True, HUGE):
            rates[0] = bad
            with refused("lr(1)", "" if bad == HUGE else repr(bad), unchanged=[opt, g]):
                opt.step(given([g]), zero_grads=True)
        rates[0] = 0.1
        goes_on(opt, twin)


def test_a_schedule_that_fails_changes_nothing() -> None:
    def broken(count: int) -> float:
        if count:
            raise KeyError(count)
        return 0.1

    opt = fastopt.Adam([{"params": floats()}, {"params": floats(3), "lr": broken}, {"params": floats(2)}])
    opt.step(grads_for(opt))
    opt.param_groups[0]["lr"] = 0.5  # the next step forms its scalars again, unless the second group's schedule fails
    before = contents(opt)
    for _ in range(2):
        with pytest.raises(KeyError):
            opt.step(grads_for(opt))
        assert contents(opt) == before
    opt.param_groups[1]["lr"] = 0.1
    twin = copy.deepcopy(opt)
    goes_on(opt, twin)


@rows
def test_updates_of_a_group_are_all_or_nothing(row: Row) -> None:
    opt = row.make([floats()])
    twin = copy.deepcopy(opt)
    group = opt.param_groups[0]
    for bad in ({"lr": 0.5, "weight_decay": -1.0}, {"weight_decay": 0.5, "lr": "x"}, {"lr": 0.5, "nonsense": 1}):
        with refused(unchanged=[opt]):
            group.update(bad)
        with refused(unchanged=[opt]):
            group.update(**bad)
        with refused(unchanged=[opt]):
            group |= bad
        with refused(unchanged=[opt]):
            opt.param_groups[0] |= bad
    for change in ("del", "pop", "popitem", "clear", "pop unknown"):
        with refused("removed", unchanged=[opt], kind=TypeError):
            if change == "del":
                del group["lr"]
            elif change == "pop unknown":
                group.pop("nonsense", None)
            else:
                getattr(group, change)(*(["lr"] if change == "pop" else []))
    with refused(unchanged=[opt]):
        group.setdefault("nonsense", 1)
    assert group.setdefault("lr", 7.0) == group["lr"] != 7.0
    goes_on(opt, twin)
    group |= {"lr": 0.25, "weight_decay": 0.5}
    assert (opt.param_groups[0]["lr"], opt.param_groups[0]["weight_decay"]) == (0.25, 0.5)


@rows
def test_params_of_a_group_stay(row: Row) -> None:
    w = floats()
    opt = row.make([w])
    group = opt.param_groups[0]
    for bad in ([floats()], (w,), [], None, w):
        with refused("params", unchanged=[opt, w]):
            group["params"] = bad
        with refused("params", unchanged=[opt, w]):
            group.update(lr=0.5, params=bad)
    with pytest.raises(TypeError):
        group["params"][0] = floats()
    group["params"] = group["params"]
    assert group["params"][0] is w


def test_values_that_need_other_states_are_refused() -> None:
    """Arguments that would choose another rule of the class are refused once states exist."""
    for row in ROWS.values():
        others = [other for other in ROWS.values() if other.cls is row.cls and other.rule != row.rule]
        opt = row.make([floats()])
        opt.step(given([floats(seed=1)]))
        twin = copy.deepcopy(opt)
        for other in others:
            if row.cls.rule_of({**opt.param_groups[0], **other.chosen}) == row.rule:
                continue
            with refused("states", unchanged=[opt], kind=ValueError):
                opt.param_groups[0].update({"lr": 0.5, **other.chosen})
        goes_on(opt, twin)


def test_wrong_param_groups() -> None:
    for bad in (
        [{"lr": 0.1}],
        [{}],
        [{"params": floats()}, floats()],
        [floats(), {"params": floats()}],
        [{"params": floats()}, None],
        [{"params": floats()}, {"lr": 0.1}],
        [{"params": None}],
        [{"params": 3}],
        [{"params": "w"}],
        [{"params": {"w": floats()}}],
        [{"params": [{"params": floats()}]}],
        [{"params": [[floats()]]}],
    ):
        with refused("param", kind=TypeError):
            fastopt.Adam(bad)
    opt = fastopt.Adam(floats())
    opt.step(floats(seed=1))
    twin = copy.deepcopy(opt)
    for bad in (None, [], [floats()], floats(), "params", {}, {"lr": 0.1}, {"params": None}, {"params": {"w": 1}}):
        with refused("param", unchanged=[opt], kind=TypeError):
            opt.add_param_group(bad)
    for one in (opt, twin, again := copy.deepcopy(opt)):
        one.step(floats(seed=2))  # gradients are still one array, not a list
    assert contents(opt) == contents(twin) == contents(again)


def test_messages_name_optimizers_and_what_they_have() -> None:
    with pytest.raises(TypeError, match="SGD has no hyper-parameter 'momentum'; it has clip_value, decoupled"):
        fastopt.SGD(floats(), momentum=0.9)


@pytest.mark.parametrize(
    ("corrections", "message"),
    [
        ({"lr": ((0.9, 2),)}, "power of a bias correction must be -1 or 0.5, got 2 for lr"),
        ({"lr": ((0.9, -1),) * 3}, "at most 4 corrected scalars with 2 factors"),
    ],
)
def test_an_unsupported_bias_correction(corrections: Any, message: str) -> None:
    w = np.ones(3, np.float32)
    array_step = native_step.ArrayStep([("sgd", [(w,)])], [("parameter",)], True)
    with pytest.raises(ValueError, match=message):
        array_step.set(0, {"lr": 0.1}, corrections, 1)
