"""Fit many estimators together: networks of one shape, shared out over threads, with the bits of separate fits."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

import fastopt
from fastopt.mlp.blas import blas_threads_for, is_small, one_blas_thread
from fastopt.mlp.lr_search import search
from fastopt.mlp.training import BatchedTrainer, TrainingTask, take_turns, train
from fastopt.validation.estimators import CannotFitTogether


def fit_many(
    estimators: Sequence[Any], Xs: Sequence[Any], ys: Sequence[Any], sample_weights: Sequence[Any] | None = None
) -> list[Any]:
    """Fit estimators[k] on (Xs[k], ys[k]) with sample_weights[k], all together. Returns the estimators.

    The results have the same bits as separate fits, with any number of threads. Samples, weights, random_state, lr, l1
    and l2 may differ. Raises CannotFitTogether, before any estimator is changed, if other parameters differ, if there
    are callbacks, a progress bar, a warm start or a sparse X, or if one of the fits would fail. Small networks are
    shared out over `fastopt.get_num_threads()` threads. Ctrl-C ends all fits, as it ends one.
    """
    _check_estimators(estimators)
    weights = [None] * len(estimators) if sample_weights is None else list(sample_weights)
    if not len(Xs) == len(ys) == len(weights) == len(estimators):
        raise ValueError(f"{len(estimators)} estimators, {len(Xs)} Xs, {len(ys)} ys, {len(weights)} sample_weights")
    copies = [copy.copy(e) for e in estimators]  # until here an error changes no estimator
    tasks = [_make_task(*each) for each in zip(copies, Xs, ys, weights, strict=True)]
    if not tasks:
        return []
    first = tasks[0]
    _check_alike(tasks)
    workers = fastopt.get_num_threads() if is_small(first.shape.sizes, first.batch_size) else 1
    with blas_threads_for(first.shape.sizes, first.batch_size):
        for task in tasks:
            if isinstance(task.lr, str):
                task.lr, task.lr_search = search(task)
        _train_all(tasks, workers)
    for fitted, task in zip(copies, tasks, strict=True):
        fitted._set_fit(task)
    for estimator, fitted in zip(estimators, copies, strict=True):
        estimator.__dict__ = vars(fitted)  # one assignment, so that Ctrl-C cannot come in the middle
    for estimator, task in zip(estimators, tasks, strict=True):
        estimator._warn_if_interrupted(task)
    return list(estimators)


def _check_estimators(estimators: Sequence[Any]) -> None:
    for k, estimator in enumerate(estimators):
        if not hasattr(estimator, "_make_task"):
            raise TypeError(
                f"estimators[{k}] must be an MLPClassifier or MLPRegressor of fastopt, got {estimator!r:.60}"
            )
    if len({id(estimator) for estimator in estimators}) < len(estimators):
        raise ValueError("an estimator is among the estimators twice: each can hold one fit; clone it")


def _make_task(estimator: Any, X: Any, y: Any, w: Any) -> TrainingTask:
    if estimator.callbacks or estimator.verbose or estimator.warm_start:
        raise CannotFitTogether("callbacks, verbose and warm_start are for fits one after the other")
    if isinstance(estimator.random_state, (np.random.Generator, np.random.RandomState)):
        raise CannotFitTogether(
            "a generator as random_state would advance before it is known that all can be fitted together"
        )
    try:
        task: TrainingTask = estimator._make_task(X, y, w)
    except (TypeError, ValueError) as error:
        raise CannotFitTogether(f"one of the fits would fail: {error}") from error
    if not isinstance(task.x, np.ndarray):
        raise CannotFitTogether("sparse samples are fitted one after the other")
    return task


def _check_alike(tasks: Sequence[TrainingTask]) -> None:
    first = tasks[0]
    shared, small = first.settings.shared(), is_small(first.shape.sizes, first.batch_size)
    for task in tasks[1:]:
        if task.shape != first.shape or task.settings.shared() != shared:
            raise CannotFitTogether(f"{task.shape} and {task.settings} differ from {first.shape} and {first.settings}")
        if is_small(task.shape.sizes, task.batch_size) != small:
            raise CannotFitTogether("some of the batches are small and some are large")


def _train_all(tasks: list[TrainingTask], workers: int) -> None:
    """Plain networks one per trainer, others in batched trainers, on `workers` threads."""
    trainers = [BatchedTrainer([task]) for task in tasks] if tasks[0].plain else _batched(tasks, workers)
    if workers == 1 or len(trainers) == 1:
        train(trainers)
        return
    with one_blas_thread():
        _train_in_threads(trainers, workers)
    for trainer in trainers:
        trainer.finish_all(interrupted=True)


def _batched(tasks: list[TrainingTask], workers: int) -> list[BatchedTrainer]:
    """One trainer per thread and number of batches: a model that has no batch must not take a step."""
    groups: dict[tuple[int, bool], list[TrainingTask]] = {}
    for task in tasks:
        groups.setdefault((len(task.batches), task.weight is not None), []).append(task)
    parts = [group[i::workers] for group in groups.values() for i in range(workers)]
    return [BatchedTrainer(part) for part in parts if part]


def _train_in_threads(trainers: Sequence[BatchedTrainer], workers: int) -> None:
    """Train until all are finished, or Ctrl-C. An error in one thread ends the others and is raised here."""
    waiting, stop = deque(trainers), threading.Event()
    futures: list[Future[None]] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            futures += [pool.submit(take_turns, waiting, stop=stop.is_set) for _ in range(workers)]
            _wait(futures)
        except KeyboardInterrupt:
            pass  # the networks keep their weights so far
        finally:
            stop.set()  # the pool waits for its threads: each ends after its current call
    for future in futures:
        error = future.exception()
        if error is not None and not isinstance(error, KeyboardInterrupt):
            raise error


def _wait(futures: Sequence[Future[None]]) -> None:
    """Wait until all have ended or one has failed. The time limit lets Ctrl-C through on Windows, too."""
    while True:
        done, running = wait(futures, timeout=0.1, return_when=FIRST_EXCEPTION)
        if not running or any(future.exception() is not None for future in done):
            return
