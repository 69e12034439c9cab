from collections.abc import Callable
from typing import Any, Self, TypeAlias

from fastopt._types import Array

Layout: TypeAlias = tuple[int, int, int, bool]

def philox(counters: Array, key: Array) -> Array: ...
def sample_uniforms(key: int, first: int, n: int, blocks: int, stream: int) -> Array: ...
def words(n: int, key: int, stream: int = 0, offset: int = 0) -> Array: ...
def drop_bits(n: int, threshold: int, key: int, stream: int = 0) -> Array: ...
def each(
    kernel: str,
    x: Array,
    out: Array | None = None,
    *,
    y: Array | None = None,
    a: float = 0,
    b: float = 0,
    key: int = 0,
    stream: int = 0,
    offset: int = 0,
    threshold: int = 0,
    names: tuple[str, str, str] = ("x", "out", "y"),
) -> Array: ...
def each_of(
    kernel: str,
    sources: list[Array],
    targets: list[Array],
    seconds: list[Array] | None = None,
    *,
    a: float = 0,
    b: float = 0,
    key: int = 0,
    names: tuple[str, str, str] = ("source", "target", "second"),
) -> None: ...
def sum_of_powers(x: Array, power: int, label: str = "x") -> float: ...
def channel_sums(
    x: Array, layout: Layout, shift: Array, dy: Array | None = None, names: tuple[str, str] = ("x", "grad")
) -> Array: ...
def normalize(
    x: Array,
    layout: Layout,
    high: Array,
    low: Array,
    scale: Array,
    bias: Array,
    out: Array | None = None,
    *,
    same_allowed: bool = True,
) -> Array: ...
def normalize_back(
    x: Array,
    dy: Array,
    layout: Layout,
    high: Array,
    low: Array,
    scale: Array,
    bias: Array,
    slope: Array,
    out: Array | None = None,
) -> Array: ...
def scale_channels(
    x: Array,
    layout: Layout,
    scale: Array,
    out: Array | None = None,
    *,
    per_outer: bool = False,
    name: str = "x",
) -> Array: ...
def mix(x: Array, partner: Array, a: Array, b: Array, out: Array | None = None, *, name: str = "x") -> Array: ...
def entropy(
    logits: Array,
    target: Array | None,
    soft: Array | None,
    weight: Array | None,
    ignore: int,
    smoothing: float,
    reduction: str,
    out: Array | None = None,
) -> tuple[Any, Array]: ...
def images(
    kernel: str,
    x: Array,
    channels_last: bool,
    out: Array | None = None,
    *,
    size: tuple[int, int] | None = None,
    place: Array | None = None,
    other: Array | None = None,
    partner: Array | None = None,
    fill: Array | None = None,
    reflect: bool = False,
    number: Array | None = None,
    low: float = ...,
    high: float = ...,
) -> Array: ...

class Restorer:
    _params: list[Array] | None
    _best: list[Array] | None
    restore_best: bool
    _inside: bool
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

class Perturbed:
    def __init__(self, params: list[Array], std: float, draw_key: Callable[[], int]) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
