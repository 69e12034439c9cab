"""The source of batches: which samples each step uses, copied into the networks' buffers, augmented, noisy or mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._types import Array
from fastopt.mlp.network import Network, Pass
from fastopt.regularization import Mix, add_noise, cutmix, mixup

if TYPE_CHECKING:
    from fastopt.mlp.training import TrainingTask


@dataclass
class Batch:
    """Samples start to start + pass_.rows of the epoch's order, for the models of one pass.

    models : their numbers. targets : a buffer for them. weights : a buffer for the sample weights.
    """

    pass_: Pass
    models: range
    start: int
    targets: Array
    weights: Array


class BatchSource:
    """The batches of some tasks. steps: for each step of an epoch one `Batch` per batch size that occurs in it."""

    def __init__(self, tasks: Sequence[TrainingTask], net: Network) -> None:
        self.tasks, self.settings, self.shape = tasks, tasks[0].settings, net.shape
        self.changes, self.mixes = self.settings.changes_samples, self.settings.mixes
        self.weighted = any(task.weight is not None for task in tasks)
        self.sparse = not isinstance(tasks[0].x, np.ndarray)
        self.orders: list[Array] = []
        ones = [np.ones(task.n if self.weighted else 0, np.float32) for task in tasks]
        self.weights = [one if task.weight is None else task.weight for task, one in zip(tasks, ones, strict=True)]
        self._buffers: dict[Pass, tuple[Array, Array]] = {}
        self.steps = [self._step(net, cuts) for cuts in zip(*(task.batches for task in tasks), strict=True)]

    def _step(self, net: Network, cuts: Sequence[tuple[int, int]]) -> list[Batch]:
        """cuts: (start, rows) of each model. Neighbours with equal cuts share a batch."""
        batches, first = [], 0
        while first < len(cuts):
            last = first + 1
            while last < len(cuts) and cuts[last] == cuts[first]:
                last += 1
            start, rows = cuts[first]
            pass_ = net.batch(first, last, rows)
            batches.append(Batch(pass_, range(first, last), start, *self._buffers_for(pass_)))
            first = last
        return batches

    def _buffers_for(self, pass_: Pass) -> tuple[Array, Array]:
        if pass_ not in self._buffers:
            y, shape = self.tasks[0].y, (pass_.last - pass_.first, pass_.rows)
            self._buffers[pass_] = np.empty((*shape, *y.shape[1:]), y.dtype), np.empty(shape, np.float32)
        return self._buffers[pass_]

    def new_epoch(self) -> None:
        """Draw a new random order of each task's samples. The full batch needs none."""
        full = self.settings.batch_size is None
        self.orders = [np.arange(t.n) if full else t.streams.order.permutation(t.n) for t in self.tasks]

    def fill(self, batch: Batch) -> Array:
        """Copy the batch's samples into its pass, and change them as the settings say. Returns the targets."""
        one, tasks = batch.pass_, [self.tasks[k] for k in batch.models]
        chosen = [self.orders[k][batch.start : batch.start + one.rows] for k in batch.models]
        for k, model in enumerate(batch.models):
            # mode="clip" spares a buffer of the size of the batch; every order is a permutation of the samples
            if not self.sparse:
                tasks[k].x.take(chosen[k], 0, one.x[k], "clip")
            tasks[k].y.take(chosen[k], 0, batch.targets[k], "clip")
            if self.weighted:
                self.weights[model].take(chosen[k], 0, batch.weights[k], "clip")
        if self.sparse:
            one.sparse = tasks[0].x[chosen[0]]
        if not self.changes:
            return batch.targets
        mixes = [self._change(x, task.streams.noise) for x, task in zip(one.x, tasks, strict=True)]
        return self._mixed_targets(batch, [m for m in mixes if m is not None]) if self.mixes else batch.targets

    def _change(self, x: Array, rng: np.random.Generator) -> Mix | None:
        """Augment, add noise, mix: the samples of one model, in place. Returns how they were mixed, if they were."""
        s, mix = self.settings, None
        samples = x if s.sample_shape is None else x.reshape(-1, *s.sample_shape)
        if s.augment is not None:
            samples[...] = _augmented(s.augment, samples, rng)
        if s.input_noise:
            add_noise(x, s.input_noise, rng=rng, out=x)
        if s.mixes:
            by_cutmix = s.cutmix and (not s.mixup or rng.random() < 0.5)
            mixed, mix = cutmix(samples, s.cutmix, rng=rng) if by_cutmix else mixup(samples, s.mixup, rng=rng)
            samples[...] = mixed
        return mix

    def _mixed_targets(self, batch: Batch, mixes: list[Mix]) -> Array:
        if self.weighted:
            for w, mix in zip(batch.weights, mixes, strict=True):
                w[:] = mix.targets(w)
        pairs = zip(mixes, batch.targets, strict=True)
        if self.shape.classes:
            classes, eps = self.shape.sizes[-1], self.settings.label_smoothing
            return np.stack([mix.targets(y, num_classes=classes, smoothing=eps) for mix, y in pairs])
        return np.stack([mix.targets(y) for mix, y in pairs])


def _augmented(augment: Any, samples: Array, rng: np.random.Generator) -> Array:
    """The samples after augment(); checked, since assigning another shape would broadcast it silently."""
    made = augment(samples, rng=rng)
    if np.shape(made) != samples.shape:
        raise ValueError(
            f"augment returned {type(made).__name__} of shape {np.shape(made)} for samples {samples.shape}"
        )
    array = np.asarray(made)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"augment returned samples of dtype {array.dtype}, expected real numbers")
    return array
