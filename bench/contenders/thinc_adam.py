"""Adam of thinc, which spaCy uses: one call per tensor, without its clipping, decay and averaging."""

from __future__ import annotations

from collections.abc import Sequence

from bench.cells import Array, Cell
from bench.contenders.base import Contender, refill
from bench.timing import Run


def thinc_adam(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    from thinc.api import Adam

    h = cell.row.hyper(**cell.values)
    beta1, beta2 = h["betas"]
    opt = Adam(h["lr"], L2=0.0, beta1=beta1, beta2=beta2, eps=h["eps"], grad_clip=0.0, use_averages=False)
    tensors = [((i, "W"), p, g) for i, (p, g) in enumerate(zip(params, grads, strict=True))]

    def step() -> None:
        for key, p, g in tensors:
            opt(key, p, g)
        opt.step_schedules()

    prepare = refill(grads, [g.copy() for g in grads])  # it zeroes the gradients
    return Run("thinc", step, prepare, buffers=lambda: [(p,) for p in params])


CONTENDERS = (Contender("thinc", "thinc.api", frozenset({"adam"}), thinc_adam, convention="sklearn"),)
