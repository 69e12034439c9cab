from collections.abc import Callable
from typing import Any, TypeAlias

from fastopt._native.scalars import Clock
from fastopt._types import Array

Corrections: TypeAlias = dict[str, tuple[tuple[float, float], ...]]

class ArrayStep:
    skips: int
    looked_ahead: Any
    groups: list[Any]
    @property
    def single(self) -> bool: ...
    @property
    def skipped(self) -> bool: ...
    @property
    def ahead(self) -> bool: ...
    def limit_threads(self, most: int) -> None: ...
    def __init__(
        self,
        groups: list[Any],
        names: list[tuple[str, ...]],
        single: bool = False,
    ) -> None: ...
    def append(
        self,
        rule: str,
        tensors: list[tuple[Array, ...]],
        names: tuple[str, ...],
        group: Any = None,
        clock: Clock | None = None,
        check_only: bool = False,
    ) -> None: ...
    def hold(self, function: Callable[..., Any], *arguments: Any) -> Any: ...
    def load(
        self,
        targets: list[Array],
        sources: list[Array],
        values: list[dict[str, Any]],
        steps: list[int],
        skips: int,
    ) -> None: ...
    def set(
        self,
        index: int,
        values: dict[str, float],
        corrections: Corrections,
        t: int,
        changes: int = 0,
        varying: bool = False,
    ) -> None: ...
    def is_formed(self, index: int) -> bool: ...
    def step_plainly(self, grads: Any) -> Any: ...
    def step(
        self,
        grads: Any,
        grad_scale: float = 1.0,
        max_norm: float | None = None,
        skip_nonfinite: bool = False,
        zero_gradients: bool = False,
        noise: float = 0.0,
        noise_key: int = 0,
    ) -> Any: ...
    def look_ahead(self, origins: list[Array], shifts: list[float]) -> None: ...
    def restore(self) -> None: ...
    def check(self) -> None: ...
