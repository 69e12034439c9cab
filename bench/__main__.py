"""`python -m bench [PART ...]` runs the parts, prints a table of each, compares the figures with targets.py, and writes
a JSON file, a text file and the pictures. It measures nothing itself."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fastopt
from bench import (
    core,
    crowded,
    ensembles,
    estimator,
    imports,
    isas,
    layers,
    machine,
    peers,
    resampling,
    roofline,
    scaling,
    subnormal,
    targets,
    threshold,
    torch_adapter,
    validation,
)
from bench.cells import COMMON, SIZES, TEXTBOOK, WORKS
from bench.contenders import CONTENDERS
from bench.report import Options, Report
from bench.shapes import MODELS
from fastopt._native import runtime

PARTS: dict[str, Callable[[Options], Report]] = {
    "core": core.report,
    "import": imports.report,
    "roofline": roofline.report,
    "peers": peers.report,
    "torch": torch_adapter.report,
    "scaling": scaling.report,
    "crowded": crowded.report,
    "subnormal": subnormal.report,
    "isa": isas.report,
    "threshold": threshold.report,
    "validation": validation.report,
    "resampling": resampling.report,
    "ensembles": ensembles.report,
    "layers": layers.report,
    "estimator": estimator.report,
}
DEFAULT = ("core", "import")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        if args.from_files:
            return show([_read(path) for path in args.from_files], args.out)
        options, parts = _options(args)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    facts = machine.facts()
    print(machine.summary(facts), flush=True)
    reports = []
    for part in parts:
        reports.append(part(options))
        print(f"\n{reports[-1]}", flush=True)
    facts |= machine.loaded()
    result = {"machine": facts, "parts": {r.name: dataclasses.asdict(r) for r in reports}}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bench.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return show([result], args.out)


def _read(path: Path) -> dict[str, Any]:
    """Read bench.json of a run; ValueError for any other file."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no bench.json: {error}") from None
    if not isinstance(result, dict) or not {"machine", "parts"} <= result.keys():
        raise ValueError(f"{path} is no bench.json: it has no machine and parts")
    return result


def show(results: Sequence[dict[str, Any]], folder: Path) -> int:
    """Compare one run, or several on one machine, with the targets, and write the tables and pictures."""
    facts = results[0]["machine"]
    for key in ("cpu", "commit", "isa", "torch"):
        if len({result["machine"][key] for result in results}) > 1:
            raise ValueError(f"these runs differ in {key}: {', '.join(str(r['machine'][key]) for r in results)}")
    reports: dict[str, Report] = {}
    for name, part in [item for result in results for item in result["parts"].items()]:
        reports[name] = reports[name].extended(Report(**part)) if name in reports else Report(**part)
    records = {name: report.records for name, report in reports.items()}
    verdicts = targets.report(records)
    print(f"\n{verdicts}\n" if verdicts.rows else "", flush=True)
    doubts = [warning for result in results for warning in machine.warnings(result["machine"])]
    print("".join(f"WARNING: {warning}\n" for warning in doubts), end="")
    folder.mkdir(parents=True, exist_ok=True)
    text = [
        machine.summary(facts),
        *(f"WARNING: {doubt}" for doubt in doubts),
        str(verdicts),
        *map(str, reports.values()),
    ]
    (folder / "report.txt").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    try:
        from bench.pictures import draw_all
    except ImportError as error:
        print(f"no pictures: {error}")
        drawn = []
    else:
        drawn = draw_all(records, facts, folder)
    print(f"written: {', '.join(str(path) for path in (folder / 'report.txt', *drawn))}")
    return 0


def _options(args: argparse.Namespace) -> tuple[Options, list[Callable[[Options], Report]]]:
    names = tuple(c.name for c in CONTENDERS)
    options = Options(
        rows=_choose(args.rows, runtime.RULES, {"textbook": TEXTBOOK, "common": COMMON, "all": tuple(runtime.RULES)}),
        threads=tuple(dict.fromkeys(_count("--threads", n) for n in args.threads.split(","))),
        works=_choose(args.works, WORKS, {"all": tuple(WORKS), "sizes": SIZES, "models": tuple(MODELS)}),
        rounds=_count("--rounds", args.rounds),
        phases=tuple(peers.PHASES[name] for name in _choose(args.phases, peers.PHASES, {})),
        contenders=_choose(args.contenders, names, {}) if args.contenders else (),
    )
    return options, [PARTS[part] for part in _choose(",".join(args.parts), PARTS, {"all": tuple(PARTS)})]


def _count(option: str, asked: str) -> int:
    if not asked.strip().isdecimal() or int(asked) < 1:
        raise ValueError(f"{option}: {asked!r} is not a positive integer")
    return int(asked)


def _choose(
    asked: str, known: Sequence[str] | dict[str, object], groups: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Split "a,b" into names, replace groups by their members; ValueError for an unknown name."""
    names = [name for item in asked.split(",") for name in groups.get(item, (item,))]
    for name in names:
        if name not in known:
            raise ValueError(f"unknown: {name!r}; there are {', '.join([*known, *groups])}")
    return tuple(dict.fromkeys(names))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures fastopt on this machine.")
    parser.add_argument("parts", nargs="*", default=DEFAULT, help=f"{', '.join(PARTS)}, all; default: core import")
    parser.add_argument(
        "--rows", default="textbook", help="rows of csrc/rules.h, by comma; textbook (default), common, all"
    )
    most = fastopt.get_num_threads() if fastopt.build_info()["openmp"] is not None else 1
    counts = ",".join(map(str, sorted({1, most})))
    parser.add_argument("--threads", default=counts, help=f"numbers of threads, by comma; default: {counts}")
    parser.add_argument("--works", default="1x64,100x64,20k,1M", help=f"for peers: {', '.join(WORKS)}, all")
    parser.add_argument("--phases", default="step", help="for peers: step (default), whole (clip, step, zero)")
    parser.add_argument("--contenders", default="", help=f"for peers: {', '.join(c.name for c in CONTENDERS)}")
    parser.add_argument("--rounds", default="21", help="rounds; each times every contender once; default: 21")
    parser.add_argument("--out", type=Path, default=Path(".benchmarks"), help="a folder; default: %(default)s")
    parser.add_argument(
        "--from", dest="from_files", type=Path, nargs="+", metavar="JSON", help="measure nothing: report on these runs"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
