"""The options of a benchmark, and its report: records for JSON and a table to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.cells import STEP
from bench.timing import Spread


@dataclass(frozen=True)
class Options:
    """The options of the command line, for every part."""

    rows: tuple[str, ...]
    threads: tuple[int, ...]
    works: tuple[str, ...]
    rounds: int
    phases: tuple[str, ...] = (STEP,)
    contenders: tuple[str, ...] = ()  # names; empty: all


@dataclass(frozen=True)
class Report:
    """The result of one part."""

    name: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    records: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()

    def extended(self, other: Report) -> Report:
        """This report with the rows and records of another run of the same part."""
        notes = dict.fromkeys([*self.notes, *other.notes])
        return replace(self, rows=[*self.rows, *other.rows], records=[*self.records, *other.records], notes=list(notes))

    def __str__(self) -> str:
        cells = [[str(cell) for cell in row] for row in (self.head, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        rule = "  ".join("-" * w for w in widths)
        return "\n".join([self.title, "", lines[0], rule, *lines[1:], *self.notes])


def seconds(time: Spread) -> dict[str, float]:
    """A spread of times as fields of a record, in seconds."""
    return {"median": time.median, "q1": time.q1, "q3": time.q3}


def ratios(ratio: Spread) -> dict[str, float]:
    return {"ratio": ratio.median, "ratio_q1": ratio.q1, "ratio_q3": ratio.q3}


def duration(time: float) -> str:
    """A time with a suitable unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if time >= size:
            return f"{time / size:.3g} {unit}"
    return f"{time / 1e-9:.3g} ns"


def between(spread: Spread, digits: int = 2) -> str:
    """1.03 (1.02–1.05)"""
    return f"{spread.median:.{digits}f} ({spread.q1:.{digits}f}–{spread.q3:.{digits}f})"
