"""The work: which optimizer on which shapes with how many threads, its data, and the proof that a contender does it.

Names no optimizer: the rows come from the core, the equations from the tests' reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.shapes import MODELS, Shape
from bench.timing import Run
from fastopt._native import runtime
from tests.support import reference
from tests.support.rows import ROWS, Row

Array = npt.NDArray[np.float32]

if missing := set(runtime.RULES) - set(ROWS):
    raise ImportError(f"rows without a benchmark: {', '.join(sorted(missing))}")

#: Shapes of the parameters, by name.
WORKS: dict[str, tuple[Shape, ...]] = {
    "1x64": ((64,),),
    "100x64": ((64,),) * 100,
    "10000x64": ((64,),) * 10_000,
    "100": ((100,),),
    "1k": ((1_000,),),
    "10k": ((10_000,),),
    "20k": ((20_000,),),
    "100k": ((100_000,),),
    "1M": ((1_000_000,),),
    "10M": ((10_000_000,),),
    "20M": ((20_000_000,),),
    "100M": ((100_000_000,),),
    **MODELS,
}

#: One tensor, from small to large.
SIZES = tuple(work for work, shapes in WORKS.items() if len(shapes) == 1 and work != "1x64")


def _chosen_by_default(rule: str, **values: str) -> bool:
    return bool(ROWS[rule].cls(np.zeros(1, np.float32), **values).param_groups[0].rule == rule)


#: The rows that a class chooses by default: the optimizers of the textbook.
TEXTBOOK = tuple(rule for rule in ROWS if _chosen_by_default(rule))
#: The same where peers can follow: torch's form of Nesterov's gradient in place of the textbook's.
COMMON = tuple(rule for rule in ROWS if _chosen_by_default(rule, convention="torch"))

STEP, PHASE = "step", "clip + step + zero"
MAX_NORM = 1.0  # of the whole optimizer phase; below the norm of every cell's gradients, so that it does clip
STEPS = 3  # before a contender may be timed
SAMPLE = 2048  # elements of a tensor that are compared, evenly spaced, and as many at either end


@dataclass(frozen=True)
class Cell:
    """One piece of work."""

    rule: str
    work: str
    threads: int = 1
    convention: str = "textbook"
    #: STEP, or PHASE: clip by the global norm, step, set the gradients to zero
    phase: str = STEP

    @property
    def row(self) -> Row:
        return ROWS[self.rule]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return WORKS[self.work]

    @property
    def values(self) -> dict[str, Any]:
        return {} if self.convention == "textbook" else {"convention": self.convention}

    @property
    def elements(self) -> int:
        return sum(map(prod, self.shapes))

    @property
    def bytes(self) -> int:
        """The least traffic of a step: the gradient is read, every buffer is read and written.

        In the whole phase the gradient is read once more for the norm, and written.
        """
        return (traffic(self.rule) + (8 if self.phase == PHASE else 0)) * self.elements

    def data(self, seed: int = 0) -> tuple[list[Array], list[Array]]:
        """Parameters and gradients, of either sign."""
        rng = np.random.default_rng(seed)
        return [_fill(rng, shape) for shape in self.shapes], [_fill(rng, shape) for shape in self.shapes]


def comparable(rule: str, work: str, threads: int, phase: str = STEP) -> Cell:
    """In torch's convention, whose equations most peers compute, where it has this row; else in the textbook's."""
    convention = "torch" if ROWS[rule].keeps({"convention": "torch"}) else "textbook"
    return Cell(rule, work, threads, convention, phase)


def traffic(rule: str) -> int:
    """Bytes per element that a step moves at least."""
    return 4 * (2 * len(runtime.RULES[rule][0]) + 1)


def _fill(rng: np.random.Generator, shape: Shape) -> Array:
    """Magnitudes 0.01 … 1. A short pattern, repeated: 10⁸ random numbers would take longer than the timing."""
    pattern = rng.uniform(0.01, 1.0, min(prod(shape), 65_521)) * rng.choice([-1.0, 1.0], min(prod(shape), 65_521))
    return np.resize(pattern.astype(np.float32), shape)


def validate(cell: Cell, run: Run, params: Sequence[Array], grads: Sequence[Array], tolerance: float = 1e-5) -> Run:
    """The run itself, once its first steps have agreed with the reference on a sample of every tensor.

    Rules go element by element, so a sample of the reference's input gives that sample of its output. The parameter
    may be off by float32's rounding of itself plus 1e-5 of the way it went, a state by 1e-5 of itself. A run that shows
    no states is judged by its parameters: from the second step on they depend on the states.
    """
    samples = [_sample(p.size) for p in params]
    start = [_pick(p, at) for p, at in zip(params, samples, strict=True)]
    norm = reference.global_norm(grads) if cell.phase == PHASE else 0.0
    expected = _expected(cell, start, [_pick(g, at) for g, at in zip(grads, samples, strict=True)], norm)
    if run.enter is not None:
        run.enter()
    for _ in range(STEPS):
        run.once()
    names = ("parameter", *cell.row.cls.rules[cell.rule])
    for i, (got, want, w, at) in enumerate(zip(run.buffers(), expected, start, samples, strict=True)):
        shown = len(got) if len(got) > 1 else 1
        for name, a, b in zip(names[:shown], got, want[:shown], strict=True):
            moved = tolerance * np.abs(b - w)
            bound = 4e-7 * np.abs(w) + moved if name == "parameter" else tolerance * np.abs(b) + 1e-30
            wrong = ~(np.abs(_pick(a, at) - b) <= bound)
            if wrong.any():
                j = int(np.flatnonzero(wrong)[0])
                raise AssertionError(
                    f"{run.name} is not timed: {cell.rule} on {cell.work}, {name} of tensor {i}, element {at[j]}: "
                    f"{_pick(a, at)[j]!r}, the reference has {b[j]!r} ({wrong.sum()} of {at.size} elements differ)"
                )
    return run


def _sample(n: int) -> npt.NDArray[np.int64]:
    if n <= 3 * SAMPLE:
        return np.arange(n)
    inner = np.linspace(SAMPLE, n - SAMPLE - 1, SAMPLE).astype(np.int64)
    return np.concatenate([np.arange(SAMPLE), inner, np.arange(n - SAMPLE, n)])


def _pick(a: Array, at: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return a.reshape(-1)[at].astype(np.float64)


def _expected(cell: Cell, ws: list[Any], gs: list[Any], norm: float) -> list[tuple[Any, ...]]:
    """What the reference makes of these elements: per tensor the parameter and its states."""
    h = cell.row.hyper(**cell.values)
    first = cell.row.make(np.zeros(1, np.float32), **cell.values).state[0]
    initial = [float(x[0]) for name, x in first.items() if name != "step"]
    states: list[Any] = [tuple(np.full(w.shape, x) for x in initial) for w in ws]
    for t in range(1, STEPS + 1):
        ws, states, _ = reference.step(cell.rule, ws, gs, states, t, h, norm=norm, max_norm=MAX_NORM)
    return [(w, *s) for w, s in zip(ws, states, strict=True)]
