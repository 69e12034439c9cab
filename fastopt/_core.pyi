from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias

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
def judge_team(total: float, least: float, threads: int, held: bool = False) -> None: ...
def team_size(threads: int) -> int: ...
def set_holds(on: bool) -> bool: ...
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
        noise: float = 0.0,
        noise_key: int = 0,
    ) -> float | None: ...
    def look_ahead(self, origins: list[np.ndarray[Any, Any]], shifts: list[float]) -> None: ...
    def restore(self) -> None: ...
    def check(self) -> None: ...

class Lookahead:
    def __init__(self, arguments: Callable[[], tuple[Plan | TensorPlan, Any, Any]]) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, kind: object, value: object, traceback: object) -> None: ...

def bind_torch(tools: Any, tensor: Any, parameter: type, copy: Any, version: Any, capsule: Any) -> None: ...
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

# -- layers (_layers.pxi) --

AnyArray: TypeAlias = np.ndarray[Any, Any]
Layout: TypeAlias = tuple[int, int, int, bool]

def philox(counters: AnyArray, key: AnyArray) -> AnyArray: ...
def sample_uniforms(key: int, first: int, n: int, blocks: int, stream: int) -> AnyArray: ...
def words(n: int, key: int, stream: int = 0, offset: int = 0) -> AnyArray: ...
def drop_bits(n: int, threshold: int, key: int, stream: int = 0) -> AnyArray: ...
def each(
    kernel: str,
    x: AnyArray,
    out: AnyArray | None = None,
    *,
    y: AnyArray | None = None,
    a: float = 0,
    b: float = 0,
    key: int = 0,
    stream: int = 0,
    offset: int = 0,
    threshold: int = 0,
    names: tuple[str, str, str] = ("x", "out", "y"),
) -> AnyArray: ...
def each_of(
    kernel: str,
    sources: list[AnyArray],
    targets: list[AnyArray],
    seconds: list[AnyArray] | None = None,
    *,
    a: float = 0,
    b: float = 0,
    key: int = 0,
    names: tuple[str, str, str] = ("source", "target", "second"),
) -> None: ...
def sum_of_powers(x: AnyArray, power: int, label: str = "x") -> float: ...
def channel_sums(
    x: AnyArray, layout: Layout, shift: AnyArray, dy: AnyArray | None = None, names: tuple[str, str] = ("x", "grad")
) -> AnyArray: ...
def normalize(
    x: AnyArray,
    layout: Layout,
    high: AnyArray,
    low: AnyArray,
    scale: AnyArray,
    bias: AnyArray,
    out: AnyArray | None = None,
    *,
    same_allowed: bool = True,
) -> AnyArray: ...
def normalize_back(
    x: AnyArray,
    dy: AnyArray,
    layout: Layout,
    high: AnyArray,
    low: AnyArray,
    scale: AnyArray,
    bias: AnyArray,
    slope: AnyArray,
    out: AnyArray | None = None,
) -> AnyArray: ...
def scale_channels(
    x: AnyArray,
    layout: Layout,
    scale: AnyArray,
    out: AnyArray | None = None,
    *,
    per_outer: bool = False,
    name: str = "x",
) -> AnyArray: ...
def mix(
    x: AnyArray, partner: AnyArray, a: AnyArray, b: AnyArray, out: AnyArray | None = None, *, name: str = "x"
) -> AnyArray: ...
def entropy(
    logits: AnyArray,
    target: AnyArray | None,
    soft: AnyArray | None,
    weight: AnyArray | None,
    ignore: int,
    smoothing: float,
    reduction: str,
    out: AnyArray | None = None,
) -> tuple[Any, AnyArray]: ...
def images(
    kernel: str,
    x: AnyArray,
    channels_last: bool,
    out: AnyArray | None = None,
    *,
    size: tuple[int, int] | None = None,
    place: AnyArray | None = None,
    other: AnyArray | None = None,
    partner: AnyArray | None = None,
    fill: AnyArray | None = None,
    reflect: bool = False,
    number: AnyArray | None = None,
    low: float = ...,
    high: float = ...,
) -> AnyArray: ...

class Restorer:
    _params: list[AnyArray] | None
    _best: list[AnyArray] | None
    restore_best: bool
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

class Perturbed:
    def __init__(self, params: list[AnyArray], std: float, draw_key: Callable[[], int]) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...

def resample_sums(x: AnyArray, strata: AnyArray, key: int, first: int, resamples: int) -> AnyArray: ...
def resample_places(
    x: AnyArray, order: AnyArray, places: AnyArray, strata: AnyArray, key: int, first: int, resamples: int
) -> AnyArray: ...
def resample_rows(strata: AnyArray, key: int, first: int, resamples: int) -> AnyArray: ...

class StumpSearch:
    order: np.ndarray[Any, Any]
    def __init__(self, order: np.ndarray[Any, Any]) -> None: ...
    def squares(
        self, weight: np.ndarray[Any, Any], y: np.ndarray[Any, Any]
    ) -> tuple[int, int, int, float, float, float, float, float] | None: ...
    def classes(
        self, weight: np.ndarray[Any, Any], label: np.ndarray[Any, Any], classes: int
    ) -> tuple[int, int, int, np.ndarray[Any, Any], np.ndarray[Any, Any]] | None: ...

# -- the network ------------------------------------------------------------------------------------------------------

def activate(activation: str, x: AnyArray, y: AnyArray, bias: AnyArray | None = None) -> None: ...
def activate_back(activation: str, x: AnyArray, y: AnyArray, bias: AnyArray | None = None) -> None: ...
def squared_error(output: AnyArray, target: AnyArray, gradient: AnyArray, losses: AnyArray, scale: float) -> None: ...
def entropy_rows(
    logits: AnyArray, targets: AnyArray, gradient: AnyArray, losses: AnyArray, smoothing: float, scale: float
) -> None: ...
def gather(sources: list[AnyArray], orders: list[AnyArray], start: int, out: AnyArray) -> None: ...
def weigh_rows(gradient: AnyArray, losses: AnyArray, weights: AnyArray) -> None: ...
def is_sgemm(capsule: object) -> bool: ...

class NetworkPass:
    def __init__(
        self, sgemm: object, x: AnyArray, layers: list[Any], losses: AnyArray, activation: str, classes: bool
    ) -> None: ...
    def run(
        self, targets: AnyArray, totals: AnyArray, weights: AnyArray | None = None, smoothing: float = 0.0
    ) -> None: ...

class NetworkEpoch:
    def __init__(
        self,
        one: NetworkPass,
        plan: Plan,
        gradients: list[Any],
        x: AnyArray,
        y: AnyArray,
        weights: AnyArray | None = None,
        smoothing: float = 0.0,
    ) -> None: ...
    def run(self, order: AnyArray, start: int, stop: int, totals: AnyArray) -> None: ...

def add_losses(losses: AnyArray, totals: AnyArray) -> None: ...
