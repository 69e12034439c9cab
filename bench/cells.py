"""A cell is one piece of work: optimizer, shapes, threads and data. `validate` checks that a contender computes it.

No optimizer is named here: the rows come from fastopt, the equations from the reference of the tests.
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
#: The same with torch's form of Nesterov momentum, which other libraries have, in place of the textbook's.
COMMON = tuple(rule for rule in ROWS if _chosen_by_default(rule, convention="torch"))

STEP, PHASE = "step", "clip + step + zero"
MAX_NORM = 1.0  # of PHASE; every cell's gradients have a larger norm, so clipping always happens
STEPS = 3  # steps that are compared with the reference before a contender is timed
SAMPLE = 2048  # elements compared: so many at each end of a tensor, and so many evenly spaced between


@dataclass(frozen=True)
class Cell:
    """One piece of work."""

    rule: str
    work: str
    threads: int = 1
    convention: str = "textbook"
    #: STEP, or PHASE: clip by the global norm, step and set the gradients to zero
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
        """The least bytes that a step moves: the gradient is read, every other array is read and written.

        PHASE also reads the gradient once more for the norm, and writes it.
        """
        return (traffic(self.rule) + (8 if self.phase == PHASE else 0)) * self.elements

    def data(self, seed: int = 0) -> tuple[list[Array], list[Array]]:
        """Parameters and gradients, of either sign."""
        rng = np.random.default_rng(seed)
        return [_fill(rng, shape) for shape in self.shapes], [_fill(rng, shape) for shape in self.shapes]


def comparable(rule: str, work: str, threads: int, phase: str = STEP) -> Cell:
    """A cell in torch's convention, which most libraries follow, if it has this row; otherwise in the textbook's."""
    convention = "torch" if ROWS[rule].keeps({"convention": "torch"}) else "textbook"
    return Cell(rule, work, threads, convention, phase)


def traffic(rule: str) -> int:
    """The least bytes per element that a step moves."""
    return 4 * (2 * len(runtime.RULES[rule][0]) + 1)


def _fill(rng: np.random.Generator, shape: Shape) -> Array:
    """Magnitudes 0.01 … 1. A short pattern is repeated, because drawing 10⁸ numbers takes longer than the timing."""
    pattern = rng.uniform(0.01, 1.0, min(prod(shape), 65_521)) * rng.choice([-1.0, 1.0], min(prod(shape), 65_521))
    return np.resize(pattern.astype(np.float32), shape)


def validate(cell: Cell, run: Run, params: Sequence[Array], grads: Sequence[Array], tolerance: float = 1e-5) -> Run:
    """Compare the first steps of a run with the reference on a sample of every tensor, and return the run.

    Rules work element by element, so the reference needs only the sample. Allowed errors: for a parameter, float32's
    rounding plus 1e-5 of its change; for a state, 1e-5 of its value. If a run does not expose its states, the
    parameters are enough, because from the second step on they depend on the states.
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
    """The reference's result for these elements: the parameter and its states, per tensor."""
    h = cell.row.hyper(**cell.values)
    first = cell.row.make(np.zeros(1, np.float32), **cell.values).state[0]
    initial = [float(x[0]) for name, x in first.items() if name != "step"]
    states: list[Any] = [tuple(np.full(w.shape, x) for x in initial) for w in ws]
    for t in range(1, STEPS + 1):
        ws, states, _ = reference.step(cell.rule, ws, gs, states, t, h, norm=norm, max_norm=MAX_NORM)
    return [(w, *s) for w, s in zip(ws, states, strict=True)]
