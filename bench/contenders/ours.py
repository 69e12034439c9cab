"""fastopt: its classes as a user calls them, its functions without state, and gradients at alternating addresses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastopt
from bench.cells import MAX_NORM, PHASE, STEP, Array, Cell
from bench.contenders.base import Contender, refill
from bench.timing import Run
from fastopt._native import runtime


def classes(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    """One array if the cell has one tensor, else a list."""
    fastopt.set_num_threads(cell.threads)
    opt, given = _optimizer(cell, params), _one_or_list(grads)
    run = Run("fastopt", lambda: opt.step(given), buffers=_buffers(opt, params), gradients=grads)
    before: list[Callable[[], None]] = []
    if opt.param_groups[0].get("lookahead", False):  # the textbook's step must follow a lookahead
        before.append(lambda: _look_ahead(opt))
    if cell.phase == PHASE:
        run.step = lambda: opt.step(given, max_norm=MAX_NORM, zero_grads=True)
        before.append(refill(grads, [g.copy() for g in grads]))
    if before:
        run.prepare = lambda: [prepare() for prepare in before]
    return run


def _look_ahead(opt: Any) -> None:
    with opt.lookahead():
        pass


def moving(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    """The same with every gradient at another address than in the step before, so that it must be checked again."""
    fastopt.set_num_threads(cell.threads)
    opt = _optimizer(cell, params)
    given = itertools.cycle([_one_or_list(grads), _one_or_list([g.copy() for g in grads])])
    return Run("fastopt, moving gradients", lambda: opt.step(next(given)), buffers=_buffers(opt, params))


def functional(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    """The function of the row, with states that the caller stores."""
    fastopt.set_num_threads(cell.threads)
    start = _optimizer(cell, [np.ones(1, np.float32)]).state[0]
    states = [[np.full_like(p, float(x[0])) for p in params] for name, x in start.items() if name != "step"]
    update, steps = getattr(fastopt.functional, f"{cell.rule}_"), itertools.count(1)
    implied = cell.row.cls.implied.get(cell.rule, {})
    given = {k: v for k, v in {**cell.row.chosen, **cell.values}.items() if k not in implied}
    arrays = [_one_or_list(x) for x in (params, grads, *states)]
    return Run(
        "fastopt functional",
        lambda: update(*arrays, step=next(steps), **given),
        buffers=lambda: list(zip(params, *states, strict=True)),
    )


def _one_or_list(arrays: Sequence[Array]) -> Array | list[Array]:
    return arrays[0] if len(arrays) == 1 else list(arrays)


def _optimizer(cell: Cell, params: Sequence[Array]) -> Any:
    return cell.row.make(_one_or_list(params), **cell.values)


def _buffers(opt: Any, params: Sequence[Array]) -> Callable[[], list[tuple[Array, ...]]]:
    def buffers() -> list[tuple[Array, ...]]:
        states = [[x for name, x in state.items() if name != "step"] for state in opt.state]
        return [(p, *s) for p, s in zip(params, states, strict=True)]

    return buffers


FASTOPT = Contender("fastopt", "fastopt", frozenset(runtime.RULES), classes, phases=frozenset({STEP, PHASE}))
MOVING = Contender("fastopt, moving gradients", "fastopt", FASTOPT.rules - {"nag"}, moving)
FUNCTIONAL = Contender("fastopt functional", "fastopt", FASTOPT.rules - {"nag"}, functional)
CONTENDERS = (FASTOPT, FUNCTIONAL)
