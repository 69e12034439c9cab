"""What textbook, torch, keras, optax and sklearn mean by an optimizer, as values of plain hyper-parameters.

Each optimizer class lists its own values; here is how a list is read, and the ranges that every value must keep.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

CONVENTIONS = ("textbook", "torch", "keras", "optax", "sklearn")

LARGEST = 3.4028234663852886e38  # of float32: every scalar ends as one

#: Hyper-parameters that every optimizer has, with the textbook's values.
COMMON: dict[str, Any] = {
    "weight_decay": 0.0,
    "decoupled": False,
    "l1": 0.0,
    "clip_value": None,
    "maximize": False,
}
#: Keras subtracts lr·weight_decay·w outside the gradient everywhere; the others add weight_decay·w to the gradient.
COMMON_BY_CONVENTION: dict[str, dict[str, Any]] = {"keras": {"decoupled": True}}

Check = Callable[[str, Any], Any]


def number(low: float, high: float = LARGEST, *, below: bool = False, above: bool = False) -> Check:
    """A check for low <= x <= high; `below`: x < high, `above`: low < x."""
    interval = f"{'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"

    def check(name: str, value: Any) -> float:
        if type(value) is not float and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
            raise TypeError(f"{name} must be a number, got {value!r}")
        try:
            x = float(value)
        except OverflowError:  # an int beyond every float
            x = math.nan
        inside = (low < x if above else low <= x) and (x < high if below else x <= high)
        if not inside:  # NaN is never inside
            raise ValueError(f"{name} must be in {interval}, got {value!r}")
        return x

    return check


def flag(name: str, value: Any) -> bool:
    """A check for True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


fraction = number(0.0, 1.0, below=True)
nonnegative = number(0.0)
positive = number(0.0, above=True)


def learning_rate(name: str, value: Any) -> float | Callable[[int], Any]:
    """A check for a number >= 0 or a schedule: a callable from the count of steps done (0, 1, …) to such a number."""
    if callable(value):
        return value  # type: ignore[no-any-return]
    return float(nonnegative(name, value))


def pair_of_fractions(name: str, value: Any) -> tuple[float, float]:
    """A check for two numbers in [0, 1)."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name} must be a pair of numbers, got {value!r}")
    return fraction(f"{name}[0]", value[0]), fraction(f"{name}[1]", value[1])


def optional(check: Check) -> Check:
    """The same check, or None."""
    return lambda name, value: None if value is None else check(name, value)


#: The range of each hyper-parameter that an optimizer may have. A class may add its own in `checks`.
CHECKS: dict[str, Check] = {
    "lr": learning_rate,
    "momentum": fraction,
    "dampening": number(0.0, 1.0),
    "betas": pair_of_fractions,
    "alpha": fraction,
    "rho": fraction,
    "eps": nonnegative,
    "eps_root": nonnegative,
    "lr_decay": nonnegative,
    "initial_accumulator_value": nonnegative,
    "weight_decay": nonnegative,
    "l1": nonnegative,
    "clip_value": optional(positive),
    **dict.fromkeys(
        (
            "decoupled",
            "maximize",
            "amsgrad",
            "centered",
            "nesterov",
            "lookahead",
            "eps_in_sqrt",
            "lr_in_momentum",
            "corrected_v",
            "max_corrected_v",
        ),
        flag,
    ),
}


def resolve(optimizer: str, table: Mapping[str, Mapping[str, Any]], convention: str) -> dict[str, Any]:
    """Every hyper-parameter's value under this convention: the textbook's, where the table says nothing else."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be one of {', '.join(CONVENTIONS)}, got {convention!r}")
    if convention not in table:
        raise ValueError(f"convention {convention!r} does not define {optimizer}; it is defined by {', '.join(table)}")
    return {**table["textbook"], **COMMON, **COMMON_BY_CONVENTION.get(convention, {}), **table[convention]}


def scheduled(lr: float | Callable[[int], Any], count: int) -> float:
    """The learning rate of the step after `count` steps."""
    if not callable(lr):
        return lr
    value = lr(count)
    try:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        x = float(value)  # also of a 0-d array, as optax returns it
    except (TypeError, ValueError):
        raise TypeError(f"lr({count}) must be a number, got {value!r}") from None
    except OverflowError:
        x = math.inf
    if not 0.0 <= x <= LARGEST:
        raise ValueError(f"lr({count}) must be a finite number >= 0, got {value!r}")
    return x
