"""The conventions of the textbook, torch, keras, optax and sklearn, each as values of plain hyper-parameters.

Each optimizer class has a table of its values. This module reads the tables and knows the range of every value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastopt._checks import LARGEST, Check, as_float32, flag, nonnegative, number, optional, pair, positive

CONVENTIONS = ("textbook", "torch", "keras", "optax", "sklearn")

#: Hyper-parameters that every optimizer has, with the textbook's values.
COMMON: dict[str, Any] = {
    "weight_decay": 0.0,
    "decoupled": False,
    "l1": 0.0,
    "clip_value": None,
    "maximize": False,
}
#: In Keras weight decay is always decoupled: W ← W − lr·weight_decay·W. The others add weight_decay·W to the gradient.
COMMON_BY_CONVENTION: dict[str, dict[str, Any]] = {"keras": {"decoupled": True}}

LARGE_EPS = 1e-12


fraction = partial(as_float32, low=0.0, high=1.0, below=True)


def eps_warning(given: Mapping[str, Any], current: Mapping[str, Any], usual: float) -> str | None:
    """A message if `given` has an eps inside the root that looks like one outside it.

    usual: the convention's own eps. No message if `given` also says where eps is.
    """
    eps = given.get("eps", 0.0)
    if not eps >= LARGE_EPS > usual or "eps_in_sqrt" in given or not current.get("eps_in_sqrt"):
        return None
    return (
        f"eps={eps!r} is inside the root here, √(v + eps), where it is far larger than usual: "
        f"give eps**2 (about {eps * eps:.0e}) instead, or eps_in_sqrt=False for √v + eps"
    )


def learning_rate(name: str, value: Any) -> float | Callable[[int], Any]:
    """A number >= 0, or a schedule: a callable that returns one, given the number of earlier steps (0, 1, …)."""
    if callable(value):
        return value  # type: ignore[no-any-return]
    return nonnegative(name, value)


#: The range of each hyper-parameter that an optimizer may have. A class may add its own in `checks`.
CHECKS: dict[str, Check] = {
    "lr": learning_rate,
    "momentum": fraction,
    "dampening": partial(number, low=0.0, high=1.0),
    "betas": partial(pair, check=fraction),
    "alpha": fraction,
    "rho": fraction,
    "eps": nonnegative,
    "eps_root": nonnegative,
    "lr_decay": partial(number, low=0.0, high=LARGEST),
    "initial_accumulator_value": nonnegative,
    "weight_decay": nonnegative,
    "l1": nonnegative,
    "clip_value": partial(optional, positive),
    **dict.fromkeys(("decoupled", "maximize", "amsgrad", "centered", "nesterov", "lookahead"), flag),
    **dict.fromkeys(("eps_in_sqrt", "lr_in_momentum", "corrected_v", "max_corrected_v"), flag),
}


def resolve(optimizer: str, table: Mapping[str, Mapping[str, Any]], convention: str) -> dict[str, Any]:
    """All hyper-parameters under this convention. Those that its table does not list have the textbook's values."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be one of {', '.join(CONVENTIONS)}, got {convention!r}")
    if convention not in table:
        raise ValueError(f"convention {convention!r} does not define {optimizer}, but {', '.join(table)} do")
    return {**table["textbook"], **COMMON, **COMMON_BY_CONVENTION.get(convention, {}), **table[convention]}


def scheduled(lr: float | Callable[[int], Any], count: int) -> float:
    """The learning rate of the step after `count` steps."""
    if not callable(lr):
        return lr
    value = lr(count)
    try:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        x = float(value)  # a number or a 0-d array, which optax's schedules return
    except (TypeError, ValueError):
        raise TypeError(f"lr({count}) must be a number, got {value!r}") from None
    except OverflowError:
        x = math.inf
    if not 0.0 <= x <= LARGEST:
        raise ValueError(f"lr({count}) must be a finite number >= 0, got {value!r}")
    return x
