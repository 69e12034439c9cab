"""Records losses and validation scores after each epoch, and decides on early stopping. Trains nothing."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._types import Array
from fastopt.mlp.network import Network, mean_loss
from fastopt.regularization import EarlyStopping

if TYPE_CHECKING:
    from fastopt.mlp.training import TrainingTask

DIVERGED = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)
HISTORY = ("loss", "val_loss", "val_score", "lr", "seconds")


def new_stopper(wanted: Any) -> EarlyStopping:
    """A new EarlyStopping with the settings of `wanted`.

    Without early stopping it never stops: it keeps the best weights in case Ctrl-C ends the training.
    """
    if isinstance(wanted, EarlyStopping):
        stopper = copy.copy(wanted)
        stopper.reset()
        return stopper
    return EarlyStopping() if wanted else EarlyStopping(2**62, restore_best=False)


def record_epoch(task: TrainingTask, loss: float, lr: float, seconds: float, net: Network, k: int) -> None:
    """Append an epoch to the task's history, validate model k, and mark the task finished if it is."""
    if not math.isfinite(loss):
        raise ValueError(DIVERGED)
    task.epochs_done += 1
    task.history["loss"].append(loss)
    task.history["lr"].append(lr)
    task.history["seconds"].append(seconds)
    if task.validation is not None and task.stopper is not None:
        loss, score = _validate(task, net, k)
        task.history["val_loss"].append(loss)
        task.history["val_score"].append(score)
        if task.stopper.update(loss if task.stopper.mode == "min" else score, net.of_model(k)):
            task.finished = bool(task.settings.early_stopping)
    task.finished = task.finished or task.epochs_done >= task.settings.epochs


def _validate(task: TrainingTask, net: Network, k: int) -> tuple[float, float]:
    assert task.validation is not None
    x, y, weight = task.validation
    outputs = net.weights(k).infer(x, net.shape.activation).astype(np.float64)
    return mean_loss(outputs, y, weight, net.shape.classes), task.score(outputs, y, weight)


def final_arrays(task: TrainingTask, net: Network, k: int, *, interrupted: bool) -> list[Array]:
    """Copies of model k's arrays; the best ones, if early stopping restores them or the training was interrupted."""
    arrays = [a.copy() for a in net.of_model(k)]
    if task.stopper is not None and (interrupted or task.stopper.restore_best):
        task.stopper.restore(arrays)
    if not interrupted and not all(np.isfinite(a).all() for a in arrays):
        raise ValueError(DIVERGED)
    return arrays
