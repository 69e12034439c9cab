"""The learning-rate range test (Smith 2017): a short training during which the rate grows from step to step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from fastopt.mlp.training import BatchedTrainer, Streams, TrainingTask

LOW, HIGH, STEPS = 1e-6, 10.0, 100
SMOOTHING = 0.9  # of the running mean of losses
FAILED = 4.0  # the test ends where the mean loss exceeds this many times its minimum
SHARE = 0.1  # the result, as a share of the rate with the lowest mean loss


def search(task: TrainingTask) -> tuple[float, dict[str, list[float]]]:
    """A learning rate for this task, and {"lr", "loss"} of the steps of the test.

    Trains a copy for 100 steps at rates that grow geometrically from 1e-6 to 10, on the task's batches. The running
    mean of the loss falls, flattens and rises: the result is a tenth of the rate at its minimum. Smith, "Cyclical
    learning rates for training neural networks", WACV 2017.
    """
    seeds = task.streams.split.bit_generator.seed_seq.spawn(3)  # type: ignore[attr-defined]
    weights, order, noise = map(np.random.default_rng, seeds)

    def rate(step: int) -> float:
        return float(LOW * (HIGH / LOW) ** (min(step, STEPS - 1) / (STEPS - 1)))

    streams = Streams(weights, order, noise, task.streams.split)
    copy = replace(task, lr=rate, streams=streams, validation=None, stopper=None, history={})
    trainer = BatchedTrainer([copy], by_step=True)
    losses: list[float] = []
    with np.errstate(all="ignore"):
        while len(losses) < STEPS and not _failed(losses):
            _epoch(trainer, losses)
    smooth = _smoothed(losses)
    lrs = [rate(step) for step in range(len(losses))]
    return SHARE * lrs[int(np.nanargmin(smooth))], {"lr": lrs, "loss": losses}


def _epoch(trainer: BatchedTrainer, losses: list[float]) -> None:
    """Append the mean loss of each step of an epoch, until the test ends. Each step draws a new order."""
    assert trainer.source is not None
    for batches in trainer.source.steps:
        trainer.source.new_epoch()
        trainer.totals[:] = 0.0
        trainer.train_on(batches)
        losses.append(float(trainer.totals[0]) / batches[0].pass_.rows)
        if len(losses) == STEPS or _failed(losses):
            return


def _smoothed(losses: list[float]) -> list[float]:
    """An exponential running mean, corrected for its start at 0."""
    mean, smooth = 0.0, []
    for i, loss in enumerate(losses):
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss
        smooth.append(mean / (1.0 - SMOOTHING ** (i + 1)))
    return smooth


def _failed(losses: list[float]) -> bool:
    if not losses:
        return False
    smooth = _smoothed(losses)
    return not math.isfinite(losses[-1]) or smooth[-1] > FAILED * min(smooth)
