"""Independent tasks, in this process or by joblib's workers. Results do not depend on the number of workers.

Each task has its own random stream. joblib's backends (loky, threading, dask, ray) schedule the tasks.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastopt._checks import flag, rng_like
from fastopt._native import runtime
from fastopt._optional import require
from fastopt._types import Rng
from fastopt.threads import default_num_threads

EXTRA = "validation"


def seed_sequence(rng: Rng) -> np.random.SeedSequence:
    """The root of the tasks' streams: the same for a seed, a new one at each call for None and for a Generator."""
    rng_like("rng", rng)
    if isinstance(rng, np.random.Generator):
        return np.random.SeedSequence([int(word) for word in rng.integers(2**32, size=4, dtype=np.uint64)])
    if isinstance(rng, np.random.SeedSequence):
        return np.random.SeedSequence(rng.entropy, spawn_key=rng.spawn_key)
    return np.random.SeedSequence(rng)


def run(
    task: Callable[..., Any],
    items: Sequence[tuple[Any, ...]],
    *,
    n_jobs: int | None = None,
    rng: Rng = None,
    progress: Any = False,
    label: str = "fits",
) -> list[Any]:
    """[task(*item, rng=stream) for item in items], in order.

    Parameters
    ----------
    task : a function at module level, or one that cloudpickle can pickle.
    n_jobs : None or 1: in this process, one after the other, without joblib. Otherwise joblib's n_jobs; -1 means all
        CPUs, or the whole cluster that `joblib.parallel_config` names.
    rng : the root of the tasks' streams.
    progress : True shows a bar on stderr (needs rich). A value yielded by `bar` advances that bar.
    """
    streams = seed_sequence(rng).spawn(len(items))
    calls = [(task, item, stream) for item, stream in zip(items, streams, strict=True)]
    if n_jobs is not None and (isinstance(n_jobs, bool) or not hasattr(n_jobs, "__index__") or n_jobs == 0):
        raise ValueError(f"n_jobs must be None or an int other than 0, got {n_jobs!r}")
    if n_jobs is None or n_jobs == 1 or len(items) < 2:
        return _watched((_call(*call) for call in calls), len(calls), progress, label)
    joblib = require("joblib", f"n_jobs={n_jobs}", EXTRA)
    threads = max(1, default_num_threads() // max(1, joblib.effective_n_jobs(n_jobs)))
    bounded = [joblib.delayed(_call_bounded)(threads, *call) for call in calls]
    if not progress:
        return list(joblib.Parallel(n_jobs=n_jobs)(bounded))
    results = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(bounded)
    return _watched(results, len(calls), progress, label)


@contextmanager
def bar(total: int, progress: Any, label: str = "fits") -> Iterator[Any]:
    """One progress bar over several calls of `run`: pass what this yields to them as `progress`."""
    if callable(progress) or not flag("progress", progress):
        yield progress
        return
    console = require("rich.console", "progress=True", EXTRA).Console(stderr=True)
    with require("rich.progress", "progress=True", EXTRA).Progress(console=console) as shown:
        task = shown.add_task(label, total=total)

        def watched(results: Iterable[Any]) -> Iterator[Any]:
            for result in results:
                shown.advance(task)
                yield result

        yield watched


def _watched(results: Iterable[Any], total: int, progress: Any, label: str) -> list[Any]:
    with bar(total, progress, label) as watched:
        return list(watched(results) if watched else results)


def _call(task: Callable[..., Any], item: tuple[Any, ...], stream: np.random.SeedSequence) -> Any:
    return task(*item, rng=np.random.default_rng(stream))


def _call_bounded(threads: int, task: Callable[..., Any], item: tuple[Any, ...], stream: np.random.SeedSequence) -> Any:
    with bounded_threads(threads):
        return _call(task, item, stream)


class _Bound:
    """The bound in force in this process, and the settings before it."""

    lock = threading.Lock()
    inside = 0  # tasks of other threads may be inside too: the first one sets the bound, the last one removes it
    before = 0
    pools: Any = None


@contextmanager
def bounded_threads(threads: int) -> Iterator[None]:
    """Limit the threads of fastopt's kernels, and with threadpoolctl those of BLAS and OpenMP.

    The limit holds for the whole process: tasks that overlap in time must ask for the same number.
    """
    with _Bound.lock:
        if _Bound.inside == 0:
            _Bound.before = runtime.get_num_threads()
            runtime.set_num_threads(min(threads, _Bound.before))
            if importlib.util.find_spec("threadpoolctl") is not None:
                _Bound.pools = require("threadpoolctl", "n_jobs", EXTRA).threadpool_limits(threads)
        _Bound.inside += 1
    try:
        yield
    finally:
        with _Bound.lock:
            _Bound.inside -= 1
            if _Bound.inside == 0:
                runtime.set_num_threads(_Bound.before)
                if _Bound.pools is not None:
                    _Bound.pools.restore_original_limits()
                    _Bound.pools = None
