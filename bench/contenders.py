"""Who takes part. A contender is a name, the module it needs, the rows it has and how it is built for a cell.

To add one, write a builder and a line in CONTENDERS. One whose module is missing is skipped, visibly, by its callers.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fastopt
from bench.cells import Array, Cell, validate
from bench.timing import Run
from fastopt import _core

Builder = Callable[[Cell, Sequence[Array], Sequence[Array]], Run]


@dataclass(frozen=True)
class Contender:
    """Who can be timed. `build` gets parameters and gradients of its own; it may update the parameters in place."""

    name: str
    needs: str
    rules: frozenset[str]
    build: Builder

    def missing(self) -> str | None:
        """Why it cannot take part here."""
        try:
            importlib.import_module(self.needs)
        except ImportError as error:
            return f"{self.name} skipped: {error}"
        return None

    def run(self, cell: Cell) -> Run:
        """Built for the cell and found right."""
        params, grads = cell.data()
        start = [p.copy() for p in params]
        return validate(cell, self.build(cell, params, grads), start, grads)


def contenders_of(rule: str) -> tuple[Contender, ...]:
    """Those that have this row, installed or not."""
    return tuple(c for c in CONTENDERS if rule in c.rules)


# -- fastopt ----------------------------------------------------------------------------------------------------------


def fastopt_numpy(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    """The classes, as a user calls them: one array if the cell has one tensor, else a list."""
    fastopt.set_num_threads(cell.threads)
    opt, given = _optimizer(cell, params), _one_or_list(grads)

    def look_ahead() -> None:  # a textbook gradient must have been taken there; the step alone is timed
        with opt.lookahead():
            pass

    prepare = look_ahead if opt.param_groups[0].get("lookahead", False) else None
    return Run("fastopt", lambda: opt.step(given), prepare, buffers=_buffers(opt, params), gradients=grads)


def fastopt_moving(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    """The same with every gradient at another address than in the step before: what was checked is checked again."""
    fastopt.set_num_threads(cell.threads)
    opt = _optimizer(cell, params)
    given = itertools.cycle([_one_or_list(grads), _one_or_list([g.copy() for g in grads])])
    return Run("fastopt, moving gradients", lambda: opt.step(next(given)), buffers=_buffers(opt, params))


def _one_or_list(arrays: Sequence[Array]) -> Array | list[Array]:
    return arrays[0] if len(arrays) == 1 else list(arrays)


def _optimizer(cell: Cell, params: Sequence[Array]) -> Any:
    return cell.row.make(_one_or_list(params), **cell.values)


def _buffers(opt: Any, params: Sequence[Array]) -> Callable[[], list[tuple[Array, ...]]]:
    def buffers() -> list[tuple[Array, ...]]:
        states = [[x for name, x in state.items() if name != "step"] for state in opt.state]
        return [(p, *s) for p, s in zip(params, states, strict=True)]

    return buffers


# -- torch ------------------------------------------------------------------------------------------------------------

#: row -> class in torch.optim, and its names for fastopt's hyper-parameters where they differ or are added
TORCH: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {}),
    "nesterov": ("SGD", {"nesterov": True}),
    "adagrad": ("Adagrad", {}),
    "adadelta": ("Adadelta", {}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop_centered": ("RMSprop", {}),
    "rmsprop_momentum": ("RMSprop", {}),
    "rmsprop_centered_momentum": ("RMSprop", {}),
    "adam": ("Adam", {}),
    "amsgrad": ("Adam", {}),
}
TORCH_NAMES = ("lr", "momentum", "dampening", "betas", "eps", "alpha", "rho", "centered", "amsgrad", "lr_decay")
TORCH_NAMES += ("initial_accumulator_value", "weight_decay", "maximize")


def torch_optim(cell: Cell, params: Sequence[Array], grads: Sequence[Array], **how: bool) -> Run:
    """torch.optim with the hyper-parameters that fastopt's torch convention resolves to."""
    import torch

    if cell.convention != "torch":
        raise ValueError(f"torch computes its own convention, not {cell.convention}'s")
    torch.set_num_threads(cell.threads)
    name, extra = TORCH[cell.rule]
    h = cell.row.hyper(**cell.values)
    tensors = [torch.nn.Parameter(torch.tensor(p)) for p in params]
    for p, g in zip(tensors, grads, strict=True):
        p.grad = torch.tensor(g)
    opt = getattr(torch.optim, name)(tensors, **{k: h[k] for k in TORCH_NAMES if k in h}, **extra, **how)
    states = cell.row.cls.rules[cell.rule]

    def buffers() -> list[tuple[Any, ...]]:
        return [(p.detach().numpy(), *(opt.state[p][s].numpy() for s in states)) for p in tensors]

    def restore_gradients() -> None:
        for p, g in zip(tensors, grads, strict=True):
            p.grad.copy_(torch.from_numpy(g))

    # torch's foreach loop leaves g + βa in the gradients of a Nesterov step
    prepare = restore_gradients if extra.get("nesterov") and how.get("foreach") else None
    return Run(f"torch {next(iter(how))}", opt.step, prepare, buffers=buffers)


def torch_foreach(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    return torch_optim(cell, params, grads, foreach=True)


def torch_fused(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    return torch_optim(cell, params, grads, fused=True)


FUSED = frozenset({"sgd", "momentum", "nesterov", "adagrad", "adam", "amsgrad"})

FASTOPT = Contender("fastopt", "fastopt", frozenset(_core.RULES), fastopt_numpy)
MOVING = Contender("fastopt, moving gradients", "fastopt", FASTOPT.rules, fastopt_moving)

CONTENDERS = (
    FASTOPT,
    Contender("torch foreach", "torch", frozenset(TORCH), torch_foreach),
    Contender("torch fused", "torch", FUSED, torch_fused),
)
