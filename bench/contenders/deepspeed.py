"""DeepSpeed's CPU optimizers: C++ with intrinsics and OpenMP, built with ninja and a C++ compiler at first use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from bench.cells import Array, Cell
from bench.contenders.base import Contender
from bench.contenders.torch_optim import CLIPPED, PHASES, as_arrays, parameters, with_phase
from bench.timing import Run

os.environ.setdefault("DS_ACCELERATOR", "cpu")


def _make(cell: Cell, tensors: list[Any]) -> Any:
    from deepspeed.ops.adagrad import DeepSpeedCPUAdagrad
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    h = cell.row.hyper(**cell.values)
    if cell.rule == "adagrad":
        return DeepSpeedCPUAdagrad(tensors, lr=h["lr"], eps=h["eps"])
    return DeepSpeedCPUAdam(tensors, lr=h["lr"], betas=h["betas"], eps=h["eps"], adamw_mode=False)


def deepspeed(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    import torch

    torch.set_num_threads(cell.threads)  # this sets OpenMP's default, which DeepSpeed uses
    tensors = parameters(params, grads)
    opt = _make(cell, tensors)
    run = Run("DeepSpeed", opt.step, buffers=lambda: as_arrays(tensors))
    return with_phase(run, cell, tensors, grads, opt)


CONTENDERS = (
    Contender(
        "DeepSpeed", "deepspeed", frozenset({"adagrad", "adam"}), deepspeed, "torch", PHASES, phase_tolerance=CLIPPED
    ),
)
