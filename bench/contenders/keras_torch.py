"""Keras' optimizers on its torch backend."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from bench.cells import Array, Cell
from bench.contenders.base import Contender
from bench.timing import Run

os.environ.setdefault("KERAS_BACKEND", "torch")

#: row -> class, and for each of its arguments fastopt's name
KERAS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": "momentum"}),
    "nesterov": ("SGD", {"momentum": "momentum"}),
    "adagrad": ("Adagrad", {"initial_accumulator_value": "initial_accumulator_value", "epsilon": "eps"}),
    "adadelta": ("Adadelta", {"rho": "rho", "epsilon": "eps"}),
    "rmsprop": ("RMSprop", {"rho": "alpha", "epsilon": "eps"}),
    "adam": ("Adam", {"epsilon": "eps"}),
}


def keras_torch(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    import keras
    import torch

    if keras.backend.backend() != "torch":
        raise RuntimeError("start the process with KERAS_BACKEND=torch")
    torch.set_num_threads(cell.threads)
    name, names = KERAS[cell.rule]
    h = cell.row.hyper(**cell.values)
    extra: dict[str, Any] = {"nesterov": True} if cell.rule == "nesterov" else {}
    opt = getattr(keras.optimizers, name)(h["lr"], **{theirs: h[ours] for theirs, ours in names.items()}, **extra)
    variables = [keras.Variable(p) for p in params]
    gs = [torch.tensor(g) for g in grads]
    opt.build(variables)

    def step() -> None:
        with torch.no_grad():
            opt.apply(gs)

    return Run("Keras (torch)", step, buffers=lambda: [(v.numpy(),) for v in variables])


CONTENDERS = (Contender("Keras (torch)", "keras", frozenset(KERAS), keras_torch, convention="keras", tolerance=4e-5),)
