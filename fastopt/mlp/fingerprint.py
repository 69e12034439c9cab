"""What a parameter's value amounts to, as text: equal for values that train alike, in this process or another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

import fastopt


def described(value: Any, *, code: bool = True) -> str:
    """Settings instead of identities and addresses: of optimizers, early stopping, transforms, schedules, functions.

    Functions are the same if their names, defaults, what they close over and, with `code`, their bytecode are; of what
    they find in globals only the name counts. Bytecode is that of one version of Python: without `code` the text is the
    same in all of them. An object of a class unknown here is its class and its state as pickle would take it.
    """
    return _Text(code).of(value)


class _Text:
    """One description; what is within itself, such as a function that calls itself, is told by how far out it is."""

    def __init__(self, code: bool) -> None:
        self.code = code
        self.around: list[int] = []

    def of(self, value: Any) -> str:
        if isinstance(value, np.generic):
            value = value.item()  # np.float64(0.1) trains as 0.1 does
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            return repr(value)
        if id(value) in self.around:
            return f"within itself:{len(self.around) - self.around.index(id(value))}"
        self.around.append(id(value))
        try:
            return self._of_object(value)
        finally:
            self.around.pop()

    def _of_object(self, value: Any) -> str:
        if isinstance(value, np.ndarray) and value.dtype != object:
            return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()}"
        if isinstance(value, dict):
            return "{" + ",".join(sorted(f"{self.of(k)}:{self.of(v)}" for k, v in value.items())) + "}"
        if isinstance(value, (set, frozenset)):
            return f"{type(value).__name__}({','.join(sorted(map(self.of, value)))})"
        if isinstance(value, (list, tuple)):
            return f"{type(value).__name__}({self._list(value)})"
        if isinstance(value, fastopt.Optimizer):
            group = {k: v for k, v in value.param_groups[0].items() if k not in ("params", "name")}
            return self._named(type(value), [group, value.convention, value.skip_nonfinite])
        return self._of_callable(value)

    def _of_callable(self, value: Any) -> str:
        if isinstance(value, (type, BuiltinFunctionType)):
            return f"{value.__module__}.{value.__qualname__}"
        if isinstance(value, partial):
            return self._named(partial, [value.func, value.args, value.keywords])
        if isinstance(value, MethodType):
            return self._named(MethodType, [value.__func__, value.__self__])
        if isinstance(value, CodeType):
            return self._list([value.co_code, value.co_names, value.co_consts])
        if isinstance(value, FunctionType):
            cells = [_content(cell) for cell in value.__closure__ or ()]
            own = [value.__defaults__, value.__kwdefaults__, cells, value.__code__ if self.code else None]
            return f"{value.__module__}.{value.__qualname__}({self._list(own)})"
        return self._of_state(value)

    def _of_state(self, value: Any) -> str:
        """Attributes, slots, the words of a generator: what pickle would take; what it will not is its attributes."""
        try:
            reduced = value.__reduce_ex__(2)
        except Exception:  # a class may raise what it likes
            return self._named(type(value), [getattr(value, "__dict__", repr(value))])
        return self._named(
            type(value), [reduced] if isinstance(reduced, str) else [tuple(reduced[1:3]), *_items(reduced)]
        )

    def _list(self, values: Iterable[Any]) -> str:
        return ",".join(map(self.of, values))

    def _named(self, kind: type, parts: list[Any]) -> str:
        return f"{kind.__module__}.{kind.__qualname__}({self._list(parts)})"


def _content(cell: Any) -> Any:
    """What a function closes over; a cell is empty while what it is for is being made."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _items(reduced: tuple[Any, ...]) -> list[Any]:
    """Of a list or a dict that has a class of its own."""
    return [list(part) for part in reduced[3:5] if part is not None]
