"""One step of every row by every contender, for pytest-benchmark: compares two commits with --benchmark-autosave and
--benchmark-compare. The contenders run one after the other here; `python -m bench peers` gives ratios between them."""

from __future__ import annotations

import os
from itertools import product

import pytest

import fastopt
from bench.cells import comparable
from bench.contenders import CONTENDERS, FASTOPT, Contender
from bench.timing import Run
from fastopt._native import runtime

pytest.importorskip("pytest_benchmark")
os.environ.setdefault("NPROC", str(fastopt.get_num_threads()))  # XLA reads its number of threads here when it starts

WORKS = ("1x64", "100x64", "20k", "1M")
ROUNDS = 50  # if every call needs its own preparation

CASES = [(c, rule, work) for work, rule in product(WORKS, runtime.RULES) for c in CONTENDERS if rule in c.rules]

if missing := set(runtime.RULES) - {rule for c, rule, _ in CASES if c is FASTOPT}:
    raise ImportError(f"rows without a benchmark: {', '.join(sorted(missing))}")


@pytest.mark.parametrize(("contender", "rule", "work"), CASES, ids=lambda x: str(getattr(x, "name", x)))
@pytest.mark.benchmark(max_time=0.1, min_rounds=5)
def test_step(benchmark, contender: Contender, rule: str, work: str) -> None:
    if (why := contender.missing()) is not None:
        pytest.skip(why)
    cell = comparable(rule, work, fastopt.get_num_threads())
    benchmark.group = f"{rule}, {work}"
    benchmark.extra_info.update(isa=fastopt.isa(), threads=cell.threads, bytes=cell.bytes)
    run: Run = contender.run(cell)
    if run.prepare is None:
        benchmark(run.step)
    else:
        benchmark.pedantic(run.step, setup=run.prepare, rounds=ROUNDS)
