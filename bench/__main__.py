"""`python -m bench [PART ...]`: runs the parts, prints a table of each and writes one JSON. Holds no measurement."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import fastopt
from bench import core, imports, isas, machine, peers, roofline, threshold
from bench.cells import TEXTBOOK, WORKS
from bench.report import Options, Report
from fastopt import _core

PARTS: dict[str, Callable[[Options], Report]] = {
    "core": core.report,
    "import": imports.report,
    "roofline": roofline.report,
    "peers": peers.report,
    "isa": isas.report,
    "threshold": threshold.report,
}
DEFAULT = ("core", "import")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        options = Options(
            rows=_choose(args.rows, _core.RULES, {"textbook": TEXTBOOK, "all": tuple(_core.RULES)}),
            threads=tuple(int(n) for n in args.threads.split(",")),
            works=_choose(args.works, WORKS, {"all": tuple(WORKS)}),
            rounds=args.rounds,
        )
        parts = [PARTS[part] for part in _choose(",".join(args.parts), PARTS, {"all": tuple(PARTS)})]
    except ValueError as error:
        parser.error(str(error))
    here = machine.facts()
    print(machine.summary(here), flush=True)
    reports = []
    for part in parts:
        reports.append(part(options))
        print(f"\n{reports[-1]}", flush=True)
    here |= machine.loaded()
    print("".join(f"\nWARNING: {warning}" for warning in machine.warnings(here)))
    write(args.out, {"machine": here, "parts": {r.name: r.records for r in reports}})
    return 0


def write(path: Path, result: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")


def _choose(
    asked: str, known: Sequence[str] | dict[str, object], groups: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """ "a,b" as names, groups spelt out; ValueError for one that is unknown."""
    names = [name for item in asked.split(",") for name in groups.get(item, (item,))]
    for name in names:
        if name not in known:
            raise ValueError(f"unknown: {name!r}; there are {', '.join([*known, *groups])}")
    return tuple(dict.fromkeys(names))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures fastopt on this machine.")
    parser.add_argument("parts", nargs="*", default=DEFAULT, help=f"{', '.join(PARTS)}, all; default: core import")
    parser.add_argument("--rows", default="textbook", help="rows of csrc/rules.h, by comma; textbook (default), all")
    most = fastopt.get_num_threads() if fastopt.build_info()["openmp"] is not None else 1
    counts = ",".join(map(str, sorted({1, most})))
    parser.add_argument("--threads", default=counts, help=f"numbers of threads, by comma; default: {counts}")
    parser.add_argument("--works", default="1x64,100x64,20k,1M", help=f"for peers: {', '.join(WORKS)}, all")
    parser.add_argument("--rounds", type=int, default=21, help="how often each takes its turn; default: 21")
    parser.add_argument("--out", type=Path, default=Path(".benchmarks/bench.json"), help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
