"""Rows, sizes, variants and instruction sets over which tests iterate, and comparisons of results.

No optimizer is named here: classes, rules and hyper-parameters are read from fastopt, so a new one is tested at once.
"""

from __future__ import annotations

import itertools
import subprocess
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

import fastopt
from fastopt._native import _testing, runtime
from tests.support import reference, run_python
from tests.support.reference import REFERENCE

if missing := set(runtime.RULES) - set(REFERENCE):
    raise AssertionError(f"rows without a function in tests/support/reference.py: {', '.join(sorted(missing))}")
if unknown := set(REFERENCE) - set(runtime.RULES):
    raise AssertionError(f"functions in tests/support/reference.py without a row: {', '.join(sorted(unknown))}")

Array = np.ndarray[Any, Any]
ROOT = Path(fastopt.__file__).resolve().parent.parent

ISAS = runtime.available_isas()
THREADS = (1, 2, 3, 7)  # serial, even, odd, and more than there are tiles
TILE = runtime.TILE
THRESHOLD = _testing.serial_threshold()

SIZES = {
    0: "nothing",
    1: "one element, all remainder",
    **{n + d: f"a vector of {n} floats {d:+d}" for n in (4, 8, 16) for d in (-1, 0, 1)},
    **{runtime.SHORT + d: f"the length above which spans are aligned to cache lines {d:+d}" for d in (-1, 0, 1)},
    33: "two of the widest vectors and a remainder",
    **{TILE + d: f"a tile {d:+d}" for d in (-1, 0, 1)},
    2 * TILE + 19: "two tiles, a vector and a remainder",
    **{THRESHOLD + d: f"the serial threshold {d:+d}" for d in (-1, 0, 1)},
}


@dataclass
class Tensor:
    """A parameter, its gradient and its states in the row's order."""

    w: Array
    g: Array
    states: tuple[Array, ...]

    def buffers(self) -> tuple[Array, ...]:
        """The arrays that a step writes."""
        return (self.w, *self.states)

    def map(self, f: Callable[[Array], Array]) -> Tensor:
        """The same with every array replaced."""
        return Tensor(f(self.w), f(self.g), tuple(f(s) for s in self.states))

    def copy(self) -> Tensor:
        return self.map(np.copy)

    def split(self, at: Sequence[int]) -> list[Tensor]:
        """Views of consecutive pieces."""
        cuts = [0, *at, self.w.size]
        return [self.map(lambda x, i=i, j=j: x[i:j]) for i, j in itertools.pairwise(cuts)]  # type: ignore[misc]


@dataclass(frozen=True)
class Row:
    """A rule, the class that has it and the arguments that make the class choose it."""

    rule: str
    cls: Any
    chosen: Mapping[str, Any]

    def make(self, params: Any, **values: Any) -> Any:
        """An optimizer for `params`, with these arguments."""
        return self.cls(params, **{**self.chosen, **values})

    def names(self) -> tuple[str, ...]:
        """The names of the arrays that a step writes."""
        return ("parameter", *self.cls.rules[self.rule])

    def hyper(self, **values: Any) -> dict[str, Any]:
        """The resolved hyper-parameters, as the reference takes them."""
        return {k: v for k, v in self.make(np.zeros(1, np.float32), **values).param_groups[0].items() if k != "params"}

    def keeps(self, values: Mapping[str, Any]) -> bool:
        """Whether the class still chooses this rule with these arguments."""
        return bool(self.cls.rule_of(self.hyper(**values)) == self.rule)

    def update(self, values: Mapping[str, Any], tensors: Sequence[Tensor], t: int, **options: Any) -> float | None:
        """Step t of all tensors in place, through fastopt.functional."""
        implied = self.cls.implied.get(self.rule, {})
        given = {k: v for k, v in {**self.chosen, **values}.items() if k not in implied}
        states = zip(*[x.states for x in tensors], strict=True)
        function = getattr(fastopt.functional, f"{self.rule}_")
        ws, gs = [x.w for x in tensors], [x.g for x in tensors]
        return function(ws, gs, *map(list, states), step=t, **given, **options)  # type: ignore[no-any-return]


#: By name of the hyper-parameter, a value that differs from every default; flags are negated.
AWAY: dict[str, Any] = {
    "lr": 0.03,
    "momentum": 0.6,
    "dampening": 0.4,
    "betas": (0.7, 0.95),
    "alpha": 0.7,
    "rho": 0.6,
    "eps": 1e-3,
    "eps_root": 1e-4,
    "lr_decay": 0.3,
    "initial_accumulator_value": 0.2,
    "weight_decay": 0.1,
    "l1": 0.05,
    "clip_value": 0.5,
}


def away(name: str, default: Any) -> Any:
    """A value for hyper-parameter `name` other than its default, also for one that AWAY does not know."""
    if isinstance(default, bool):
        return not default
    if name in AWAY:
        return AWAY[name]
    if isinstance(default, tuple):
        return tuple(away(name, x) for x in default)
    return default / 2 if default else 0.25


def _row(rule: str) -> Row:
    """The row with the fewest arguments that make the class choose this rule."""
    cls = fastopt.Optimizer.registry[rule]
    row = Row(rule, cls, dict(cls.implied.get(rule, {})))
    for (
        name,
        value,
    ) in row.hyper().items():  # some rules need a number that is 0 by default, for example RMSprop's momentum
        more = {name: away(name, value)}
        if not row.keeps({}) and name not in row.chosen and value == 0 and row.keeps(more):
            row = Row(rule, cls, {**row.chosen, **more})
    assert row.keeps({}), f"found no arguments with which {cls.__name__} chooses rule {rule}"
    for name in row.chosen:
        fewer = Row(rule, cls, {k: v for k, v in row.chosen.items() if k != name})
        row = fewer if fewer.keeps({}) else row
    return row


ROWS = {rule: _row(rule) for rule in runtime.RULES}


def variants(row: Row) -> Iterator[tuple[str, dict[str, Any]]]:
    """Label and arguments: the defaults, each convention, each hyper-parameter away from its default, all at once."""
    yield "defaults", {}
    for convention in row.cls.conventions:
        values = {"convention": convention}
        if not row.keeps(values):  # this convention prefers another rule, as torch's does for NAG
            values |= row.cls.implied[row.rule]
        if convention != "textbook":
            yield f"convention={convention}", values
    everything: dict[str, Any] = {}
    for name, default in row.hyper().items():
        values = {name: away(name, default)}
        if name in row.chosen or not row.keeps(values):
            continue
        everything |= values
        if name == "decoupled":
            values["weight_decay"] = AWAY["weight_decay"]
        yield ", ".join(f"{k}={v}" for k, v in values.items()), values
    yield "all away", everything
    yield "all numbers away", {k: v for k, v in everything.items() if not isinstance(v, bool)}


#: 0-d, empty, a vector, C and Fortran order, three dimensions
SHAPES: list[tuple[tuple[int, ...], Any]] = [((), "C"), ((0, 3), "C"), ((17,), "C"), ((3, 5), "C"), ((4, 3, 2), "F")]


def arrays(seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape), np.float32, order=order) for shape, order in SHAPES]


def steps(opt: Any, first: int, last: int, **options: Any) -> Any:
    """Steps number `first` to `last` of an optimizer of arrays(...), each with other gradients."""
    for t in range(first, last + 1):
        opt.step(given(arrays(100 + t)), **options)
    return opt


def steps_of(opt: Any, *grads: Any) -> Any:
    for g in grads:
        opt.step(given(g))
    return opt


def params_of(opt: Any) -> list[Array]:
    return [p for group in opt.param_groups for p in group["params"]]


def contents(opt: Any) -> list[Any]:
    """All that a step may change: parameters, states, step counts, hyper-parameters, the count of skipped steps."""
    states = [(name, v if name == "step" else v.tobytes()) for state in opt.state for name, v in state.items()]
    values = [{k: v for k, v in group.items() if k != "params"} for group in opt.param_groups]
    return [[p.tobytes() for p in params_of(opt)], states, values, opt.skipped]


def given(grads: Any) -> Callable[[], Any]:
    """A closure that returns `grads`: all optimizers accept it, also NAG, which calls it at the lookahead point."""
    return lambda: grads


def fresh(code: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run this code in a new interpreter."""
    return run_python("-c", textwrap.dedent(code), cwd=cwd, **(env or {}))


@contextmanager
def core(isa: str | None = None, threads: int | None = None, threshold: int | None = None) -> Iterator[None]:
    """Run with these settings; `threshold=0` uses the parallel path for every size."""
    before = runtime.isa(), runtime.get_num_threads(), _testing.serial_threshold()
    try:
        if isa is not None:
            runtime.set_isa(isa)
        if threads is not None:
            runtime.set_num_threads(threads)
        if threshold is not None:
            _testing.set_serial_threshold(threshold)
        yield
    finally:
        runtime.set_isa(before[0])
        runtime.set_num_threads(before[1])
        _testing.set_serial_threshold(before[2])


def settings() -> Iterator[dict[str, Any]]:
    """Every instruction set, serial and on each number of threads."""
    for isa, threads in itertools.product(ISAS, THREADS):
        yield {"isa": isa, "threads": threads, "threshold": 0 if threads > 1 else None}


def numbers(rng: np.random.Generator, n: int, low: float = -4.0, high: float = 1.5) -> Array:
    """float32 of either sign and of magnitudes 10^low … 10^high, one in 16 exactly 0."""
    x = rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(low, high, n)
    return np.where(rng.random(n) < 1 / 16, 0.0, x).astype(np.float32)


def in_training(row: Row, values: Mapping[str, Any], rng: np.random.Generator, n: int, t: int) -> Tensor:
    """The state after t − 1 steps of the reference with random gradients, so that every state is realistic and
    nonzero."""
    h = row.hyper(**values)
    start = row.make(np.zeros(1, np.float32), **values).state[0]
    states: Any = tuple(np.full(n, float(x[0])) for name, x in start.items() if name != "step")
    w: Any = rng.normal(size=n)
    for k in range(1, t):
        (w,), (states,), _ = reference.step(row.rule, [w], [numbers(rng, n).astype(float)], [states], k, h)
    w = np.where(rng.random(n) < 1 / 16, 0.0, w)
    with np.errstate(over="ignore"):
        return Tensor(w.astype(np.float32), numbers(rng, n), tuple(s.astype(np.float32) for s in states))


class Guarded:
    """The arrays of a tensor inside one block, with guard words before and after each.

    With `offset` 0 every array begins at a cache line; with k the first begins k words after one, the second 2k, and
    so on.
    """

    GUARD = np.uint32(0x7FA5C0DE)  # a signalling NaN: arithmetic on it would change it
    LINE = 16  # words in a cache line, and in the widest vector

    def __init__(self, tensor: Tensor, offset: int = 0) -> None:
        arrays = [tensor.w, tensor.g, *tensor.states]
        room = [-(-a.size // self.LINE) * self.LINE + 3 * self.LINE for a in arrays]
        block = np.full(sum(room) + 2 * self.LINE, self.GUARD)
        first = -(block.ctypes.data // 4) % self.LINE
        self.words = block[first:]
        self.inside = np.zeros(self.words.size, bool)
        views, at = [], self.LINE
        for k, a in enumerate(arrays, 1):
            place = slice(at + k * offset % self.LINE, at + k * offset % self.LINE + a.size)
            self.inside[place] = True
            views.append(self.words[place].view(np.float32))
            views[-1][...] = a
            at += room[k - 1]
        self.tensor = Tensor(views[0], views[1], tuple(views[2:]))

    def check(self, label: str) -> None:
        """Raise AssertionError if anything outside the arrays was written."""
        bad = np.flatnonzero((self.words != self.GUARD) & ~self.inside)
        assert bad.size == 0, f"{label}: guard words {bad[:5].tolist()} were overwritten"


def bits(a: Array) -> Array:
    return np.ascontiguousarray(a).view(np.uint32).ravel()


def assert_same_bits(got: Array, expected: Array, label: str) -> None:
    """Equal bit patterns; any NaN equals any NaN (which of two NaN operands survives depends on their order)."""
    if np.array_equal(bits(got), bits(expected)):
        return
    differ = (bits(got) != bits(expected)) & ~(np.isnan(got) & np.isnan(expected)).ravel()
    at = np.flatnonzero(differ)
    if at.size:
        i = int(at[0])
        x, y = np.ravel(got)[i], np.ravel(expected)[i]
        raise AssertionError(
            f"{label}: {at.size} of {differ.size} elements differ, first {i}: got {x!r}, expected {y!r}"
        )


def assert_within(got: Array, expected: Array, error: Array, bound: float, label: str) -> None:
    """Require error <= bound in every element, in any unit; NaN fails."""
    at = np.flatnonzero(~(error <= bound))
    if at.size:
        i = int(at[np.argmax(error[at])])
        raise AssertionError(
            f"{label}: {at.size} of {error.size} elements beyond {bound:g}, worst element {i}: "
            f"got {got[i]!r}, expected {expected[i]!r}, error {error[i]:.3g}"
        )


TINY = 2.0**-126  # the smallest normal float32: below it a rounding error no longer shrinks with the number


class Sized(NDArrayOperatorsMixin):
    """A float64 array, and for each element the size of the largest term of its computation.

    If the terms of a sum cancel, its rounding error is small compared with the terms, not with the sum. `size`
    follows this through a computation to first order. The reference, run on such arrays, gives the unit for errors:
    ulps of `size`. It is
    infinite for a square root of a number that consists of rounding errors only.
    """

    def __init__(self, value: Any, size: Any = None) -> None:
        self.value = np.asarray(value, np.float64)
        self.size = np.maximum(np.abs(self.value) if size is None else size, TINY)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs or ufunc not in GROWTH:
            return NotImplemented
        if ufunc is np.multiply and inputs[0] is inputs[1]:
            ufunc, inputs = np.square, inputs[:1]
        terms = [x if isinstance(x, Sized) else Sized(x) for x in inputs]
        values, sizes = [x.value for x in terms], [x.size for x in terms]
        value = ufunc(*values)
        return Sized(value, np.maximum(np.abs(value), GROWTH[ufunc](*values, *sizes)))


#: The size of a result from those of its operands: the largest |∂f/∂x| · size of x.
GROWTH: dict[np.ufunc, Any] = {
    np.add: lambda x, y, sx, sy: np.maximum(sx, sy),
    np.subtract: lambda x, y, sx, sy: np.maximum(sx, sy),
    np.multiply: lambda x, y, sx, sy: np.maximum(sx * np.abs(y), np.abs(x) * sy),
    np.divide: lambda x, y, sx, sy: np.maximum(sx / np.abs(y), np.abs(x / y) * sy / np.abs(y)),
    np.maximum: lambda x, y, sx, sy: np.where(x >= y, sx, sy),
    np.minimum: lambda x, y, sx, sy: np.where(x <= y, sx, sy),
    np.square: lambda x, sx: 2 * np.abs(x) * sx,
    np.sqrt: lambda x, sx: np.where(
        (x < sx * 2.0**-16) & (sx > 2.0**-80),
        np.inf,
        np.where(x > 0, sx / (2 * np.sqrt(np.maximum(x, TINY))), np.sqrt(sx)),
    ),
    np.sign: lambda x, sx: np.abs(np.sign(x)),
    np.negative: lambda x, sx: sx,
    np.absolute: lambda x, sx: sx,
}


def ulps(got: Array, expected: Sized) -> Array:
    """The error of each element of `got` in ulps (float32) of the largest term that entered it."""
    with np.errstate(over="ignore"):
        unit = np.spacing(expected.size.astype(np.float32)).astype(np.float64)
    return np.abs(got.astype(np.float64) - expected.value) / np.where(np.isfinite(expected.size), unit, np.inf)


# Allowed error of one step, in ulps of the largest term of an element. The longest chain of roundings (centered RMSprop
# with momentum: scalars, three averages, a difference, a root, a quotient, a sum) has about 14. Each is half an ulp at
# most, and they are rarely all in one direction. Largest error seen in 160 million elements: 5.3.
ULPS = 8.0


def expected_step(row: Row, h: Mapping[str, Any], x: Tensor, t: int, **options: Any) -> tuple[Sized, ...]:
    """Every array of x after step t, in float64. `options` are those of the reference, and the norm if needed."""
    options.setdefault("norm", 0.0)
    with np.errstate(all="ignore"):  # 0/0 in the sizes of elements whose gradients were all 0
        (w,), (states,), _ = reference.step(
            row.rule, [Sized(x.w)], [Sized(x.g)], [tuple(map(Sized, x.states))], t, h, **options
        )
    return (w, *states)


def assert_right(row: Row, x: Tensor, expected: Sequence[Sized], label: str) -> None:
    """Every element of every buffer of x within ULPS."""
    for name, got, want in zip(row.names(), x.buffers(), expected, strict=True):
        assert_within(got, want.value, ulps(got, want), ULPS, f"{row.rule}, {label}, {name}")


def assert_same(row: Row, got: Tensor, expected: Tensor, label: str) -> None:
    """The same bits in every buffer."""
    for name, a, b in zip(row.names(), got.buffers(), expected.buffers(), strict=True):
        assert_same_bits(a, b, f"{row.rule}, {label}, {name}")


def relative(got: Array, expected: Array, old: Array) -> Array:
    """The error of each element, relative to its old value plus its change."""
    return np.abs(got - expected) / np.maximum(np.abs(old) + np.abs(expected - old), TINY)  # type: ignore[no-any-return]
