from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

Corrections: TypeAlias = dict[str, tuple[tuple[float, float], ...]]

RULES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
TILE: int
SHORT: int
PRELUDE: tuple[str, ...]

def isa() -> str: ...
def available_isas() -> tuple[str, ...]: ...
def set_isa(name: str) -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def serial_threshold() -> int: ...
def set_serial_threshold(elements: int) -> int: ...
def copy_all(targets: list[np.ndarray[Any, Any]], sources: list[np.ndarray[Any, Any]], done: list[bool]) -> None: ...
def build_info() -> dict[str, Any]: ...

class Clock:
    steps: int
    stale: bool

class Plan:
    skipped: bool
    skips: int
    ahead: bool
    looked_ahead: bool
    def __init__(
        self,
        groups: list[tuple[str, list[tuple[np.ndarray[Any, Any], ...]]]],
        names: list[tuple[str, ...]],
        single: bool = False,
        param_groups: Sequence[Any] | None = None,
        scalars: Callable[[Any], tuple[dict[str, float], Corrections]] | None = None,
    ) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    def set(self, index: int, values: dict[str, float], corrections: Corrections, t: int) -> None: ...
    def step(
        self,
        grads: Any,
        grad_scale: float = 1.0,
        max_norm: float | None = None,
        skip_nonfinite: bool = False,
        zero_gradients: bool = False,
    ) -> float | None: ...
    def look_ahead(self, origins: list[np.ndarray[Any, Any]], shifts: list[float]) -> None: ...
    def restore(self) -> None: ...
    def check(self) -> None: ...

class Lookahead:
    def __init__(self, arguments: Callable[[], tuple[Plan | TensorPlan, Any, Any]]) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, kind: object, value: object, traceback: object) -> None: ...

def bind_torch(tools: Any, tensor: type, parameter: type, negative: Any, version: Any, capsule: Any = None) -> bool: ...
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
