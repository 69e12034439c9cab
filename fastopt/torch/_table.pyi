from collections.abc import Callable
from typing import Any

from fastopt._native.step import Corrections

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
