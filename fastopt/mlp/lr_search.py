"""The learning-rate range test (Smith 2017): one short run in which the rate grows from step to step."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from fastopt.mlp.training import Job, Stack

LOW, HIGH, STEPS = 1e-6, 10.0, 100
SMOOTHING = 0.9  # of the running mean of losses
FAILED = 4.0  # times the best loss: the end
SHARE = 0.1  # of the rate with the lowest loss


def search(job: Job) -> tuple[float, dict[str, list[float]]]:
    """A learning rate for this job, and {"lr", "loss"} of the steps of the test.

    From the job's first weights (of a copy), 100 steps at rates that grow geometrically from 1e-6 to 10, on the job's
    batches and with its noise. The running mean of the loss falls, flattens and rises: a tenth of the rate at its
    lowest point is taken. Smith, "Cyclical learning rates for training neural networks", WACV 2017.
    """
    streams = [np.random.default_rng(s) for s in job.streams[3].bit_generator.seed_seq.spawn(3)]  # type: ignore[attr-defined]

    def rate(step: int) -> float:
        return float(LOW * (HIGH / LOW) ** (min(step, STEPS - 1) / (STEPS - 1)))

    trial = Stack([replace(job, lr=rate, streams=streams, validation=None, stopper=None, history={})], by_step=True)
    tried: dict[str, list[float]] = {"lr": [], "loss": []}
    with np.errstate(all="ignore"):
        while len(tried["lr"]) < STEPS and not _over(tried["loss"]):
            for loss in _steps(trial):
                tried["lr"].append(rate(len(tried["lr"])))
                tried["loss"].append(loss)
                if len(tried["lr"]) == STEPS or _over(tried["loss"]):
                    break
    smooth = _smoothed(tried["loss"])
    return SHARE * tried["lr"][int(np.nanargmin(smooth))], tried


def _steps(trial: Stack) -> Any:
    """The mean loss of one batch after another of an epoch."""
    plan = trial.plan
    try:
        for passes in plan:
            trial.plan = [passes]
            trial.epoch()
            yield float(trial.totals[0]) / passes[0][0].rows
    finally:
        trial.plan = plan


def _smoothed(losses: list[float]) -> list[float]:
    """An exponential running mean without the bias of its start."""
    mean, smooth = 0.0, []
    for i, loss in enumerate(losses):
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss
        smooth.append(mean / (1.0 - SMOOTHING ** (i + 1)))
    return smooth


def _over(losses: list[float]) -> bool:
    if not losses:
        return False
    smooth = _smoothed(losses)
    return not math.isfinite(losses[-1]) or smooth[-1] > FAILED * min(smooth)
