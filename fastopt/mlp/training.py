"""The training loop. A `TrainingTask` is one network to train; a `BatchedTrainer` trains several tasks together.

Each network gets the bits that it would get alone: products are computed model by model, other kernels row by row, and
random numbers come from the task's own streams. A plain network trains alone, in calls into C. Knows no estimator.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastopt._native import network as network_kernels
from fastopt._types import Array
from fastopt.mlp.batches import Batch, BatchSource
from fastopt.mlp.network import Network, Shape, Weights, initial_weights
from fastopt.mlp.recording import HISTORY, final_arrays, new_stopper, record_epoch
from fastopt.mlp.settings import TrainingSettings, make_optimizer
from fastopt.regularization import EarlyStopping, max_norm_, perturbed

# Multiplications in one call into C, about 20 ms. Ctrl-C is handled between calls.
MULTIPLICATIONS_PER_CALL = 2**30
STEP_COST = 2**16  # the time of a step without its products, as a number of multiplications


class Streams(NamedTuple):
    """A task's random generators, one per purpose."""

    weights: np.random.Generator
    order: np.random.Generator
    noise: np.random.Generator
    split: np.random.Generator  # the held-out part, and the search for lr


@dataclass
class TrainingTask:
    """One network to train, and its result.

    x : float32 (n, features) in C order, or CSR. y : int64 (n,) classes, or float32 (n, outputs).
    weight : float32 (n,) with mean 1, or None. validation : x, y and weight for after each epoch, or None.
    score : function of outputs, targets and weights. start : the first weights; None: random ones.
    optimizer_state : from an earlier task, to continue with. drop_last : no batch smaller than the others.
    """

    shape: Shape
    settings: TrainingSettings
    x: Any
    y: Array
    weight: Array | None
    streams: Streams
    validation: tuple[Any, Array, Array | None] | None = None
    score: Callable[[Array, Array, Array | None], float] = lambda outputs, y, weight: float("nan")
    start: Weights | None = None
    optimizer_state: dict[str, Any] | None = None
    drop_last: bool = False
    epochs_done: int = 0
    history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in HISTORY})
    stopper: EarlyStopping | None = None
    weights: Weights | None = None
    finished: bool = False
    interrupted: bool = False
    lr: Any = None  # the setting, or the result of the search
    lr_search: dict[str, list[float]] | None = None
    samples: int = 0  # samples per epoch; equal samples that were merged count separately
    seconds: float = 0.0  # of the training that this task continues

    def __post_init__(self) -> None:
        self.lr = self.settings.lr if self.lr is None else self.lr
        self.samples = self.samples or self.n
        if self.validation is not None and self.stopper is None:
            self.stopper = new_stopper(self.settings.early_stopping)

    @property
    def n(self) -> int:
        return int(self.x.shape[0])

    @property
    def batch_size(self) -> int:
        return min(self.settings.batch_size or self.n, self.n)

    @property
    def sgemm(self) -> Any:
        """The BLAS function for batches in one call into C; None if they run in NumPy."""
        return self.shape.sgemm_for(self.batch_size) if isinstance(self.x, np.ndarray) else None

    @property
    def plain(self) -> bool:
        """Whether samples and weights stay as they are, apart from the optimizer's steps."""
        s = self.settings
        return self.sgemm is not None and not (s.changes_samples or s.weight_noise or s.max_norm)

    @property
    def batches(self) -> list[tuple[int, int]]:
        """(start, rows) of the batches of an epoch. Batch norm drops a last batch of one row: it has no variance."""
        size = self.batch_size
        cuts = [(i, min(size, self.n - i)) for i in range(0, self.n, size)]
        smallest = size if self.drop_last else 2 if self.shape.batch_norm else 1
        return cuts[:-1] if len(cuts) > 1 and cuts[-1][1] < smallest else cuts


class BatchedTrainer:
    """Trains tasks of one shape and one number of batches. by_step: take single steps and never an epoch in C.

    net : the networks' arrays. gradients : of the optimizer's parameters, in order. totals : float64 (tasks,), the sums
    of the losses of an epoch. step : a function of `gradients` that updates the parameters.
    """

    def __init__(self, tasks: Sequence[TrainingTask], *, by_step: bool = False) -> None:
        self.tasks = sorted(tasks, key=lambda task: task.n)  # so that batches of one size are neighbours
        first = self.tasks[0]
        self.settings, self.shape = first.settings, first.shape
        rows = max(task.batch_size for task in tasks)
        self.net = Network(self.shape, len(tasks), rows, [t.streams.noise for t in self.tasks], first.sgemm)
        for k, task in enumerate(self.tasks):
            self._set_first_weights(k, task)
        self._make_optimizer()
        self.step: Callable[[list[Array]], Any] = self.optimizer.step
        self.totals = np.zeros(len(tasks))
        self.trained = [sum(rows for _, rows in task.batches) for task in self.tasks]
        in_c = len(tasks) == 1 and first.plain and not (by_step or self.optimizer.skip_nonfinite)
        self.epoch_in_c = self._make_epoch(first) if in_c else None
        self.source = None if in_c else BatchSource(self.tasks, self.net)
        s = self.settings
        self.smoothing = s.label_smoothing if self.shape.classes and not s.mixes else 0.0
        self.noise = [
            perturbed(self.net.of_model(k)[: len(self.net.params)], s.weight_noise, task.streams.noise)
            for k, task in enumerate(self.tasks)
            if s.weight_noise
        ]

    def _set_first_weights(self, k: int, task: TrainingTask) -> None:
        if task.start is not None:
            self.net.set_weights(k, task.start)
            return
        for mine, drawn in zip(self.net.params, initial_weights(self.shape, task.streams.weights), strict=False):
            mine[k] = drawn

    def _make_optimizer(self) -> None:
        """One optimizer for all models; with a param group per model if rates or penalties differ."""
        net, rates = self.net, [(task.lr, task.settings.l1, task.settings.l2) for task in self.tasks]
        same = all(rate == rates[0] for rate in rates)
        others = [*net.biases, *net.scales]
        self.optimizer: Any = make_optimizer(self.settings, net.matrices, others, rates[:1] if same else rates)
        by_id = {id(p): g for p, g in zip(net.params, net.gradients, strict=True)}
        # Threads of a step wait actively and would take the cores that BLAS or another fit needs.
        self.optimizer._array_step.limit_threads(1)
        order = [by_id[id(p)] for p in (*net.matrices, *others)]
        self.gradients = order if same else [g[k] for k in range(len(self.tasks)) for g in order]
        self.looks_ahead = bool(self.optimizer.param_groups[0].get("lookahead", False))
        state = self.tasks[0].optimizer_state
        if (
            state is not None
        ):  # continue with these states and step counts, but with the rates and penalties of the settings
            pairs = zip(self.optimizer.state_dict()["param_groups"], state["param_groups"], strict=True)
            groups = [{**mine, "steps": former["steps"]} for mine, former in pairs]
            self.optimizer.load_state_dict({**state, "param_groups": groups})

    def _make_epoch(self, task: TrainingTask) -> network_kernels.NetworkEpoch:
        fused = self.net.batch(0, 1, task.batch_size).fused
        assert fused is not None
        smoothing = self.settings.label_smoothing if self.shape.classes else 0.0
        return network_kernels.NetworkEpoch(
            fused, self.optimizer._array_step, self.gradients, task.x, task.y, task.weight, smoothing
        )

    # -- an epoch -----------------------------------------------------------------------------------------------------

    def epoch(self, stop: Callable[[], bool] = lambda: False) -> None:
        """One pass over all samples. stop: asked before each step or call; True raises a KeyboardInterrupt."""
        self.totals[:] = 0.0
        if self.epoch_in_c is not None:
            self._run_in_c(self.epoch_in_c, stop)
            return
        assert self.source is not None
        self.source.new_epoch()
        for batches in self.source.steps:
            if stop():
                raise KeyboardInterrupt
            self.train_on(batches)

    def _run_in_c(self, epoch: network_kernels.NetworkEpoch, stop: Callable[[], bool]) -> None:
        task = self.tasks[0]
        order = np.arange(task.n) if self.settings.batch_size is None else task.streams.order.permutation(task.n)
        products = 3 * task.batch_size * sum(a * b for a, b in pairwise(self.shape.sizes))
        samples = task.batch_size * max(1, MULTIPLICATIONS_PER_CALL // (products + STEP_COST))
        for start in range(0, len(order), samples):
            if stop():
                raise KeyboardInterrupt
            end = min(start + samples, len(order))
            scalars = self.optimizer._scalars_ahead(-(-(end - start) // task.batch_size))
            epoch.run(order, start, end, self.totals, scalars)

    def train_on(self, batches: list[Batch]) -> None:
        """One step: the gradients of these batches, and the optimizer's update."""
        with contextlib.ExitStack() as stack:
            if self.looks_ahead:  # the optimizer needs gradients at its lookahead point
                stack.enter_context(self.optimizer.lookahead())
            for noise in self.noise:
                stack.enter_context(noise)
            for batch in batches:
                self._compute_gradients(batch)
        self.step(self.gradients)
        if self.settings.max_norm is not None:
            for stacked in self.net.matrices:
                for w in stacked:
                    max_norm_(w, self.settings.max_norm, axis=0)

    def _compute_gradients(self, batch: Batch) -> None:
        assert self.source is not None
        one, targets = batch.pass_, self.source.fill(batch)
        totals, weighted = self.totals[one.first : one.last], self.source.weighted
        if one.fused is not None:
            one.fused.run(targets, totals, batch.weights if weighted else None, self.smoothing)
            return
        one.forward()
        one.loss(targets, self.smoothing)
        if weighted:
            one.flat_output_grads *= batch.weights.reshape(-1, 1)
            one.losses *= batch.weights
        one.add_losses(totals)
        one.backward()

    # -- after an epoch -----------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        return all(task.finished for task in self.tasks)

    def record(self, seconds: float) -> None:
        """Record the epoch of every unfinished task, and store the weights of tasks that end with it."""
        for k, task in enumerate(self.tasks):
            if not task.finished:
                record_epoch(
                    task, float(self.totals[k]) / self.trained[k], self._lr(k), task.seconds + seconds, self.net, k
                )
                if task.finished:
                    self.finish(k)

    def _lr(self, k: int) -> float:
        """The learning rate of model k in the last step."""
        groups = self.optimizer.param_groups
        group = groups[2 * k if len(groups) > 2 else 0]
        return float(group["lr"](max(0, group.clock.steps - 1)) if callable(group["lr"]) else group["lr"])

    def finish(self, k: int, *, interrupted: bool = False) -> None:
        """Give task k copies of its weights and of its optimizer state. The trainer may continue with other tasks."""
        task = self.tasks[k]
        task.finished, task.interrupted = True, interrupted
        arrays = final_arrays(task, self.net, k, interrupted=interrupted)
        task.weights = self.net.weights(k, arrays)
        task.optimizer_state = self._optimizer_state(k)

    def finish_all(self, *, interrupted: bool) -> None:
        for k, task in enumerate(self.tasks):
            if not task.finished or task.weights is None:
                self.finish(k, interrupted=interrupted)

    def _optimizer_state(self, k: int) -> dict[str, Any]:
        """The state_dict that an optimizer of model k alone would have."""
        if len(self.tasks) == 1:
            return self.optimizer.state_dict()  # type: ignore[no-any-return]
        net, task = self.net, self.tasks[k]
        own = [[a[k : k + 1] for a in arrays] for arrays in (net.matrices, [*net.biases, *net.scales])]
        alone = make_optimizer(self.settings, own[0], own[1], [(task.lr, task.settings.l1, task.settings.l2)])
        shared, count = len(self.optimizer.param_groups) == 2, len(net.params)
        states = self.optimizer.state if shared else self.optimizer.state[k * count : (k + 1) * count]
        for mine, former in zip(alone.state, states, strict=True):
            for name in mine.keys() - {"step"}:
                mine[name][...] = former[name][k : k + 1] if shared else former[name]
        groups = self.optimizer.param_groups[0 if shared else 2 * k :]
        for group, source in zip(alone.param_groups, groups, strict=False):
            group.clock.steps = source.clock.steps
        return alone.state_dict()


After = Callable[[BatchedTrainer], bool]


def train(trainers: Sequence[BatchedTrainer], after: After = lambda trainer: False) -> None:
    """Train until every task is finished. after: called after each epoch of a trainer; True ends its training.

    Ctrl-C ends the training, too: each task keeps its best weights so far and is marked `interrupted`.
    """
    with contextlib.suppress(KeyboardInterrupt):
        take_turns(deque(trainers), after)
    for trainer in trainers:
        trainer.finish_all(interrupted=True)


def take_turns(
    waiting: deque[BatchedTrainer],
    after: After = lambda trainer: False,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train the first trainer in the queue for an epoch, append it, and so on until the queue is empty.

    Several threads may share a queue. stop: see `BatchedTrainer.epoch`.
    """
    started = time.perf_counter()
    with np.errstate(all="ignore"):
        while waiting:
            try:
                trainer = waiting.popleft()
            except IndexError:  # another thread took the last trainer
                return
            if not trainer.finished:
                trainer.epoch(stop)
                trainer.record(time.perf_counter() - started)
                if after(trainer):
                    trainer.finish_all(interrupted=False)
                waiting.append(trainer)
