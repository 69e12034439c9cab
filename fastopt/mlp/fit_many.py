"""Many networks of one shape together, on threads: plain ones an epoch of each in turns, others with stacked weights,
batched products and one optimizer step for all."""

from __future__ import annotations

import _thread
import contextlib
import copy
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from fastopt._native import runtime
from fastopt.mlp.blas import is_small, one_thread, threads_for
from fastopt.mlp.lr_search import search
from fastopt.mlp.training import Job, Stack, take_turns, train
from fastopt.validation.estimators import CannotFitTogether


def fit_many(
    estimators: Sequence[Any], Xs: Sequence[Any], ys: Sequence[Any], sample_weights: Sequence[Any] | None = None
) -> list[Any]:
    """Fit estimators[k] on (Xs[k], ys[k]) with sample_weights[k], all together; returns them.

    The same bits as one after the other, in any number of threads. Samples, weights, seeds, lr, l1 and l2 may differ,
    and so may the numbers of samples. Raises CannotFitTogether, before anything is touched, where something else does;
    or a callback, a progress bar, a warm start or a sparse X is asked for; or where a fit would fail. Small networks
    are shared out over fastopt's threads.
    """
    _check_apart(estimators)
    weights = [None] * len(estimators) if sample_weights is None else list(sample_weights)
    if not len(Xs) == len(ys) == len(weights) == len(estimators):
        raise ValueError(f"{len(estimators)} estimators, {len(Xs)} Xs, {len(ys)} ys, {len(weights)} sample_weights")
    scratch = [copy.copy(e) for e in estimators]
    jobs = _jobs(scratch, Xs, ys, weights)
    if not jobs:
        return []
    workers = runtime.get_num_threads() if is_small(jobs[0].shape.sizes, jobs[0].batch_size) else 1
    with threads_for(jobs[0]):
        for job in jobs:
            if isinstance(job.lr, str):
                job.lr, job.found = search(job)
        _run(jobs, workers)
    for fitted, job in zip(scratch, jobs, strict=True):
        fitted._publish(job)
    for estimator, fitted in zip(estimators, scratch, strict=True):
        estimator.__dict__ = vars(fitted)  # at one stroke, which Ctrl-C cannot halve
    for estimator, job in zip(estimators, jobs, strict=True):
        estimator._say(job, stacklevel=3)
    return list(estimators)


def _check_apart(estimators: Sequence[Any]) -> None:
    for k, estimator in enumerate(estimators):
        if not hasattr(estimator, "_job"):
            raise TypeError(
                f"estimators[{k}] must be an MLPClassifier or MLPRegressor of fastopt, got {estimator!r:.60}"
            )
    if len({id(estimator) for estimator in estimators}) < len(estimators):
        raise ValueError("an estimator is among the estimators twice: each can hold one fit; clone it")


def _jobs(scratch: list[Any], Xs: Sequence[Any], ys: Sequence[Any], weights: Sequence[Any]) -> list[Job]:
    """Checked on copies of the estimators, so that they are as they were if it cannot be."""
    jobs: list[Job] = []
    for estimator, X, y, w in zip(scratch, Xs, ys, weights, strict=True):
        if estimator.callbacks or estimator.verbose or estimator.warm_start:
            raise CannotFitTogether("callbacks, verbose and warm_start are for fits one after the other")
        if isinstance(estimator.random_state, (np.random.Generator, np.random.RandomState)):
            raise CannotFitTogether("a generator as random_state would be drawn from before it is known that all fit")
        try:
            job = estimator._job(X, y, w)
        except (TypeError, ValueError) as error:
            raise CannotFitTogether(f"one of them cannot be fitted at all: {error}") from error
        if not isinstance(job.x, np.ndarray):
            raise CannotFitTogether("sparse samples are fitted one after the other")
        jobs.append(job)
        first = jobs[0]
        if job.shape != first.shape or job.settings.together() != first.settings.together():
            raise CannotFitTogether(f"{job.shape} and {job.settings} differ from {first.shape} and {first.settings}")
        if is_small(job.shape.sizes, job.batch_size) != is_small(first.shape.sizes, first.batch_size):
            raise CannotFitTogether("some of the batches are small and some are large")
    return jobs


def _run(jobs: list[Job], workers: int) -> None:
    """Plain networks one by one, others in stacks, shared out over threads."""
    stacks = [Stack([job]) for job in jobs] if jobs[0].plain else _stacks(jobs, workers)
    if workers == 1 or len(stacks) == 1:
        train(stacks)
    else:
        _run_threads(stacks, workers)


def _stacks(jobs: list[Job], workers: int) -> list[Stack]:
    """One per thread and count of batches: a model that has no batch must not take a step."""
    cohorts: dict[tuple[int, bool], list[Job]] = {}
    for job in jobs:
        cohorts.setdefault((len(job.batches), job.weight is not None), []).append(job)
    parts = [cohort[i::workers] for cohort in cohorts.values() for i in range(workers)]
    return [Stack(part) for part in parts if part]


def _run_threads(stacks: list[Stack], workers: int) -> None:
    """Ctrl-C comes to the main thread: it tells the workers, which keep what they have. Before they have begun it is an
    error like others: no estimator is changed."""
    crew = _Crew(stacks)
    with one_thread():
        crew.train(workers)
    for stack in stacks:
        stack.finish_all(interrupted=True)


class _Crew:
    """Threads that train the same stacks in turns.

    They are started and waited for by calls into C, which Ctrl-C cannot halve. What `threading` has for it is Python:
    one that comes at the wrong moment leaves its locks taken, and whoever waits for a thread waits for ever.
    """

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.waiting = deque(stacks)
        self.started: list[int] = []
        self.ended: list[BaseException | None] = []
        self.bell: SimpleQueue[None] = SimpleQueue()  # rung by whoever ends
        self.stop: list[bool] = []  # a flag: empty, or not

    def train(self, workers: int) -> None:
        """Until all are trained, or Ctrl-C; raises what went wrong in one of the threads, which ends the others."""
        try:
            self.started.extend(map(_thread.start_new_thread, repeat(self._work, workers), repeat(())))
            self._wait()
        finally:
            self.stop.append(True)  # whatever happened here, no worker trains on
            self._wait()
        for error in self.ended:
            if error is not None:
                raise error

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            with contextlib.suppress(KeyboardInterrupt):
                take_turns(self.waiting, stop=lambda: bool(self.stop))
        except BaseException as raised:
            self.stop.append(True)
            error = raised
        self.ended.append(error)
        self.bell.put(None)

    def _wait(self) -> None:
        """Until all have ended; Ctrl-C becomes `stop`. Without a time limit this would sleep through one that is no
        signal (Windows)."""
        while True:
            try:
                while len(self.ended) < len(self.started):
                    with contextlib.suppress(Empty):
                        self.bell.get(timeout=0.1)
                return
            except KeyboardInterrupt:
                self.stop.append(True)
