from collections.abc import Callable
from typing import Any

from fastopt._native.step import Corrections

RECORD_BYTES: tuple[int, int]

def bind_torch(
    tools: Any,
    tensor: type,
    parameter: type,
    negative: Any,
    inference: Any,
    copy: Any,
    version: Any,
    capsule: Any = None,
    records: tuple[int, int, int] | None = None,
) -> bool: ...
def ask_for_huge_pages(address: int, size: int) -> None: ...

class Form:
    rule: str
    states: tuple[str, ...]
    counts: bool
    changing: bool
    scalars: Callable[[int], dict[str, float]]
    corrections: Corrections
    names: tuple[str, ...]
    def __init__(
        self,
        rule: str,
        states: tuple[str, ...],
        counts: bool,
        scalars: Callable[[int], dict[str, float]],
        corrections: Corrections,
        changing: bool,
        names: tuple[str, ...],
        group: dict[str, Any],
    ) -> None: ...

class TensorPlan:
    skipped: bool
    skips: int
    ahead: bool
    looked_ahead: bool
    def __init__(self, cls: Any) -> None: ...
    def update(
        self,
        work: list[tuple[dict[str, Any], list[Any]]],
        state: dict[Any, Any],
        grad_scale: float = 1.0,
        max_norm: float | None = None,
        skip_nonfinite: bool = False,
    ) -> float | None: ...
    def look_ahead(self, work: list[tuple[dict[str, Any], list[Any]]], state: dict[Any, Any]) -> None: ...
    def restore(self) -> None: ...
