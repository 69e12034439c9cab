"""The cost of subnormal numbers: a step with subnormal states against the same step with normal states.

It occurs in practice: if the gradient of a row of an embedding stays zero, its states decay until rounding stops them
at a few units of the smallest float32, 1.4e-45. fastopt computes with subnormal numbers as IEEE 754 says and never
flushes them to zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import fastopt
from bench.cells import Array, Cell
from bench.contenders import FASTOPT
from bench.report import Options, Report, between, duration, ratios, seconds
from bench.roofline import LOOPS, aligned, stream
from bench.timing import Run, Spread, interleave, ratio
from fastopt._native import runtime

WORKS = ("20k", "20M")
FLOORS = ("decay", "decay_root")  # loops of streams.c
#: the value at which the states of each kind start; with a zero gradient they decay
KINDS = {"normal": 1e-2, "subnormal": 1e-41}


def report(options: Options) -> Report:
    threads = max(options.threads)
    records = []
    for work in WORKS:
        for rule in options.rows:
            if len(runtime.RULES[rule][0]) > 1:  # it has states
                cell = Cell(rule, work, threads)
                run = FASTOPT.run(cell)
                records += compare(run, run.buffers()[0][1:], run.gradients[0], cell, options.rounds)
        records += [record for loop in FLOORS for record in floor(loop, work, threads, options.rounds)]
    head = ["work", "row", "threads", "states", "time", "time / normal states'"]
    note = "loops: the least work with subnormal numbers, b ← 0.9 b, alone and with a square root and a division"
    return Report(
        "subnormal", "Subnormal states, zero gradients", head, [_shown(r) for r in records], records, ["", note]
    )


def floor(loop: str, work: str, threads: int, rounds: int) -> list[dict[str, Any]]:
    """The cost of subnormal numbers in a minimal loop."""
    n_buffers = LOOPS[loop][0]
    arrays = [aligned(Cell("sgd", work).elements) for _ in range(n_buffers + 1)]
    run = stream(loop, arrays[1:], arrays[0], threads, fastopt.isa())
    return compare(run, (arrays[1],), arrays[0], Cell(f"loop {loop}", work, threads), rounds)


def compare(run: Run, states: Sequence[Array], gradient: Array, cell: Cell, rounds: int) -> list[dict[str, Any]]:
    gradient[...] = 0
    samples = interleave([with_states(run, states, kind) for kind in KINDS], rounds)
    return [
        {"work": cell.work, "rule": cell.rule, "threads": cell.threads, "states": kind}
        | seconds(Spread.of(times))
        | ratios(ratio(times, samples["normal"]))
        | {"still_subnormal": _still(run, states, kind)}
        for kind, times in samples.items()
    ]


def with_states(run: Run, states: Sequence[Array], kind: str) -> Run:
    """The run with its states reset before every batch, which is too short for normal numbers to become subnormal."""

    def enter() -> None:
        for state in states:
            state.fill(KINDS[kind])

    return replace(run, name=kind, enter=enter)


def _still(run: Run, states: Sequence[Array], kind: str) -> float:
    """The share of states that are subnormal after twenty steps."""
    prepared: Callable[[], None] | None = with_states(run, states, kind).enter
    assert prepared is not None
    prepared()
    for _ in range(20):
        run.once()
    tiny = float(np.finfo(np.float32).smallest_normal)
    return float(np.mean([np.mean((s != 0) & (np.abs(s) < tiny)) for s in states]))


def _shown(r: dict[str, Any]) -> list[Any]:
    over = between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"]))
    states = f"{r['states']} ({100 * r['still_subnormal']:.0f} % subnormal)"
    return [r["work"], r["rule"], r["threads"], states, duration(r["median"]), over]
