"""Compares the instruction sets on the same arrays, in the caches and beyond them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import fastopt
from bench.cells import Cell
from bench.contenders import FASTOPT
from bench.report import Options, Report, between, duration, ratios, seconds
from bench.roofline import best_limit, limits_of
from bench.timing import Run, Spread, interleave, ratio
from fastopt._native import runtime

WORKS = ("20k", "20M")


def report(options: Options) -> Report:
    isas = fastopt.available_isas()
    records = [
        record
        for work in WORKS
        for threads in options.threads
        for rule in options.rows
        for record in compare(Cell(rule, work, threads), isas, options.rounds)
    ]
    head = ["work", "row", "threads", "isa", "time", f"time / {isas[0]}'s", "time / limit's"]
    return Report("isa", "Instruction sets", head, [_shown(r) for r in records], records)


def compare(cell: Cell, isas: tuple[str, ...], rounds: int) -> list[dict[str, Any]]:
    """One optimizer and its limit with each instruction set, in turns."""
    before = fastopt.isa()
    run = FASTOPT.run(cell)
    runs = [with_isa(run, isa) for isa in isas]
    try:
        samples = interleave([*runs, *limits_of(cell, run)], rounds)
    finally:
        runtime.set_isa(before)
    _, limit = best_limit(samples)
    base = {"work": cell.work, "rule": cell.rule, "threads": cell.threads}
    return [
        {**base, "isa": isa, **seconds(Spread.of(samples[isa]))}
        | ratios(ratio(samples[isa], samples[isas[0]]))
        | {"over_limit": ratios(ratio(samples[isa], limit))}
        for isa in isas
    ]


def with_isa(run: Run, isa: str) -> Run:
    return replace(run, name=isa, enter=lambda: runtime.set_isa(isa))


def _shown(r: dict[str, Any]) -> list[Any]:
    over = r["over_limit"]
    spreads = [Spread(x["ratio"], x["ratio_q1"], x["ratio_q3"]) for x in (r, over)]
    return [r["work"], r["rule"], r["threads"], r["isa"], duration(r["median"]), *map(between, spreads)]
