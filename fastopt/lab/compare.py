"""Train one and the same network with several optimizers and keep the numbers.

Same first weights, same batches in the same order, one epoch of each in turn; refuses to print, plot or tune
on the held-out rows.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, perf_counter_ns
from typing import Any, Literal, NamedTuple, cast

import numpy as np

import fastopt
from fastopt.lab.data import Problem, Split, scale, split
from fastopt.lab.errors import LabError, require
from fastopt.lab.network import Array, Learner, Task, initial_parameters

# Found on the digits by the search below over half-decades: the lowest validation loss (mean over 30 epochs
# and 5 seeds; geometric mean over the images as they are, 64 features, and enlarged fourfold, 1,024). On the
# small images alone rates three times as high win for some, and those blow up on the large ones.
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
# A squared error's slope grows with the error: at higher rates these three diverge on the same images with
# the digit as a number, large or small. The others stay with the rates above, which suit the small images
# and scikit-learn's diabetes; on the large ones all would like less.
REGRESSION_LR = {"SGD": 0.01, "Momentum": 0.001, "NAG": 0.001}
HALF_DECADES = tuple(float(f"{digit}e{power}") for power in range(-8, 4) for digit in (1, 3))
SEARCH_POINTS = 7  # half-decades tried, the default in their middle
GOAL_SHARE = 0.95  # of the best held-out score of all: who is there first?
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Settings:
    """What the user asked for. lr None: each optimizer's default; "search": by validation."""

    optimizers: tuple[str, ...]
    lr: float | Literal["search"] | None = None
    epochs: int = 30
    batch_size: int = 32
    hidden: tuple[int, ...] = (64,)
    test_size: float = 0.2
    seed: int = 0


class Epoch(NamedTuple):
    """The state after an epoch; the first one of a run, before any training, is number 0."""

    train_loss: float
    train_score: float
    held_out_loss: float
    held_out_score: float
    seconds: float  # of training until here, evaluation left out


@dataclass
class Run:
    """One optimizer's record; it ends before the epoch that brought a loss that is not finite."""

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
        """The median, which one page fault or one interrupt does not move."""
        return float(np.median(self.step_ns)) / 1e3 if self.step_ns else math.nan

    def reached(self, goal: float | None) -> int | None:
        """The first epoch after which the held-out score was at least `goal`."""
        if goal is None:
            return None
        return next((n for n, epoch in enumerate(self.history) if epoch.held_out_score >= goal), None)


@dataclass
class Comparison:
    """All runs and what they were made from."""

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
        """That share of the best score of all; None where no score is above zero (an R² can be below)."""
        return GOAL_SHARE * self.best_score if self.best_score > 0 else None


Watch = Callable[[str, Run], None]  # told the stage, "search" or "train", after every epoch


class Trainer:
    """One optimizer at work on its own copy of the weights."""

    def __init__(
        self, name: str, lr: float | None, task: Task, start: list[Array], rows: Split, settings: Settings
    ) -> None:
        self.rows = rows
        self.learner = Learner(task, start, min(settings.batch_size, len(rows.x_train)))
        self.optimizer = build(name, self.learner.params, lr)
        self.batches = fastopt.batches(
            rows.x_train,
            rows.y_train,
            batch_size=min(settings.batch_size, len(rows.x_train)),
            rng=np.random.default_rng([settings.seed, 2]),
            drop_last=True,  # a last batch of one row would take a whole step from a single, perhaps odd, row
        )
        # The textbook's NAG wants its gradient at the point it looks ahead to; the others where they stand.
        self.lookahead = getattr(self.optimizer, "lookahead", contextlib.nullcontext)
        self.run = Run(name, float(self.optimizer.param_groups[0]["lr"]))
        self._record(0.0)
        if self.run.diverged:
            raise LabError("the loss is not finite before any training: some rows lie far out")

    def epoch(self) -> None:
        """One pass over the training rows, then both losses and scores; nothing once diverged."""
        if self.run.diverged:
            return
        started = perf_counter()
        for x, y in self.batches:
            self._step(x, y)
        self._record(self.run.history[-1].seconds + perf_counter() - started)

    def _step(self, x: Array, y: Array) -> None:
        with self.lookahead():
            grads = self.learner.gradients(x, y)
        started = perf_counter_ns()
        self.optimizer.step(grads)
        self.run.step_ns.append(perf_counter_ns() - started)

    def _record(self, seconds: float) -> None:
        train = self.learner.evaluate(self.rows.x_train, self.rows.y_train)
        test = self.learner.evaluate(self.rows.x_test, self.rows.y_test)
        if all(map(math.isfinite, train + test)):
            self.run.history.append(Epoch(*train, *test, seconds))
        else:
            self.run.diverged = True


def available() -> dict[str, type[fastopt.Optimizer]]:
    """Every public optimizer of fastopt by its name, so that a new one needs no word here."""
    public = {name: getattr(fastopt, name) for name in fastopt.__all__}
    classes = {name: cls for name, cls in public.items() if isinstance(cls, type)}
    return {
        name: cls
        for name, cls in classes.items()
        if issubclass(cls, fastopt.Optimizer) and cls is not fastopt.Optimizer
    }


def named(text: str) -> tuple[str, ...]:
    """Optimizers from a comma list, in its order; upper and lower case alike."""
    known = {name.lower(): name for name in available()}
    wanted = dict.fromkeys(name.strip().lower() for name in text.split(","))
    if unknown := [name for name in wanted if name not in known]:
        raise LabError(f"no optimizer {unknown[0]!r}; there are {', '.join(sorted(known.values()))}")
    return tuple(known[name] for name in wanted)


def default_lr(name: str, task: Task) -> float:
    """The table's value; for an optimizer that has none there, its own default."""
    table = DEFAULT_LR | REGRESSION_LR if task == "regression" else DEFAULT_LR
    own = build(name, [np.zeros(1, np.float32)], None).param_groups[0]["lr"]
    return table.get(name, float(own))


def build(name: str, params: list[Array], lr: float | None) -> fastopt.Optimizer:
    make: Any = available()[name]  # every one of them takes lr, the base class does not promise it
    try:
        return cast(fastopt.Optimizer, make(params, lr=lr))
    except (ValueError, OverflowError) as error:
        raise LabError(f"{name}: {error}") from error


def compare(problem: Problem, settings: Settings, watch: Watch) -> Comparison:
    """Train all optimizers of the settings.

    Ctrl-C ends the training: what was trained until then comes back with `interrupted` set. BLAS is kept to
    one thread: its products here are small, and its sums would depend on the number of threads.
    """
    threadpools = require("threadpoolctl", "scikit-learn")
    train, test = split(problem, settings.test_size, np.random.default_rng([settings.seed, 0]))
    sizes = [problem.x.shape[1], *settings.hidden, problem.outputs]
    result = Comparison(settings, problem, len(train), len(test), sizes)
    start = initial_parameters(sizes, np.random.default_rng([settings.seed, 1]))
    with threadpools.threadpool_limits(1, user_api="blas"), np.errstate(all="ignore"):
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


def _learning_rates(result: Comparison, start: list[Array], train: Array, watch: Watch) -> dict[str, float]:
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
    """The mean over the epochs, so that learning early and staying good both count; infinite if diverged."""
    return math.inf if run.diverged else float(np.mean(run.series("held_out_loss")[1:]))
