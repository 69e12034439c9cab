"""A step beside another process that keeps a core busy, as a data loader may: fastopt, fastopt on one thread, and torch
fused, in turns. Times are means over many steps, because rare long waits count, too."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter, sleep
from typing import Any

import fastopt
from bench.cells import Cell
from bench.contenders import CONTENDERS, FASTOPT
from bench.report import Options, Report, between, duration, ratios
from bench.timing import REST, Run, Spread, ratio

WORK, STRETCH = "1M", 0.3  # seconds
OTHER = "while True: pass"
FUSED = next(c for c in CONTENDERS if c.name == "torch fused")


def report(options: Options) -> Report:
    cell = Cell("adam", WORK, max(options.threads))
    records = []
    for busy in (False, True):
        with other_program(busy):
            records += compare(cell, busy, options.rounds)
    head = ["other process", "library", "a step", "its time / ours"]
    note = f"Adam, {WORK} floats, {cell.threads} threads; means over {STRETCH} s each, their median and quartiles"
    return Report("crowded", "Beside a busy process", head, [_shown(r) for r in records], records, ["", note])


@contextmanager
def other_program(runs: bool) -> Iterator[None]:
    """A process in an endless loop, on a core that the operating system chooses."""
    other = subprocess.Popen([sys.executable, "-c", OTHER]) if runs else None
    try:
        yield
    finally:
        if other is not None:
            other.kill()
            other.wait()


def compare(cell: Cell, busy: bool, rounds: int) -> list[dict[str, Any]]:
    ours = FASTOPT.run(cell)
    runs = [replace(ours, enter=lambda: fastopt.set_num_threads(cell.threads))]
    runs += [replace(ours, name="fastopt, one thread", enter=lambda: fastopt.set_num_threads(1))]
    runs += [FUSED.run(cell)] if FUSED.missing() is None else []
    means: dict[str, list[float]] = {run.name: [] for run in runs}
    for _ in range(rounds):
        for run in runs:
            means[run.name].append(stretch(run))
    return [
        {"busy": busy, "who": who, "seconds": statistics.median(m), **ratios(ratio(m, means[runs[0].name]))}
        for who, m in means.items()
    ]


def stretch(run: Run) -> float:
    """Seconds per step, the mean over STRETCH seconds."""
    if run.enter is not None:
        run.enter()
    sleep(REST)
    run.once()
    begun, steps = perf_counter(), 0
    while perf_counter() < begun + STRETCH:
        run.step()
        steps += 1
    return (perf_counter() - begun) / steps


def _shown(r: dict[str, Any]) -> list[Any]:
    beside = "endless loop" if r["busy"] else "none"
    return [beside, r["who"], duration(r["seconds"]), between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"]))]
