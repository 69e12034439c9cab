"""The step of one optimizer on one thread and on several, in turns, on the same arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import fastopt
from bench.cells import Cell
from bench.contenders import FASTOPT
from bench.report import Options, Report, between, duration, ratios, seconds
from bench.timing import Run, Spread, interleave, ratio

WORKS = ("100k", "1M", "10M", "20M")


def report(options: Options) -> Report:
    records = [
        record
        for work in WORKS
        for rule in options.rows
        for record in compare(rule, work, max(options.threads), options.rounds)
    ]
    head = ["work", "row", "threads", "time", "GB/s", "one thread's time / time"]
    return Report("scaling", "Scaling with threads", head, [_shown(r) for r in records], records)


def compare(rule: str, work: str, most: int, rounds: int) -> list[dict[str, Any]]:
    cell = Cell(rule, work, most)
    run = FASTOPT.run(cell)
    samples = interleave([on_threads(run, n) for n in range(1, most + 1)], rounds)
    return [
        {"work": work, "rule": rule, "threads": n, **seconds(Spread.of(times))}
        | {"bytes_per_second": cell.bytes / Spread.of(times).median}
        | ratios(ratio(samples["1"], times))
        for n, times in ((int(name), times) for name, times in samples.items())
    ]


def on_threads(run: Run, threads: int) -> Run:
    return replace(run, name=str(threads), enter=lambda: fastopt.set_num_threads(threads))


def _shown(r: dict[str, Any]) -> list[Any]:
    gain = between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"]))
    return [r["work"], r["rule"], r["threads"], duration(r["median"]), f"{r['bytes_per_second'] / 1e9:.1f}", gain]
