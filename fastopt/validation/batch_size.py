"""Trainings with several batch sizes from the same start, and the sharpness of the minimum that each found."""

from __future__ import annotations

import inspect
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fastopt import SGD
from fastopt._checks import integer, number
from fastopt._optional import require
from fastopt._types import Array, Rng
from fastopt.batches import batches
from fastopt.validation import parallel
from fastopt.validation._samples import samples
from fastopt.validation.cross_validation import table
from fastopt.validation.plots import TEST, TRAIN, axes_or_new, band
from fastopt.validation.sharpness import WARNING, hessian_eigenvalue, sharpness

DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)))
LossOf = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class Trained:
    """One training: final losses and scores, sharpness by epsilon, largest Hessian eigenvalue, steps, seconds."""

    batch_size: int
    train_loss: float
    test_loss: float
    train_score: float
    test_score: float
    sharpness: dict[float, float]
    eigenvalue: float
    steps: int
    seconds: float
    params: list[Array]


@dataclass(repr=False, eq=False)
class BatchSizeSweep:
    """What `batch_size_sweep` returns. Arrays are (batch sizes, repeats); NaN marks trainings that diverged."""

    batch_sizes: list[int]
    runs: list[list[Trained]]

    def _of(self, name: str) -> Array:
        return np.array([[getattr(run, name) for run in row] for row in self.runs], dtype=float)

    @property
    def test_scores(self) -> Array:
        return self._of("test_score")

    @property
    def train_scores(self) -> Array:
        return self._of("train_score")

    @property
    def gaps(self) -> Array:
        """Training score minus test score."""
        return self.train_scores - self.test_scores

    @property
    def eigenvalues(self) -> Array:
        return self._of("eigenvalue")

    def sharpness(self, epsilon: float) -> Array:
        return np.array([[run.sharpness[epsilon] for run in row] for row in self.runs])

    @property
    def epsilons(self) -> list[float]:
        return list(self.runs[0][0].sharpness)

    def columns(self) -> dict[str, Array]:
        """Means over the repeats, by name."""
        values = {name: self._of(name) for name in ("train_loss", "test_loss", "test_score")}
        values["gap"] = self.gaps
        values |= {f"sharpness {epsilon:g}": self.sharpness(epsilon) for epsilon in self.epsilons}
        values |= {"eigenvalue": self.eigenvalues, "steps": self._of("steps"), "seconds": self._of("seconds")}
        return {name: v.mean(axis=1) for name, v in values.items()}

    def to_frame(self) -> Any:
        """A pandas DataFrame, one row per training."""
        plain = [f.name for f in fields(Trained) if f.name not in ("sharpness", "params")]
        rows = [
            {name: getattr(run, name) for name in plain} | {f"sharpness_{e:g}": v for e, v in run.sharpness.items()}
            for row in self.runs
            for run in row
        ]
        return require("pandas", "to_frame()", parallel.EXTRA).DataFrame(rows)

    def plot(self, axes: Any = None) -> Any:
        """Scores, gap and sharpness by batch size: three axes. Returns them (axes[0].figure.savefig(...))."""
        with axes_or_new(axes, "plot()", panels=3) as axes:
            band(axes[0], np.array(self.batch_sizes), self.train_scores, "training", TRAIN, (0, (5, 1.5)))
            band(axes[0], np.array(self.batch_sizes), self.test_scores, "test", TEST)
            band(axes[1], np.array(self.batch_sizes), self.gaps, "gap", TEST)
            for epsilon, dash in zip(self.epsilons, itertools.cycle(DASHES), strict=False):
                values = self.sharpness(epsilon)
                band(axes[2], np.array(self.batch_sizes), values, f"sharpness, ε = {epsilon:g}", TRAIN, dash)
            titles = ("Score", "Training minus test score", "Sharpness (per cent)")
            for panel, title in zip(axes, titles, strict=True):
                panel.set_title(title, loc="left")
                panel.set_xlabel("batch size")
                panel.set_xscale("log", base=2)
            axes[0].legend(frameon=False)
            if self.epsilons:
                axes[2].set_yscale("log")
                axes[2].legend(frameon=False)
        return axes

    def __repr__(self) -> str:
        repeats = len(self.runs[0])
        head = f"{len(self.batch_sizes)} batch sizes, {repeats} training{'s' if repeats > 1 else ''} each (means)"
        return f"{head}\n{table(self.columns(), 'batch size', self.batch_sizes)}\nnote: {WARNING}"


@dataclass(frozen=True)
class SweepTask:
    """The arguments that all trainings share. Must be picklable."""

    loss: LossOf
    grad: LossOf
    score: LossOf | None
    params: list[Array]
    train: tuple[Any, Any]
    test: tuple[Any, Any]
    optimizer: Callable[..., Any]
    epochs: int
    epsilons: tuple[float, ...]


def batch_size_sweep(
    loss: LossOf,
    grad: LossOf,
    params: Sequence[Array],
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    *,
    batch_sizes: Sequence[int] = (8, 32, 128, 512),
    epochs: int = 20,
    optimizer: Callable[..., Any] | None = None,
    score: LossOf | None = None,
    epsilons: Sequence[float] = (1e-3, 5e-4),
    repeats: int = 1,
    n_jobs: int | None = None,
    rng: Rng = None,
    progress: bool = False,
) -> BatchSizeSweep:
    """Train at several batch sizes from the same start; report test score, gap and sharpness of each training.

    Large batches take fewer and less noisy steps. They tend to end in sharper minima that generalize worse. This
    measures whether that holds for one model, learning rate and number of epochs.

    Parameters
    ----------
    loss, grad : functions of (params, x, y): the mean loss over these samples, and its gradient as a list of arrays.
    params : where training starts: float32 arrays, copied for every run.
    train, test : (x, y) each.
    batch_sizes : each >= 1 and at most the number of training samples.
    epochs : passes over the training samples, the same for every batch size.
    optimizer : a function of the parameters, or of (params, batch_size), that makes the optimizer; default SGD with
        lr=0.1. With two arguments the learning rate can grow with the batch.
    score : a function of (params, x, y), greater is better; default −loss.
    epsilons : of the sharpness of the training loss; () measures neither sharpness nor eigenvalue.
    repeats : trainings per batch size, each in another random order.
    n_jobs, rng, progress : as in cross_validate.

    Source: Keskar et al., On large-batch training for deep learning, ICLR 2017.
    """
    arrays = _check_start(params)
    sizes = _check_data(train, test, batch_sizes)
    for epsilon in epsilons:
        number("epsilons", epsilon, 0, above=True)
    epochs = integer("epochs", epochs, 1)
    task = SweepTask(
        loss,
        grad,
        score,
        arrays,
        train,
        test,
        optimizer or _sgd,
        integer("epochs", epochs, 1),
        tuple(map(float, epsilons)),
    )
    items = [(task, size) for size in sizes for _ in range(integer("repeats", repeats, 1))]
    flat = parallel.run(_train, items, n_jobs=n_jobs, rng=rng, progress=progress, label="trainings")
    return BatchSizeSweep(sizes, [flat[i : i + repeats] for i in range(0, len(flat), repeats)])


def _check_data(train: Any, test: Any, batch_sizes: Sequence[int]) -> list[int]:
    """The batch sizes, none larger than the training set."""
    for name, data in (("train", train), ("test", test)):
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise TypeError(f"{name} must be a pair (x, y), got {type(data).__name__}")
        x, y = data
        if samples(x, f"{name} x") != samples(y, f"{name} y"):
            raise ValueError(f"{name}: x has {samples(x)} samples, y has {samples(y)}")
    sizes = [integer("batch_sizes", size, 1) for size in batch_sizes]
    n = samples(train[0])
    if not sizes or max(sizes) > n:
        raise ValueError(f"batch_sizes must be between 1 and the {n} training samples, got {list(batch_sizes)}")
    return sizes


def _sgd(params: list[Array]) -> Any:
    return SGD(params, lr=0.1)


def _check_start(params: Any) -> list[Array]:
    arrays = [params] if isinstance(params, np.ndarray) else list(params)
    for i, p in enumerate(arrays):
        if not isinstance(p, np.ndarray) or p.dtype != np.float32:
            raise TypeError(f"params[{i}] must be a float32 array, got {getattr(p, 'dtype', type(p).__name__)}")
    if not arrays:
        raise ValueError("params is empty: there is nothing to train")
    return arrays


def _train(task: SweepTask, batch_size: int, rng: np.random.Generator) -> Trained:
    params = [p.copy() for p in task.params]
    opt = task.optimizer(params) if _takes_one(task.optimizer) else task.optimizer(params, batch_size)
    x, y = task.train
    steps, start = 0, time.perf_counter()
    with np.errstate(over="ignore", invalid="ignore"):  # a training that diverges ends with NaN
        for _ in range(task.epochs):
            for xb, yb in batches(x, y, batch_size=batch_size, rng=rng):
                opt.step(lambda xb=xb, yb=yb: task.grad(params, xb, yb))
                steps += 1
        seconds = time.perf_counter() - start
        return _measure(task, batch_size, params, steps, seconds)


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        required = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    except (TypeError, ValueError):
        return True
    return len([p for p in required if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]) < 2


def _measure(task: SweepTask, batch_size: int, params: list[Array], steps: int, seconds: float) -> Trained:
    (x, y), (x_test, y_test) = task.train, task.test
    losses = float(task.loss(params, x, y)), float(task.loss(params, x_test, y_test))
    scores = (-losses[0], -losses[1])
    if task.score is not None:
        scores = float(task.score(params, x, y)), float(task.score(params, x_test, y_test))
    sharp, eigenvalue = dict.fromkeys(task.epsilons, math.nan), math.nan
    if math.isfinite(losses[0]) and task.epsilons:
        full_loss, full_grad = (lambda p: task.loss(p, x, y)), (lambda p: task.grad(p, x, y))
        sharp = {e: sharpness(full_loss, full_grad, params, epsilon=e, restarts=1).value for e in task.epsilons}
        eigenvalue = hessian_eigenvalue(full_grad, params, tol=1e-2, max_iter=50).value
    return Trained(batch_size, *losses, *scores, sharp, eigenvalue, steps, seconds, params)
