"""The figures that the core must reach: a small step from Python, and each optimizer against its limit at 20 M."""

from __future__ import annotations

from typing import Any

from bench.cells import Cell
from bench.contenders import FASTOPT, MOVING
from bench.report import Options, Report, between, duration, ratios, seconds
from bench.roofline import best_limit, limits_of
from bench.timing import Spread, interleave, ratio

SMALL = (("1x64", 1e-6), ("100x64", 8e-6))  # one Adam step from Python, seconds
LARGE = "20M"
MOST_OVER_LIMIT = 1.15

Record = dict[str, Any]


def report(options: Options) -> Report:
    records = [record for work, target in SMALL for record in small(work, target, options)]
    for threads in options.threads:
        records += [large(Cell(rule, LARGE, threads), options.rounds) for rule in options.rows]
    head = ["row", "work", "threads", "time", "quartiles", "GB/s", "time / limit's", "target", ""]
    notes = [
        "",
        "limit: a loop with the same streams and only additions, in turns, on the same arrays; the fastest ISA's",
    ]
    return Report("core", "The core's figures", head, [_shown(r) for r in records], records, notes)


def small(work: str, target: float, options: Options) -> list[Record]:
    """Adam over small tensors; and, without a target, with its gradients at other places from step to step."""
    cell = Cell("adam", work, max(options.threads))
    samples = interleave([FASTOPT.run(cell), MOVING.run(cell)], 10 * options.rounds)
    same, moving = (_record(cell, samples[c.name]) for c in (FASTOPT, MOVING))
    same |= {"target": target, "met": same["median"] <= target}
    return [same, {**moving, "work": f"{work}, moving gradients"}]


def large(cell: Cell, rounds: int) -> Record:
    """One optimizer and its limits, in turns."""
    run = FASTOPT.run(cell)
    samples = interleave([run, *limits_of(cell, run)], rounds)
    name, limit = best_limit(samples)
    over = ratios(ratio(samples[run.name], limit))
    base = {**_record(cell, samples[run.name]), "limit": {"loop": name, **seconds(Spread.of(limit))}, **over}
    return {**base, "target": MOST_OVER_LIMIT, "met": over["ratio"] <= MOST_OVER_LIMIT}


def _record(cell: Cell, samples: list[float]) -> Record:
    time = seconds(Spread.of(samples))
    base = {"rule": cell.rule, "work": cell.work, "threads": cell.threads}
    return {**base, **time, "bytes_per_second": cell.bytes / time["median"]}


def _shown(r: Record) -> list[Any]:
    over = between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"])) if "ratio" in r else ""
    target = "" if "target" not in r else f"<= {r['target']}" if over else f"<= {duration(r['target'])}"
    verdict = "" if "met" not in r else "met" if r["met"] else "MISSED"
    quartiles = f"{duration(r['q1'])} – {duration(r['q3'])}"
    speed = f"{r['bytes_per_second'] / 1e9:.1f}"
    return [r["rule"], r["work"], r["threads"], duration(r["median"]), quartiles, speed, over, target, verdict]
