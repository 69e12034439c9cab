"""A contender: its name, the module it needs, its rows, and the function that builds a run for a cell."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.cells import STEP, Array, Cell, validate
from bench.timing import Run

Builder = Callable[[Cell, Sequence[Array], Sequence[Array]], Run]


@dataclass(frozen=True)
class Contender:
    """A library that can be timed. `build` gets its own parameters and gradients and may update them in place."""

    name: str
    needs: str
    rules: frozenset[str]
    build: Builder
    #: the convention that it computes; None: that of the cell
    convention: str | None = None
    phases: frozenset[str] = frozenset({STEP})
    #: allowed error relative to the change of a parameter; some libraries form bias corrections in float32
    tolerance: float = 1e-5
    #: the same with clipping; some libraries form the norm in float32, or clip by max_norm/(norm + 1e-6)
    phase_tolerance: float = 1e-5
    #: code written for this benchmark, as a user without an optimizer library would write it
    by_hand: bool = False
    #: the largest number of tensors on which it is measured
    most_tensors: int | None = None

    def missing(self) -> str | None:
        """The reason why this library cannot be timed, or None."""
        try:
            importlib.import_module(self.needs)
        except Exception as error:  # some libraries raise other errors, for instance without a compiler
            return f"{self.name} skipped: {type(error).__name__}: {error}"
        return None

    def has(self, cell: Cell) -> bool:
        few = self.most_tensors is None or len(cell.shapes) <= self.most_tensors
        return cell.rule in self.rules and cell.phase in self.phases and few

    def run(self, cell: Cell) -> Run:
        """Build a run for the cell and check its results."""
        cell = replace(cell, convention=self.convention or cell.convention)
        params, grads = cell.data()
        start, given = [p.copy() for p in params], [g.copy() for g in grads]
        tolerance = self.tolerance if cell.phase == STEP else self.phase_tolerance
        return validate(cell, self.build(cell, params, grads), start, given, tolerance)


def refill(gradients: Sequence[Array], values: Sequence[Array]) -> Callable[[], None]:
    """A function that restores gradients that a call has changed; it is not timed."""

    def prepare() -> None:
        for g, value in zip(gradients, values, strict=True):
            g[...] = value

    return prepare
