"""One in-place function per update rule, on arrays that the caller owns. Kernels and checks are the optimizers' own.

Each row of csrc/rules.h has a function like `adam_(param, grad, exp_avg, exp_avg_sq, *, step, lr=..., betas=..., ...)`:
sgd_, momentum_, nesterov_, nag_, adagrad_, adadelta_, rmsprop_, rmsprop_centered_, rmsprop_momentum_,
rmsprop_centered_momentum_, adam_, amsgrad_. They are generated from the optimizer classes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastopt._checks import flag, nonnegative, warn
from fastopt._native import runtime
from fastopt._native import step as native_step
from fastopt._types import Array
from fastopt.conventions import COMMON, eps_warning, fraction, resolve, scheduled
from fastopt.optimizer import LR, MAX_STEPS, Corrections, Optimizer, any_norm, any_number, prelude
from fastopt.param_groups import check_values

Tensors = Array | Sequence[Array]


class Recipe(NamedTuple):
    """The scalars that follow from a call's hyper-parameters, whatever its step is."""

    lr: LR
    scalars: Callable[[float, int], dict[str, float]]  # arguments: the learning rate and the step
    corrections: Corrections
    warning: str | None


def _recipe(rule: str, convention: str, given: dict[str, Any]) -> Recipe:
    """Check the hyper-parameters of a call. Cached if all are floats, because training loops repeat the same call."""
    plain = type(convention) is str
    for value in given.values():  # 1 == 1.0 == True for a cache, but the checks tell them apart
        plain &= type(value) is float or (type(value) is tuple and all(type(x) is float for x in value))
    return (_remembered if plain else _make_recipe)(rule, convention, tuple(given.items()))


def _make_recipe(rule: str, convention: str, given: Iterable[tuple[str, Any]]) -> Recipe:
    cls = Optimizer.registry[rule]
    implied = cls.implied.get(rule, {})
    defaults = resolve(cls.__name__, cls.conventions, convention)
    known = defaults.keys() - implied.keys()
    values = {name: value for name, value in given if value is not None}
    checked = check_values(f"{rule}_", values, known=known, checks=cls.checks)
    warning = eps_warning(checked, defaults, defaults.get("eps", 1.0))
    h = {**defaults, **checked, **implied}
    if callable(h["lr"]) or cls.depends_on_step(h):
        return Recipe(h["lr"], lambda lr, t: {**cls.scalars(h, lr, t), **prelude(h, lr)}, cls.corrections(h), warning)
    fixed = {**cls.scalars(h, h["lr"], 1), **prelude(h, h["lr"])}
    return Recipe(h["lr"], lambda lr, t: fixed, cls.corrections(h), warning)


_remembered = functools.lru_cache(maxsize=256)(_make_recipe)


def _lists(names: Sequence[str], buffers: Sequence[Tensors]) -> tuple[bool, list[list[Array]]]:
    """Return whether the buffers are single arrays, and each buffer as a list of arrays."""
    single = not isinstance(buffers[0], (list, tuple))
    if single:
        return True, [[b] for b in buffers]  # type: ignore[list-item]
    lists = [list(b) if isinstance(b, (list, tuple)) else [b] for b in buffers]
    for name, arrays in zip(names, lists, strict=True):
        if len(arrays) != len(lists[0]):
            raise ValueError(f"{name} has {len(arrays)} arrays, {names[0]} has {len(lists[0])}")
    return False, lists  # type: ignore[return-value]


def _as_step(step: Any) -> int:
    """Convert a NumPy integer to int; ValueError for anything else."""
    if isinstance(step, np.integer) and 1 <= step <= MAX_STEPS:
        return int(step)
    raise ValueError(f"step must be an int in [1, 2**53], got {step!r}")


def _update(
    rule: str,
    names: tuple[str, ...],
    param: Tensors,
    grad: Tensors,
    states: tuple[Tensors, ...],
    step: int,
    convention: str,
    options: dict[str, Any],
    hyper: dict[str, Any],
) -> float | None:
    if len(states) != len(names) - 1:
        raise TypeError(f"{rule}_() takes param, grad, {', '.join(names[1:])}: got {len(states)} states")
    if not isinstance(step, int) or isinstance(step, bool) or not 1 <= step <= MAX_STEPS:
        step = _as_step(step)
    recipe = _recipe(rule, convention, hyper)
    if recipe.warning is not None:
        warn(recipe.warning)
    lr = scheduled(recipe.lr, step - 1)
    single, lists = _lists(("param", "grad", *names[1:]), (param, grad, *states))
    groups = [(rule, list(zip(lists[0], *lists[2:], strict=True)))]
    array_step = native_step.ArrayStep(groups, [("param", *names[1:])], single)
    array_step.set(0, recipe.scalars(lr, int(step)), recipe.corrections, int(step))
    max_norm = options.get("max_norm")
    norm: float | None = array_step.step(
        lists[1][0] if single else lists[1],
        any_number("grad_scale", options.get("grad_scale", 1.0)),
        None if max_norm is None else any_norm("max_norm", max_norm),
        flag("skip_nonfinite", options.get("skip_nonfinite", False)),
        flag("zero_grads", options.get("zero_grads", False)),
    )
    return norm


def _signature(cls: type[Optimizer], rule: str) -> inspect.Signature:
    positional = [
        inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in ("param", "grad", *cls.rules[rule])
    ]
    own = [n for n in cls.conventions["textbook"] if n not in cls.implied.get(rule, {}) and n not in COMMON]
    defaults = {
        "step": inspect.Parameter.empty,
        **dict.fromkeys(own),
        **dict.fromkeys(COMMON),
        "convention": "textbook",
    }
    defaults |= {"max_norm": None, "grad_scale": 1.0, "zero_grads": False, "skip_nonfinite": False}
    keywords = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d) for n, d in defaults.items()]
    return inspect.Signature([*positional, *keywords], return_annotation="float | None")


_OPTIONS = ("max_norm", "grad_scale", "zero_grads", "skip_nonfinite")


def _function(cls: type[Optimizer], rule: str) -> Callable[..., float | None]:
    names = ("param", *cls.rules[rule])
    signature = _signature(cls, rule)

    def function(param: Tensors, grad: Tensors, *states: Tensors, step: int, **hyper: Any) -> float | None:
        options = {k: hyper.pop(k) for k in _OPTIONS if k in hyper}
        convention = hyper.pop("convention", "textbook")
        if len(states) < len(names) - 1:  # the other states are keyword arguments
            states += tuple(hyper.pop(n) for n in names[1 + len(states) :] if n in hyper)
        return _update(rule, names, param, grad, states, step, convention, options, hyper)

    function.__name__ = function.__qualname__ = f"{rule}_"
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__doc__ = f"""One in-place step of {cls.__name__}, rule {rule!r}.

    param, grad, {", ".join(cls.rules[rule]) or "no states"}: float32 arrays of one shape, or lists of such arrays.
    step = 1, 2, ... The others are the arguments of fastopt.{cls.__name__} and of its step(). None is the convention's
    value. Returns the gradients' global norm if max_norm or skip_nonfinite is set, else None.

    {cls.__doc__}"""
    return function


__all__ = [f"{rule}_" for rule in runtime.RULES]
for _rule in runtime.RULES:
    globals()[f"{_rule}_"] = _function(Optimizer.registry[_rule], _rule)


def lookahead_(param: Tensors, momentum_buffer: Tensors, origin: Tensors, *, lr: float, momentum: float = 0.9) -> None:
    """origin ← W;  W ← W − lr·momentum·a. Take nag_'s gradient there, then restore W with param[...] = origin."""
    shift = nonnegative("lr", lr) * fraction("momentum", momentum)
    single, (params, buffers, origins) = _lists(
        ("param", "momentum_buffer", "origin"), (param, momentum_buffer, origin)
    )
    groups = [("nag", list(zip(params, buffers, strict=True)))]
    array_step = native_step.ArrayStep(groups, [("param", "momentum_buffer")], single)
    array_step.look_ahead(origins, [shift])


__all__ += ["lookahead_"]


def __getattr__(name: str) -> Callable[..., float | None]:  # type checkers do not see the functions generated above
    raise AttributeError(f"fastopt.functional has no function {name!r}; it has {', '.join(__all__)}")
