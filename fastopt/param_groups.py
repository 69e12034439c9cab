"""A param group: parameters and their hyper-parameters. Every assignment is checked. Knows no optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from fastopt._checks import Check, warn
from fastopt._native.scalars import Clock
from fastopt.conventions import CHECKS, eps_warning


def check_values(
    optimizer: str,
    values: Mapping[str, Any],
    current: Mapping[str, Any] | None = None,
    *,
    known: Iterable[str],
    checks: Mapping[str, Check],
    usual_eps: float = math.inf,
) -> dict[str, Any]:
    """Check and convert the values. TypeError or ValueError if one is unknown or out of range.

    current: the values that the group has otherwise, for the warning of an eps that is meant to be outside the root.
    """
    checked = {}
    for name, value in values.items():
        if name == "name":
            checked[name] = str(value)
        elif name not in known:
            raise TypeError(f"{optimizer} has no hyper-parameter {name!r}; it has {', '.join(sorted(known))}")
        else:
            checked[name] = (checks.get(name) or CHECKS[name])(name, value)
    if message := eps_warning(checked, current or {}, usual_eps):
        warn(message)
    return checked


class ParamGroup(dict[str, Any]):
    """A dict like one of torch's param_groups. Assigning a value out of range raises an error and changes nothing.

    "params" is a tuple and cannot be replaced. A value that would need other states than the group has is an error.
    """

    __slots__ = ("_check", "_rule_of", "clock", "rule", "states")

    def __init__(
        self,
        params: tuple[np.ndarray[Any, Any], ...],
        values: dict[str, Any],
        check: Callable[..., dict[str, Any]],
        rule_of: Callable[[Mapping[str, Any]], str],
    ) -> None:
        super().__init__({"params": params, **check(values)})
        self._check = check
        self._rule_of = rule_of
        self.rule = rule_of(self)
        self.clock = Clock()
        #: name -> one flat array per parameter, set when an optimizer takes the group
        self.states: dict[str, list[np.ndarray[Any, Any]]] = {}

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Assign several values: all of them or, if one is refused, none."""
        values = dict(*args, **kwargs)
        if "params" in values and values.pop("params") is not self["params"]:
            raise ValueError("the params of a group cannot be replaced: add a group with add_param_group")
        checked = self._check(values, self)
        if self._rule_of({**self, **checked}) != self.rule:
            raise ValueError(f"{checked} needs other states than this group has: set it when the group is added")
        self.clock.assign(self, checked)

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, other: Any) -> ParamGroup:  # type: ignore[override,misc]
        self.update(other)
        return self

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError("a hyper-parameter can be set, not removed")

    __delitem__ = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
