"""Code without an optimizer library: plain NumPy, NumPy with out=, and loops compiled by numba.

One function per rule works for NumPy's arrays and for numba's elements. `s` are the scalars of the rule as float32,
in the order of the row. Epsilon is outside the square root, as in torch's convention.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from bench.cells import Array, Cell
from bench.contenders.base import Contender
from bench.timing import Run
from fastopt._native import runtime

PARALLEL_FROM = 65_536  # elements of a tensor from which numba uses several threads
# numba's OpenMP layer changes the runtime that all libraries share, and made torch's steps ten times slower.
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

# -- one expression per rule ------------------------------------------------------------------------------------------


def sgd(w: Any, g: Any, s: Any) -> Any:
    return (w - s[0] * g,)


def momentum(w: Any, a: Any, g: Any, s: Any) -> Any:
    a = s[1] * a + s[3] * g
    return w - s[0] * a, a


def nesterov(w: Any, a: Any, g: Any, s: Any) -> Any:
    a = s[1] * a + g
    return w - s[0] * (s[1] * a + g), a


def adagrad(w: Any, G: Any, g: Any, s: Any) -> Any:
    G = G + g * g
    return w - s[0] * g / (np.sqrt(G) + s[2]), G


def adadelta(w: Any, G: Any, H: Any, g: Any, s: Any) -> Any:
    G = s[1] * G + s[2] * g * g
    d = g * np.sqrt(H + s[3]) / np.sqrt(G + s[3])
    return w - s[0] * d, G, s[1] * H + s[2] * d * d


def rmsprop(w: Any, G: Any, g: Any, s: Any) -> Any:
    G = s[1] * G + s[2] * g * g
    return w - s[0] * g / (np.sqrt(G) + s[4]), G


def adam(w: Any, m: Any, v: Any, g: Any, s: Any) -> Any:
    m = s[1] * m + s[2] * g
    v = s[3] * v + s[4] * g * g
    return w - s[0] * m / (np.sqrt(s[5] * v) + s[7]), m, v


RULES: Mapping[str, Callable[..., Any]] = {
    f.__name__: f for f in (sgd, momentum, nesterov, adagrad, adadelta, rmsprop, adam)
}

# -- the same without a temporary: b is scratch -----------------------------------------------------------------------


def sgd_out(w: Any, g: Any, s: Any, b: Any) -> None:
    np.multiply(g, s[0], out=b[0])
    w -= b[0]


def momentum_out(w: Any, a: Any, g: Any, s: Any, b: Any) -> None:
    a *= s[1]
    np.multiply(g, s[3], out=b[0])
    a += b[0]
    np.multiply(a, s[0], out=b[0])
    w -= b[0]


def nesterov_out(w: Any, a: Any, g: Any, s: Any, b: Any) -> None:
    a *= s[1]
    a += g
    np.multiply(a, s[1], out=b[0])
    b[0] += g
    b[0] *= s[0]
    w -= b[0]


def _divide_out(w: Any, upper: Any, squares: Any, eps: Any, lr: Any, b: Any) -> None:
    np.sqrt(squares, out=b[0])
    b[0] += eps
    np.multiply(upper, lr, out=b[1])
    b[1] /= b[0]
    w -= b[1]


def _average_out(average: Any, rho: Any, rhoc: Any, x: Any, b: Any) -> None:
    average *= rho
    np.multiply(x, rhoc, out=b)
    average += b


def adagrad_out(w: Any, G: Any, g: Any, s: Any, b: Any) -> None:
    np.multiply(g, g, out=b[0])
    G += b[0]
    _divide_out(w, g, G, s[2], s[0], b)


def adadelta_out(w: Any, G: Any, H: Any, g: Any, s: Any, b: Any) -> None:
    np.multiply(g, g, out=b[1])
    _average_out(G, s[1], s[2], b[1], b[0])
    np.add(H, s[3], out=b[0])
    np.sqrt(b[0], out=b[0])
    b[0] *= g
    np.add(G, s[3], out=b[1])
    np.sqrt(b[1], out=b[1])
    b[0] /= b[1]
    np.multiply(b[0], s[0], out=b[1])
    w -= b[1]
    b[0] *= b[0]
    _average_out(H, s[1], s[2], b[0], b[1])


def rmsprop_out(w: Any, G: Any, g: Any, s: Any, b: Any) -> None:
    np.multiply(g, g, out=b[1])
    _average_out(G, s[1], s[2], b[1], b[0])
    _divide_out(w, g, G, s[4], s[0], b)


def adam_out(w: Any, m: Any, v: Any, g: Any, s: Any, b: Any) -> None:
    _average_out(m, s[1], s[2], g, b[0])
    np.multiply(g, g, out=b[1])
    _average_out(v, s[3], s[4], b[1], b[0])
    np.multiply(v, s[5], out=b[0])
    _divide_out(w, m, b[0], s[7], s[0], b)


OUT: Mapping[str, Callable[..., None]] = {rule: globals()[f"{rule}_out"] for rule in RULES}

# -- numba's loops: one per number of states --------------------------------------------------------------------------


@cache
def loops(rule: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """The compiled loop of the rule, for one thread and for several."""
    import numba

    update = numba.njit(RULES[rule])
    n = len(runtime.RULES[rule][0])

    def one(w: Any, g: Any, s: Any) -> None:
        for i in numba.prange(w.size):
            w[i] = update(w[i], g[i], s)[0]

    def two(w: Any, x: Any, g: Any, s: Any) -> None:
        for i in numba.prange(w.size):
            w[i], x[i] = update(w[i], x[i], g[i], s)

    def three(w: Any, x: Any, y: Any, g: Any, s: Any) -> None:
        for i in numba.prange(w.size):
            w[i], x[i], y[i] = update(w[i], x[i], y[i], g[i], s)

    loop = (one, two, three)[n - 1]
    return numba.njit(loop, error_model="numpy"), numba.njit(loop, error_model="numpy", parallel=True)


# -- contenders -------------------------------------------------------------------------------------------------------


def _scalars(cell: Cell) -> Callable[[], tuple[np.float32, ...]]:
    """A function that returns the scalars of the next step, from the same formulas as fastopt."""
    h, steps = cell.row.hyper(**cell.values), itertools.count(1)
    cls, names = cell.row.cls, runtime.RULES[cell.rule][1]
    if h.get("eps_in_sqrt", False) and cell.rule != "adadelta":
        raise ValueError(f"by hand, epsilon stands outside the root: convention {cell.convention}")

    fixed = cls.scalars(h, h["lr"], 2)
    known = [np.float32(fixed[name]) for name in names]
    changing = [
        (i, fixed[name], cls.corrections(h)[name]) for i, name in enumerate(names) if name in cls.corrections(h)
    ]
    if cls.depends_on_step(h):
        raise ValueError(f"by hand, no scalar but bias corrections depends on the step: {cell.rule}")

    def scalars() -> tuple[np.float32, ...]:
        """Form only the scalars that depend on the step."""
        t = next(steps)
        for i, value, factors in changing:
            for beta, power in factors:
                value *= (1.0 - beta**t) ** power
            known[i] = np.float32(value)
        return tuple(known)

    return scalars


def _tensors(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> list[tuple[list[Array], Array]]:
    start = cell.row.make(np.ones(1, np.float32), **cell.values).state[0]
    initial = [float(x[0]) for name, x in start.items() if name != "step"]
    states = [[np.full_like(p, x) for x in initial] for p in params]
    return [([p, *s], g) for p, s, g in zip(params, states, grads, strict=True)]


def naive(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    """New arrays in every step."""
    tensors, scalars, rule = _tensors(cell, params, grads), _scalars(cell), RULES[cell.rule]

    def step() -> None:
        s = scalars()
        for buffers, g in tensors:
            buffers[:] = rule(*buffers, g, s)

    return Run("NumPy", step, buffers=lambda: [tuple(b) for b, _ in tensors])


def with_out(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    """In place, with two scratch arrays."""
    tensors, scalars, rule = _tensors(cell, params, grads), _scalars(cell), OUT[cell.rule]
    room = np.empty((2, max(p.size for p in params)), np.float32)
    scratch = [[row[: p.size].reshape(p.shape) for row in room] for p in params]

    def step() -> None:
        s = scalars()
        for (buffers, g), b in zip(tensors, scratch, strict=True):
            rule(*buffers, g, s, b)

    return Run("NumPy out=", step, buffers=lambda: [tuple(b) for b, _ in tensors])


def compiled(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    import numba

    numba.set_num_threads(cell.threads)
    tensors, scalars, (serial, parallel) = _tensors(cell, params, grads), _scalars(cell), loops(cell.rule)
    flat = [
        (parallel if g.size >= PARALLEL_FROM and cell.threads > 1 else serial, [x.reshape(-1) for x in (*buffers, g)])
        for buffers, g in tensors
    ]

    def step() -> None:
        s = scalars()
        for loop, arrays in flat:
            loop(*arrays, s)

    return Run("numba", step, buffers=lambda: [tuple(b) for b, _ in tensors])


CONTENDERS = (
    Contender("numba", "numba", frozenset(RULES), compiled, by_hand=True),
    Contender("NumPy out=", "numpy", frozenset(OUT), with_out, by_hand=True),
    Contender("NumPy", "numpy", frozenset(RULES), naive, by_hand=True),
)
