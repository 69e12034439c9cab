"""fastopt and its peers in turns in one process, on equal equations: those of torch's convention."""

from __future__ import annotations

from typing import Any

from bench.cells import Cell, comparable
from bench.contenders import CONTENDERS, FASTOPT, contenders_of
from bench.report import Options, Report, between, duration, ratios, seconds
from bench.timing import Spread, interleave, ratio


def report(options: Options) -> Report:
    missing = {c.name: why for c in CONTENDERS if (why := c.missing()) is not None}
    records = [
        record
        for work in options.works
        for threads in options.threads
        for rule in options.rows
        for record in compare(comparable(rule, work, threads), set(missing), options.rounds)
    ]
    head = ["work", "row", "threads", "contender", "time", "GB/s", "time / fastopt's"]
    return Report("peers", "fastopt and its peers", head, [_shown(r) for r in records], records, list(missing.values()))


def compare(cell: Cell, missing: set[str], rounds: int) -> list[dict[str, Any]]:
    """All contenders of a cell, validated and then in turns."""
    present = [c for c in contenders_of(cell.rule) if c.name not in missing]
    samples = interleave([c.run(cell) for c in present], rounds)
    base = {"work": cell.work, "rule": cell.rule, "threads": cell.threads, "convention": cell.convention}
    records = []
    for c in present:
        time = seconds(Spread.of(samples[c.name]))
        against = ratios(ratio(samples[c.name], samples[FASTOPT.name]))
        speed = {"bytes_per_second": cell.bytes / time["median"]}
        records.append({**base, "contender": c.name, **time, **speed, **against})
    return records


def _shown(r: dict[str, Any]) -> list[Any]:
    against = between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"]))
    speed = f"{r['bytes_per_second'] / 1e9:.1f}"
    return [r["work"], r["rule"], r["threads"], r["contender"], duration(r["median"]), speed, against]
