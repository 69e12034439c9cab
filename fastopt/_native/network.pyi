from typing import Any

from fastopt._native.step import ArrayStep
from fastopt._types import Array

def activate(activation: str, x: Array, y: Array, bias: Array | None = None) -> None: ...
def activate_back(activation: str, x: Array, y: Array, bias: Array | None = None) -> None: ...
def squared_error(output: Array, target: Array, gradient: Array, losses: Array, scale: float) -> None: ...
def entropy_rows(
    logits: Array, targets: Array, gradient: Array, losses: Array, smoothing: float, scale: float
) -> None: ...
def is_sgemm(capsule: object) -> bool: ...

class NetworkPass:
    def __init__(
        self, sgemm: object, x: Array, layers: list[Any], losses: Array, activation: str, classes: bool
    ) -> None: ...
    def run(self, targets: Array, totals: Array, weights: Array | None = None, smoothing: float = 0.0) -> None: ...

class NetworkEpoch:
    def __init__(
        self,
        one: NetworkPass,
        step: ArrayStep,
        gradients: list[Any],
        x: Array,
        y: Array,
        weights: Array | None = None,
        smoothing: float = 0.0,
    ) -> None: ...
    def run(self, order: Array, start: int, stop: int, totals: Array, ahead: list[Any] | None = None) -> None: ...
