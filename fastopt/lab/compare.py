"""Train one network with several optimizers and keep the numbers. Prints, plots and tunes nothing.

All start from the same weights and see the same batches in the same order. They train in turns, one epoch each.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, perf_counter_ns
from typing import Any, Literal, NamedTuple

import numpy as np

from fastopt._types import Array
from fastopt.lab.data import Problem, Split, Task, scale, split
from fastopt.lab.errors import LabError
from fastopt.mlp.blas import one_blas_thread
from fastopt.mlp.network import Shape, Weights, initial_weights, mean_loss
from fastopt.mlp.settings import TrainingSettings, available_optimizers
from fastopt.mlp.training import BatchedTrainer, Streams, TrainingTask

# Found on the digits by the search below over half-decades: the lowest validation loss, as the mean over 30 epochs and
# 5 seeds, and as the geometric mean over two sizes of the images: 64 features as they are, and enlarged to 1,024. On
# the small images alone, some optimizers do better with three times these rates, but diverge on the large ones.
DEFAULT_LR = {
    "SGD": 0.1,
    "Momentum": 0.01,
    "NAG": 0.01,
    "Adagrad": 0.01,
    "Adadelta": 1.0,
    "RMSprop": 0.001,
    "Adam": 0.003,
    "AdamW": 0.003,
}
# The gradient of a squared error grows with the error. With higher rates these three diverge on the same images with
# the digit as a number. The other optimizers keep the rates above, which suit the small images and scikit-learn's
# diabetes data; on the large images all do better with lower rates.
REGRESSION_LR = {"SGD": 0.01, "Momentum": 0.001, "NAG": 0.001}
HALF_DECADES = tuple(float(f"{digit}e{power}") for power in range(-8, 4) for digit in (1, 3))
SEARCH_POINTS = 7  # half-decades tried, with the default in their middle
GOAL_SHARE = 0.95  # the goal is this share of the best held-out score of all optimizers
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Settings:
    """The arguments of the command. lr: None for each optimizer's default, "search" to choose it by validation."""

    optimizers: tuple[str, ...]
    lr: float | Literal["search"] | None = None
    epochs: int = 30
    batch_size: int = 32
    hidden: tuple[int, ...] = (64,)
    test_size: float = 0.2
    seed: int = 0


class Epoch(NamedTuple):
    """The state after an epoch. Epoch 0 is the state before any training."""

    train_loss: float
    train_score: float
    held_out_loss: float
    held_out_score: float
    seconds: float  # of training so far, without evaluation


@dataclass
class Run:
    """One optimizer's record. It ends before the first epoch with a loss that is not finite."""

    optimizer: str
    lr: float
    history: list[Epoch] = field(default_factory=list)
    step_ns: list[int] = field(default_factory=list)
    diverged: bool = False

    @property
    def epochs(self) -> int:
        return max(0, len(self.history) - 1)

    def series(self, name: str) -> list[float]:
        """One field of every epoch."""
        return [getattr(epoch, name) for epoch in self.history]

    @property
    def step_microseconds(self) -> float:
        """The median time of a step: a single page fault or interrupt does not change it."""
        return float(np.median(self.step_ns)) / 1e3 if self.step_ns else math.nan

    def reached(self, goal: float | None) -> int | None:
        """The first epoch after which the held-out score was at least `goal`."""
        if goal is None:
            return None
        return next((n for n, epoch in enumerate(self.history) if epoch.held_out_score >= goal), None)


@dataclass
class Comparison:
    """All runs, and the settings and data they were made from."""

    settings: Settings
    problem: Problem
    train_rows: int
    held_out_rows: int
    sizes: list[int]
    runs: list[Run] = field(default_factory=list)
    searched: dict[str, dict[float, float]] = field(default_factory=dict)  # lr -> validation loss
    interrupted: bool = False

    @property
    def best_score(self) -> float:
        return max((epoch.held_out_score for run in self.runs for epoch in run.history), default=math.nan)

    @property
    def goal(self) -> float | None:
        """GOAL_SHARE of the best score; None if no score is above 0 (R² can be negative)."""
        return GOAL_SHARE * self.best_score if self.best_score > 0 else None


Watch = Callable[[str, Run], None]  # called after every epoch with the stage, "search" or "train", and the run


class Trainer:
    """One optimizer, training its own copy of the network step by step."""

    def __init__(
        self, name: str, lr: float | None, task: Task, start: Weights, rows: Split, settings: Settings
    ) -> None:
        self.rows, self.classes = rows, task == "classification"
        # A smaller last batch is dropped: it would take a whole step from a few, perhaps unusual, rows.
        training = TrainingTask(
            Shape(start.sizes, classes=self.classes),
            TrainingSettings(optimizer=available_optimizers()[name], lr=lr, batch_size=settings.batch_size),
            rows.x_train,
            self._targets(rows.y_train),
            None,
            Streams(*(np.random.default_rng([settings.seed, 2]) for _ in Streams._fields)),
            start=start,
            drop_last=True,
        )
        try:
            self.trainer = BatchedTrainer([training], by_step=True)
        except (ValueError, OverflowError) as error:
            raise LabError(f"{name}: {error}") from error
        self.trainer.step = self._step
        self.run = Run(name, float(self.trainer.optimizer.param_groups[0]["lr"]))
        self._record(0.0)
        if self.run.diverged:
            raise LabError("the loss is not finite before any training: some rows lie far out")

    def _targets(self, y: Array) -> Array:
        return y.astype(np.int64, copy=False) if self.classes else y.astype(np.float32)[:, None]

    def epoch(self) -> None:
        """One pass over the training rows, then both losses and scores. Does nothing after the run has diverged."""
        if self.run.diverged:
            return
        started = perf_counter()
        self.trainer.epoch()
        self._record(self.run.history[-1].seconds + perf_counter() - started)

    def _step(self, gradients: list[Array]) -> None:
        started = perf_counter_ns()
        self.trainer.optimizer.step(gradients)
        self.run.step_ns.append(perf_counter_ns() - started)

    def _record(self, seconds: float) -> None:
        train = self.evaluate(self.rows.x_train, self.rows.y_train)
        test = self.evaluate(self.rows.x_test, self.rows.y_test)
        if all(map(math.isfinite, train + test)):
            self.run.history.append(Epoch(*train, *test, seconds))
        else:
            self.run.diverged = True

    def evaluate(self, x: Array, y: Array) -> tuple[float, float]:
        """Loss and score over all rows: accuracy, or R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)² (0 if y is constant)."""
        output = self.trainer.net.weights(0).infer(x, "relu").astype(np.float64)
        if self.classes:
            return mean_loss(output, y, None, True), float(np.mean(output.argmax(axis=1) == y))
        target = y.astype(np.float64)
        loss = mean_loss(output, target[:, None], None, False)
        spread = float(np.sum((target - target.mean()) ** 2))
        return loss, 1.0 - 2.0 * loss * len(y) / spread if spread > 0 else 0.0


def named(text: str) -> tuple[str, ...]:
    """The optimizers of a comma-separated list, in its order, in upper or lower case."""
    known = {name.lower(): name for name in available_optimizers()}
    wanted = dict.fromkeys(name.strip().lower() for name in text.split(","))
    if unknown := [name for name in wanted if name not in known]:
        raise LabError(f"no optimizer {unknown[0]!r}; there are {', '.join(sorted(known.values()))}")
    return tuple(known[name] for name in wanted)


def default_lr(name: str, task: Task) -> float:
    """The rate of the tables above, or the optimizer's own default if they have none."""
    table = DEFAULT_LR | REGRESSION_LR if task == "regression" else DEFAULT_LR
    make: Callable[..., Any] = available_optimizers()[name]
    return table.get(name, float(make([np.zeros(1, np.float32)]).param_groups[0]["lr"]))


def start_weights(sizes: list[int], rng: np.random.Generator) -> Weights:
    """The weights that every optimizer starts from."""
    params = initial_weights(Shape(tuple(sizes)), rng)
    return Weights(params[::2], params[1::2], [None] * (len(sizes) - 1))


def compare(problem: Problem, settings: Settings, watch: Watch) -> Comparison:
    """Train with all optimizers of the settings.

    Ctrl-C ends the training: the epochs until then are returned with `interrupted` set. BLAS uses one thread: the
    products are small, and the order of its sums would depend on the number of threads.
    """
    train, test = split(problem, settings.test_size, np.random.default_rng([settings.seed, 0]))
    sizes = [problem.x.shape[1], *settings.hidden, problem.outputs]
    result = Comparison(settings, problem, len(train), len(test), sizes)
    start = start_weights(sizes, np.random.default_rng([settings.seed, 1]))
    with one_blas_thread(), np.errstate(all="ignore"):
        try:
            lrs = _learning_rates(result, start, train, watch)
            rows = scale(problem, train, test)
            trainers = [Trainer(n, lr, problem.task, start, rows, settings) for n, lr in lrs.items()]
            result.runs = [trainer.run for trainer in trainers]
            for _ in range(settings.epochs):
                for trainer in trainers:
                    trainer.epoch()
                    watch("train", trainer.run)
        except KeyboardInterrupt:
            result.interrupted = True
    return result


def _learning_rates(result: Comparison, start: Weights, train: Array, watch: Watch) -> dict[str, float]:
    settings, problem = result.settings, result.problem
    if isinstance(settings.lr, float):
        return dict.fromkeys(settings.optimizers, settings.lr)
    if settings.lr is None:
        return {name: default_lr(name, problem.task) for name in settings.optimizers}
    part, validation = split(problem, VALIDATION_SHARE, np.random.default_rng([settings.seed, 3]), train)
    rows = scale(problem, part, validation)
    for name in settings.optimizers:
        found = result.searched[name] = {}
        for lr in grid(default_lr(name, problem.task)):
            trainer = Trainer(name, lr, problem.task, start, rows, settings)
            for _ in range(settings.epochs):
                trainer.epoch()
                watch("search", trainer.run)
            found[lr] = validation_loss(trainer.run)
    return {name: min(found, key=found.__getitem__) for name, found in result.searched.items()}


def grid(center: float) -> list[float]:
    """Half-decades 1, 3, 10, ... around a learning rate."""
    nearest = min(range(len(HALF_DECADES)), key=lambda i: abs(math.log(HALF_DECADES[i] / center)))
    first = max(0, nearest - SEARCH_POINTS // 2)
    return list(HALF_DECADES[first : first + SEARCH_POINTS])


def validation_loss(run: Run) -> float:
    """The mean over the epochs, which rewards quick learning and a good end. Infinite if the run diverged."""
    return math.inf if run.diverged else float(np.mean(run.series("held_out_loss")[1:]))
