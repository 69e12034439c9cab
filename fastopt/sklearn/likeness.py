"""What a parameter's value amounts to, as text: equal for values that train alike, in this process or another."""

from __future__ import annotations

import hashlib
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

import fastopt


def described(value: Any) -> str:
    """Settings instead of identities and addresses: of optimizers, early stopping, transforms, schedules, functions.

    Functions are the same if their code, defaults and what they close over are; of what they find in globals only the
    name counts. An object of a class unknown here is its class and its attributes.
    """
    if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()}"
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{described(k)}:{described(v)}" for k, v in value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({','.join(map(described, value))})"
    if isinstance(value, fastopt.Optimizer):
        group = {k: v for k, v in value.param_groups[0].items() if k not in ("params", "name")}
        return _named(type(value), [group, value.convention, value.skip_nonfinite])
    if isinstance(value, partial):
        return _named(partial, [value.func, value.args, value.keywords])
    return _of_callable(value)


def _of_callable(value: Any) -> str:
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, MethodType):
        return _named(MethodType, [value.__func__, value.__self__])
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        parts = [_of_code(value.__code__), value.__defaults__, value.__kwdefaults__, cells]
        return f"{value.__module__}.{value.__qualname__}{described(parts)}"
    if hasattr(value, "__dict__"):
        return _named(type(value), [vars(value)])
    return _named(type(value), [repr(value)])


def _of_code(code: CodeType) -> str:
    constants = [_of_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return described([code.co_code, list(code.co_names), constants])


def _named(kind: type, parts: list[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}{described(parts)}"
