"""Interleaved timing A B C A B C … in one process, summarized by medians, ratios of medians, and quartiles.

No minimum and no mean: on a shared machine a minimum is too good, and outliers dominate a mean.
"""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from time import perf_counter, sleep
from typing import Any

BATCH = 2e-3  # seconds of a batch of calls: far above the clock's resolution, below a time slice
MOST = 10_000  # calls in a batch
WAKE = 2e-3  # seconds of untimed calls before a batch
REST = 5e-3  # seconds before a batch, in which the threads of the run before it stop spinning and free their CPUs


@dataclass
class Run:
    """A call to be timed. `step` is the call; it does the work `times` times."""

    name: str
    step: Callable[[], object]
    #: called before every call, not timed (the calls are then timed one by one)
    prepare: Callable[[], object] | None = None
    #: called before every batch of calls, not timed
    enter: Callable[[], object] | None = None
    times: int = 1
    #: returns, per tensor, the parameter and its states as NumPy arrays that share memory with those of `step`
    buffers: Callable[[], list[tuple[Any, ...]]] = field(default=list)
    #: per tensor the gradient that `step` reads
    gradients: Sequence[Any] = ()

    def once(self) -> None:
        """One call with its preparation, not timed."""
        if self.prepare is not None:
            self.prepare()
        self.step()


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of seconds per unit of work, or of a ratio."""

    median: float
    q1: float
    q3: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        if len(samples) < 2:
            return cls(samples[0], samples[0], samples[0])
        q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, q1, q3)


def ratio(a: Sequence[float], b: Sequence[float]) -> Spread:
    """Median of a over median of b; the quartiles are those of the ratios round by round."""
    rounds = Spread.of([x / y for x, y in zip(a, b, strict=True)])
    return Spread(statistics.median(a) / statistics.median(b), rounds.q1, rounds.q3)


def interleave(
    runs: Sequence[Run], rounds: int, batch: float = BATCH, seconds: float = math.inf, fewest: int = 5
) -> dict[str, list[float]]:
    """Seconds per unit of work, one sample per round, for each run by name.

    After `seconds` no further round begins, but there are at least `fewest`.
    """
    if len({run.name for run in runs}) != len(runs):
        raise ValueError(f"two runs have the same name: {', '.join(run.name for run in runs)}")
    with _quiet():
        numbers = [_calibrate(run, batch) for run in runs]
        samples: dict[str, list[float]] = {run.name: [] for run in runs}
        end = perf_counter() + seconds
        for done in range(rounds):
            if done >= fewest and perf_counter() > end:
                break
            for run, number in zip(runs, numbers, strict=True):
                samples[run.name].append(_batch(run, number) / run.times)
    return samples


@contextmanager
def _quiet() -> Iterator[None]:
    """Switch off garbage collection."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _calibrate(run: Run, batch: float) -> int:
    """The number of calls in a batch, after two calls that load pages and caches and start threads."""
    if run.enter is not None:
        run.enter()
    run.once()
    run.once()
    quickest = min(_batch(run, 1) for _ in range(3))
    return max(1, min(MOST, math.ceil(batch / max(quickest, 1e-9))))


def _batch(run: Run, number: int) -> float:
    """Seconds per call, after a rest and calls that are not timed."""
    if run.enter is not None:
        run.enter()
    sleep(REST)
    _wake(run, number)
    if run.prepare is not None:
        return _one_by_one(run.prepare, run.step, number)
    step, calls = run.step, repeat(None, number)
    start = perf_counter()
    for _ in calls:
        step()
    return (perf_counter() - start) / number


def _wake(run: Run, number: int) -> None:
    """Call for WAKE seconds without timing: loads the caches, wakes the threads and raises the CPU's clock.

    If one call takes longer than a batch, this is not needed.
    """
    end = perf_counter() + WAKE
    while number > 1 and perf_counter() < end:
        run.once()


def _one_by_one(prepare: Callable[[], object], step: Callable[[], object], number: int) -> float:
    total = 0.0
    for _ in range(number):
        prepare()
        start = perf_counter()
        step()
        total += perf_counter() - start
    return total / number
