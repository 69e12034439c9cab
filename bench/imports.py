"""The time of `import fastopt` after NumPy, and of `import numpy`, each in new processes, in turns."""

from __future__ import annotations

import os
import subprocess
import sys

from bench import ROOT
from bench.report import Options, Report, duration, seconds
from bench.timing import Spread

FEWEST = 21
#: Each process prints the seconds of its last import.
PROGRAM = "{before}; from time import perf_counter as c; t = c(); import {module}; print(c() - t)"
PROGRAMS = {
    "fastopt after numpy": PROGRAM.format(before="import numpy", module="fastopt"),
    "numpy": PROGRAM.format(before="pass", module="numpy"),
}


def report(options: Options) -> Report:
    samples: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for program in PROGRAMS.values():  # not recorded: compiles bytecode and fills the page cache
        import_seconds(program)
    for _ in range(max(FEWEST, options.rounds)):
        for name, program in PROGRAMS.items():
            samples[name].append(import_seconds(program))
    records = [{"import": name, **seconds(Spread.of(times)), "runs": len(times)} for name, times in samples.items()]
    rows = [
        [r["import"], duration(r["median"]), f"{duration(r['q1'])} – {duration(r['q3'])}", r["runs"]] for r in records
    ]
    return Report("import", "Import", ["import", "time", "quartiles", "processes"], rows, records)


def import_seconds(program: str) -> float:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # a user has compiled bytecode, too
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)
