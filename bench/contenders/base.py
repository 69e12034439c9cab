"""What a contender is: a name, the module it needs, the rows it has and how it is built for a cell."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.cells import STEP, Array, Cell, validate
from bench.timing import Run

Builder = Callable[[Cell, Sequence[Array], Sequence[Array]], Run]


@dataclass(frozen=True)
class Contender:
    """Who can be timed. `build` gets parameters and gradients of its own; it may update the parameters in place."""

    name: str
    needs: str
    rules: frozenset[str]
    build: Builder
    #: whose equations it computes; None: those of the cell
    convention: str | None = None
    phases: frozenset[str] = frozenset({STEP})
    #: of the way that a parameter went: some peers form their bias corrections in float32
    tolerance: float = 1e-5
    #: the same where gradients are clipped: some form the norm in float32, or clip by max_norm/(norm + 1e-6)
    phase_tolerance: float = 1e-5
    #: written for this benchmark, as a user without an optimizer library would: no peer
    by_hand: bool = False
    #: on more tensors it is not measured
    most_tensors: int | None = None

    def missing(self) -> str | None:
        """Why it cannot take part here."""
        try:
            importlib.import_module(self.needs)
        except Exception as error:  # some raise what they like: a compiler that they lack, an old NumPy
            return f"{self.name} skipped: {type(error).__name__}: {error}"
        return None

    def has(self, cell: Cell) -> bool:
        few = self.most_tensors is None or len(cell.shapes) <= self.most_tensors
        return cell.rule in self.rules and cell.phase in self.phases and few

    def run(self, cell: Cell) -> Run:
        """Built for the cell and found right."""
        cell = replace(cell, convention=self.convention or cell.convention)
        params, grads = cell.data()
        start, given = [p.copy() for p in params], [g.copy() for g in grads]
        tolerance = self.tolerance if cell.phase == STEP else self.phase_tolerance
        return validate(cell, self.build(cell, params, grads), start, given, tolerance)


def refill(gradients: Sequence[Array], values: Sequence[Array]) -> Callable[[], None]:
    """Puts gradients back that a call has used up; untimed."""

    def prepare() -> None:
        for g, value in zip(gradients, values, strict=True):
            g[...] = value

    return prepare
