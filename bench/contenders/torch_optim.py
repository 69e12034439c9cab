"""The three implementations of torch.optim, with the hyper-parameters of fastopt's torch convention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from bench.cells import MAX_NORM, PHASE, STEP, Array, Cell
from bench.contenders.base import Contender, refill
from bench.timing import Run

#: row -> class in torch.optim, and additional arguments
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
NAMES = ("lr", "momentum", "dampening", "betas", "eps", "alpha", "rho", "centered", "amsgrad", "lr_decay")
NAMES += ("initial_accumulator_value", "weight_decay", "maximize")


#: torch forms the norm in float32; its error was 5e-6 on ResNet-50's gradients and 6e-4 on GPT-2's
CLIPPED = 2e-3
PHASES = frozenset({STEP, PHASE})


def torch_optim(cell: Cell, params: Sequence[Array], grads: Sequence[Array], how: str, **flags: bool) -> Run:
    import torch

    if cell.convention != "torch":
        raise ValueError(f"torch computes its own convention, not {cell.convention}'s")
    torch.set_num_threads(cell.threads)
    name, extra = TORCH[cell.rule]
    h = cell.row.hyper(**cell.values)
    tensors = parameters(params, grads)
    opt = getattr(torch.optim, name)(tensors, **{k: h[k] for k in NAMES if k in h}, **extra, **flags)
    states = cell.row.cls.rules[cell.rule]

    def buffers() -> list[tuple[Any, ...]]:
        return [(p.detach().numpy(), *(opt.state[p][s].numpy() for s in states)) for p in tensors]

    run = Run(f"torch {how}", opt.step, buffers=buffers)
    if extra.get("nesterov") and how == "foreach":  # its loop overwrites the gradients with g + βa
        run.prepare = refill([p.grad.numpy() for p in tensors], grads)
    return with_phase(run, cell, tensors, grads, opt)


def parameters(params: Sequence[Array], grads: Sequence[Array]) -> list[Any]:
    """torch parameters with copies of these values and gradients."""
    import torch

    tensors = [torch.nn.Parameter(torch.tensor(p)) for p in params]
    for p, g in zip(tensors, grads, strict=True):
        p.grad = torch.tensor(g)
    return tensors


def with_phase(run: Run, cell: Cell, tensors: list[Any], grads: Sequence[Array], opt: Any) -> Run:
    """If the cell's phase is PHASE, add torch's own clipping and zeroing around the step."""
    import torch

    if cell.phase == PHASE:
        step = run.step

        def phase() -> None:
            torch.nn.utils.clip_grad_norm_(tensors, MAX_NORM)
            step()
            opt.zero_grad(set_to_none=False)

        run.step, run.prepare = phase, refill([p.grad.numpy() for p in tensors], grads)
    return run


def _contender(how: str, rules: frozenset[str], **flags: bool) -> Contender:
    build: Callable[..., Run] = partial(torch_optim, how=how, **flags)
    return Contender(f"torch {how}", "torch", rules, build, "torch", PHASES, phase_tolerance=CLIPPED)


CONTENDERS = (
    _contender("loop", frozenset(TORCH), foreach=False),
    _contender("foreach", frozenset(TORCH), foreach=True),
    _contender("fused", frozenset({"sgd", "momentum", "nesterov", "adagrad", "adam", "amsgrad"}), fused=True),
)


def as_arrays(tensors: Sequence[Any]) -> list[tuple[np.ndarray[Any, Any], ...]]:
    """Parameters alone, for those whose states have other names."""
    return [(p.detach().numpy(),) for p in tensors]
