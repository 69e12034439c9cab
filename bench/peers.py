"""Compares fastopt with other libraries, in turns in one process. Each is checked against its convention's equations
first.

Each number of threads has a process of its own, because some libraries read theirs from the environment at start. If
the contenders of a cell together would not fit into memory, they are timed in groups, with fastopt in each group.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from bench import machine
from bench.cells import PHASE, STEP, Cell, comparable
from bench.contenders import CONTENDERS, FASTOPT, Contender
from bench.report import Options, Report, between, duration, ratios, seconds
from bench.timing import Run, Spread, interleave, ratio

Record = dict[str, Any]

#: arrays per contender: parameters, gradients, two states, copies for the validation, and the contender's own copies
ARRAYS = 8
SHARE = 0.6  # of the memory that is available
SECONDS = 20.0  # time limit of a group; large work gets fewer rounds, but at least FEWEST
FEWEST = 5


def report(options: Options) -> Report:
    """Every work, in each phase that the options name."""
    records: list[Record] = []
    missing: list[str] = []
    for threads in options.threads:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _set_threads, (threads,)) as process:
            found, skipped = process.submit(all_cells, options, threads).result()
        records += found
        missing += [why for why in skipped if why not in missing]
    head = ["work", "what", "row", "threads", "contender", "time", "GB/s", "time / fastopt's"]
    return Report("peers", "fastopt and its peers", head, [_shown(r) for r in records], records, missing)


def _set_threads(threads: int) -> None:
    os.environ["NPROC"] = str(threads)  # XLA reads its number of threads from it
    os.environ["OMP_NUM_THREADS"] = str(threads)


def all_cells(options: Options, threads: int) -> tuple[list[Record], list[str]]:
    """The records, and for each missing contender the reason."""
    chosen = [c for c in CONTENDERS if not options.contenders or c.name in (FASTOPT.name, *options.contenders)]
    missing = {c.name: why for c in chosen if (why := c.missing()) is not None}
    present = [c for c in chosen if c.name not in missing]
    notes = list(missing.values())
    records = [
        record
        for work in options.works
        for phase in options.phases
        for rule in options.rows
        for record in compare(comparable(rule, work, threads, phase), present, options.rounds, notes)
    ]
    return records, notes


def compare(cell: Cell, present: Sequence[Contender], rounds: int, left_out: list[str]) -> list[Record]:
    """Validate all contenders of a cell, then time them in turns."""
    peers = [c for c in present if c.has(cell) and c is not FASTOPT]
    records: list[Record] = []
    for group in groups(cell, peers):
        built = {FASTOPT: FASTOPT.run(cell)} | {c: run for c in group if (run := _build(c, cell, left_out)) is not None}
        samples = interleave(list(built.values()), rounds, seconds=SECONDS, fewest=FEWEST)
        shown = [c for c in built if c is not FASTOPT or not records]
        records += [_record(cell, c, samples[c.name], samples[FASTOPT.name]) for c in shown]
        del built
    return records


def _build(contender: Contender, cell: Cell, left_out: list[str]) -> Run | None:
    """The validated run of a contender; None, with the reason in the report, if it fails or its results are wrong."""
    try:
        return contender.run(cell)
    except Exception as error:
        left_out.append(f"{contender.name} left out of {cell.rule} on {cell.work}: {type(error).__name__}: {error}")
        return None


def groups(cell: Cell, peers: Sequence[Contender]) -> Iterator[Sequence[Contender]]:
    """Groups of contenders that fit into memory together with fastopt."""
    each = 4 * ARRAYS * cell.elements
    at_a_time = max(1, int(SHARE * machine.available_memory() / each) - 1)
    for first in range(0, len(peers), at_a_time) or (0,):
        yield peers[first : first + at_a_time]


def _record(cell: Cell, contender: Contender, samples: list[float], ours: list[float]) -> Record:
    time = seconds(Spread.of(samples))
    return {
        "work": cell.work,
        "phase": cell.phase,
        "rule": cell.rule,
        "threads": cell.threads,
        "convention": contender.convention or cell.convention,
        "contender": contender.name,
        "by_hand": contender.by_hand,
        **time,
        "rounds": len(samples),
        "bytes_per_second": cell.bytes / time["median"],
        **ratios(ratio(samples, ours)),
    }


def _shown(r: Record) -> list[Any]:
    against = between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"]))
    speed = f"{r['bytes_per_second'] / 1e9:.1f}"
    return [r["work"], r["phase"], r["rule"], r["threads"], r["contender"], duration(r["median"]), speed, against]


PHASES = {"step": STEP, "whole": PHASE}
