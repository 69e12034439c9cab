from collections.abc import Callable
from typing import Any, TypeAlias

from fastopt._native.step import Corrections

Work: TypeAlias = list[tuple[UpdateSpec, dict[str, Any], list[Any]]]

class UpdateSpec:
    rule: str
    states: tuple[str, ...]
    counts: bool
    varying: bool
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
        varying: bool,
        names: tuple[str, ...],
        group: dict[str, Any],
    ) -> None: ...
    def matches(self, group: dict[str, Any]) -> bool: ...

class TensorStep:
    specs: list[UpdateSpec]
    looked_ahead: bool
    @property
    def skipped(self) -> bool: ...
    @property
    def skips(self) -> int: ...
    @property
    def ahead(self) -> bool: ...
    def __init__(self, new_state: Callable[[UpdateSpec, dict[str, Any], Any], dict[str, Any]], advice: str) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    def read(self, work: Work, state: dict[Any, Any]) -> list[tuple[int, UpdateSpec, int]]: ...
    def set(self, index: int, spec: UpdateSpec, values: dict[str, float], t: int) -> None: ...
    def apply(
        self, grad_scale: float = 1.0, max_norm: float | None = None, skip_nonfinite: bool = False
    ) -> float | None: ...
    def look_ahead(self, work: tuple[Work, dict[Any, Any]], shifts: list[float]) -> None: ...
    def restore(self) -> None: ...
