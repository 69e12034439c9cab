"""optax on the CPU backend of JAX: update and apply_updates are compiled together, parameters and state are donated.

XLA reads its number of threads from NPROC when JAX starts, so one process measures one number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.cells import Array, Cell
from bench.contenders.base import Contender
from bench.timing import Run

Hyper = Mapping[str, Any]


def _rmsprop(optax: Any, h: Hyper) -> Any:
    return optax.rmsprop(
        h["lr"],
        decay=h["alpha"],
        eps=h["eps"],
        centered=h["centered"],
        momentum=h["momentum"] or None,
        nesterov=h["nesterov"],
    )


def _adam(optax: Any, h: Hyper) -> Any:
    make = optax.amsgrad if h["amsgrad"] else optax.adam
    return make(h["lr"], b1=h["betas"][0], b2=h["betas"][1], eps=h["eps"], eps_root=h["eps_root"])


#: row -> its transformation
OPTAX: Mapping[str, Callable[[Any, Hyper], Any]] = {
    "sgd": lambda optax, h: optax.sgd(h["lr"]),
    "momentum": lambda optax, h: optax.sgd(h["lr"], momentum=h["momentum"]),
    "nesterov": lambda optax, h: optax.sgd(h["lr"], momentum=h["momentum"], nesterov=True),
    "adagrad": lambda optax, h: optax.adagrad(h["lr"], h["initial_accumulator_value"], h["eps"]),
    "adadelta": lambda optax, h: optax.adadelta(h["lr"], rho=h["rho"], eps=h["eps"]),
    "rmsprop": _rmsprop,
    "rmsprop_centered": _rmsprop,
    "rmsprop_momentum": _rmsprop,
    "rmsprop_centered_momentum": _rmsprop,
    "adam": _adam,
    "amsgrad": _adam,
}


def optax_jitted(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    if os.environ.get("NPROC") != str(cell.threads):
        raise RuntimeError(f"start the process with NPROC={cell.threads}: XLA reads its number of threads from it")
    import jax
    import optax

    transformation = OPTAX[cell.rule](optax, cell.row.hyper(**cell.values))
    ws, gs = [jax.numpy.array(p) for p in params], [jax.numpy.array(g) for g in grads]
    state = transformation.init(ws)

    def update(ws: Any, state: Any, gs: Any) -> tuple[Any, Any]:
        updates, state = transformation.update(gs, state, ws)
        return optax.apply_updates(ws, updates), state

    compiled = jax.jit(update, donate_argnums=(0, 1))

    def step() -> None:
        nonlocal ws, state
        ws, state = compiled(ws, state, gs)
        jax.block_until_ready(ws)

    return Run("optax", step, buffers=lambda: [(np.asarray(w),) for w in ws])


#: XLA did not finish compiling a step over 10,000 tensors within five minutes and used 7 GB
MOST_TENSORS = 1000

CONTENDERS = (
    Contender("optax", "optax", frozenset(OPTAX), optax_jitted, "optax", tolerance=4e-5, most_tensors=MOST_TENSORS),
)
