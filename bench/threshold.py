"""The size from which several threads are faster: the serial and the parallel path of one optimizer, in turns.

Measured twice: with steps one after the other, when the threads are awake, and with other work between them, when the
threads have gone to sleep. A training loop is between the two.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import Any

from bench.cells import WORKS, Cell
from bench.contenders import FASTOPT
from bench.report import Options, Report, between, duration, ratios
from bench.timing import Run, Spread, interleave, ratio
from fastopt._native import _testing

SIZES = tuple(2**k for k in range(12, 21))
IDLE = 5e-3  # seconds of other work between two steps; OpenMP's threads go to sleep earlier
NEVER = 2**62


def report(options: Options) -> Report:
    threads = max(options.threads)
    if threads < 2:
        raise ValueError("the serial threshold needs at least two threads: --threads 2")
    records = [
        compare(rule, size, threads, idle, options.rounds)
        for rule in options.rows
        for idle in (0.0, IDLE)
        for size in SIZES
    ]
    head = ["row", "between steps", "elements", "serial", "parallel", "serial / parallel"]
    notes = ["", f"the threshold in use is {_testing.serial_threshold()} elements; {threads} threads"]
    return Report("threshold", "Serial threshold", head, [_shown(r) for r in records], records, notes)


def compare(rule: str, size: int, threads: int, idle: float, rounds: int) -> dict[str, Any]:
    WORKS[str(size)] = ((size,),)
    run = FASTOPT.run(Cell(rule, str(size), threads))
    if idle:
        run = replace(run, prepare=lambda: busy(idle))
    before = _testing.serial_threshold()
    try:
        runs = [from_size(run, "serial", NEVER), from_size(run, "parallel", 0)]
        samples = interleave(runs, rounds) if not idle else interleave(runs, 4 * rounds, batch=0.0)
    finally:
        _testing.set_serial_threshold(before)
    medians = {f"{name}_median": Spread.of(times).median for name, times in samples.items()}
    base = {"rule": rule, "elements": size, "threads": threads, "idle": idle}
    return {**base, **medians, **ratios(ratio(samples["serial"], samples["parallel"]))}


def from_size(run: Run, name: str, elements: int) -> Run:
    return replace(run, name=name, enter=lambda: _testing.set_serial_threshold(elements))


def busy(seconds: float) -> None:
    """Keep this thread busy, so that its CPU does not slow down."""
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


def _shown(r: dict[str, Any]) -> list[Any]:
    gain = between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"]))
    between_steps = f"{1e3 * r['idle']:g} ms" if r["idle"] else "nothing"
    return [r["rule"], between_steps, r["elements"], *map(duration, (r["serial_median"], r["parallel_median"])), gain]
