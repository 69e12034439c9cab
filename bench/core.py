"""fastopt's own figures: a small step called from Python, and each optimizer at 20 M elements against its limit."""

from __future__ import annotations

from typing import Any

from bench.cells import Cell
from bench.contenders import FASTOPT, MOVING
from bench.report import Options, Report, between, duration, ratios, seconds
from bench.roofline import best_limit, limits_of
from bench.timing import Spread, interleave, ratio

SMALL = ("1x64", "100x64", "10000x64")  # one Adam step from Python
LARGE = "20M"

Record = dict[str, Any]


def report(options: Options) -> Report:
    records = [record for work in SMALL for record in small(work, options)]
    for threads in options.threads:
        records += [large(Cell(rule, LARGE, threads), options.rounds) for rule in options.rows]
    head = ["row", "work", "threads", "time", "quartiles", "GB/s", "time / limit's"]
    notes = [
        "",
        "limit: a loop that reads and writes the same arrays and only adds, in turns; fastest instruction set",
    ]
    return Report("core", "fastopt's own figures", head, [_shown(r) for r in records], records, notes)


def small(work: str, options: Options) -> list[Record]:
    """Adam over small tensors, with the same gradient arrays in each step and with two that alternate."""
    cell = Cell("adam", work, max(options.threads))
    samples = interleave([FASTOPT.run(cell), MOVING.run(cell)], 10 * options.rounds)
    same, moving = (_record(cell, samples[c.name]) for c in (FASTOPT, MOVING))
    return [same, {**moving, "work": f"{work}, moving gradients"}]


def large(cell: Cell, rounds: int) -> Record:
    """One optimizer and its limits, in turns."""
    run = FASTOPT.run(cell)
    samples = interleave([run, *limits_of(cell, run)], rounds)
    name, limit = best_limit(samples)
    over = ratios(ratio(samples[run.name], limit))
    return {**_record(cell, samples[run.name]), "limit": {"loop": name, **seconds(Spread.of(limit))}, **over}


def _record(cell: Cell, samples: list[float]) -> Record:
    time = seconds(Spread.of(samples))
    base = {"rule": cell.rule, "work": cell.work, "threads": cell.threads}
    return {**base, **time, "bytes_per_second": cell.bytes / time["median"]}


def _shown(r: Record) -> list[Any]:
    over = between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"])) if "ratio" in r else ""
    quartiles = f"{duration(r['q1'])} – {duration(r['q3'])}"
    speed = f"{r['bytes_per_second'] / 1e9:.1f}"
    return [r["rule"], r["work"], r["threads"], duration(r["median"]), quartiles, speed, over]
