"""The speed of the machine's memory: loops in streams.c that read and write like an optimizer and only add.

streams.c is compiled for an instruction set when it is first needed. No model of the machine is used: the share of
the limit is a ratio of two measured loops, which ran in turns, on the same arrays if possible.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastopt
from bench import machine
from bench.cells import Array, Cell, traffic
from bench.report import Options, Report, seconds
from bench.timing import Run, Spread, interleave
from fastopt._native import runtime

LIMIT = "limit"  # the names of these runs begin with it
#: loop in streams.c -> number of arrays beside the gradient, bytes per element
LOOPS = {
    "update_1": (1, 12),
    "update_2": (2, 20),
    "update_3": (3, 28),
    "update_4": (4, 36),
    "copy": (1, 8),
    "scale": (1, 8),
    "triad": (2, 12),
    "decay": (1, 12),
    "decay_root": (2, 20),
}
FLAGS = (
    "-std=c11",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
    "-ffp-contract=off",
    "-fvisibility=hidden",
)
#: gcc would replace the copy by a call of memcpy, which may use non-temporal stores
FLAGS += ("-fno-tree-loop-distribute-patterns",) * (sys.platform != "darwin")
ISA_FLAGS = {
    "baseline": (),
    "avx2": ("-mavx2",),
    "avx512": ("-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mprefer-vector-width=512"),
}


def loop_of(rule: str) -> str:
    """The loop that reads and writes as many arrays as this row; ImportError if there is none."""
    name = f"update_{len(runtime.RULES[rule][0])}"
    if name not in LOOPS or LOOPS[name][1] != traffic(rule):
        raise ImportError(f"streams.c has no loop with the streams of {rule}: {name}")
    return name


RULE_LOOPS = {rule: loop_of(rule) for rule in runtime.RULES}


@functools.cache
def library(isa: str) -> ctypes.CDLL:
    """streams.c for this instruction set."""
    cc = machine.compiler()
    if cc is None:
        raise RuntimeError("no C compiler: set CC, or install one, to measure the speed of the memory")
    flags = [*FLAGS, *(ISA_FLAGS[isa] if platform.machine().lower() in ("x86_64", "amd64") else ())]
    if runtime.build_info()["openmp"] is not None:
        flags.append("-fopenmp")
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / f"streams_{isa}.so")
        subprocess.run([cc, *flags, str(Path(__file__).with_name("streams.c")), "-o", path], check=True)
        lib = ctypes.CDLL(path)
    pointer = ctypes.c_void_p
    lib.run.argtypes = [ctypes.c_int, pointer, pointer, ctypes.c_int64, ctypes.c_int, ctypes.c_int64]
    lib.run.restype = None
    return lib


def stream(loop: str, buffers: Sequence[Array], gradient: Array, threads: int, isa: str, times: int = 1) -> Run:
    """A run of one pass or several of a loop over these arrays. If fastopt has no OpenMP, it uses one thread.

    The gradient is replaced by its absolute value. It is added to every array in every pass, and an optimizer that owns
    these arrays takes the square root of some.
    """
    lib, which = library(isa), list(LOOPS).index(loop)
    np.abs(gradient, out=gradient)
    table = (ctypes.c_void_p * 4)(*(b.ctypes.data for b in buffers))
    arguments = (which, table, gradient.ctypes.data, gradient.size, threads, times)
    keep = (*buffers, gradient)

    def step(_keep: object = keep) -> None:
        lib.run(*arguments)

    return Run(f"{LIMIT} {loop} {isa}", step, times=times)


def limits_of(cell: Cell, run: Run) -> list[Run]:
    """Loops over the arrays of this run of fastopt, one per instruction set. For one tensor only."""
    (buffers,), (gradient,) = run.buffers(), run.gradients
    loop = RULE_LOOPS[cell.rule]
    return [stream(loop, buffers, gradient, cell.threads, isa) for isa in fastopt.available_isas()]


def best_limit(samples: dict[str, list[float]]) -> tuple[str, list[float]]:
    """The fastest limit of these samples, because the widest registers are not always the fastest."""
    limits = {name: times for name, times in samples.items() if name.startswith(LIMIT)}
    return min(limits.items(), key=lambda item: statistics.median(item[1]))


# -- python -m bench roofline -----------------------------------------------------------------------------------------


def sizes(arrays: int, threads: int) -> Iterator[tuple[str, int]]:
    """Elements per array to fill half of the L2 caches in use, half of the L3 cache, and eight times the L3 cache."""
    caches = machine.caches()
    yield "L2", caches["L2"] * threads // 2 // (4 * arrays)
    if caches["L3"] >= 4 * caches["L2"] * threads:
        yield "L3", caches["L3"] // 2 // (4 * arrays)
    yield "memory", max(20_000_000, 8 * caches["L3"] // (4 * arrays))


def aligned(n: int) -> Array:
    """Ones that begin at a cache line. Without it, every load of the widest registers would cross two lines."""
    block = np.ones(n + 16, np.float32)
    start = -block.ctypes.data % 64 // 4
    return block[start : start + n]


def level(name: str, threads: int, isa: str, rounds: int) -> list[dict[str, Any]]:
    """All loops at one level, in turns."""
    runs, counts = [], {}
    for loop, (n_buffers, _) in LOOPS.items():
        n = dict(sizes(n_buffers + 1, threads))[name]
        arrays = [aligned(n) for _ in range(n_buffers + 1)]
        times = max(1, 2_000_000 // n)  # so that the time of the call from Python does not matter
        runs.append(stream(loop, arrays[1:], arrays[0], threads, isa, times))
        counts[loop] = n
    samples = interleave(runs, rounds)
    records: list[dict[str, Any]] = []
    for loop, (_, bytes_) in LOOPS.items():
        time = Spread.of(samples[f"{LIMIT} {loop} {isa}"])
        speed = bytes_ * counts[loop] / time.median
        records.append(
            {"loop": loop, "level": name, "threads": threads, "isa": isa, "elements": counts[loop]}
            | {"bytes_per_element": bytes_, **seconds(time), "bytes_per_second": speed}
        )
    return records


def report(options: Options) -> Report:
    """Bytes per second of every loop, level and number of threads, on arrays that begin at a cache line."""
    records = []
    for threads in options.threads:
        for name, _ in sizes(2, threads):
            records += level(name, threads, fastopt.isa(), options.rounds)
    head = ["level", "threads", "loop", "bytes/element", "GB/s", "quartiles apart", "rows with this traffic"]
    return Report("roofline", "Speed of the memory", head, [_shown(r) for r in records], records)


def _shown(r: dict[str, Any]) -> list[object]:
    speed, apart = f"{r['bytes_per_second'] / 1e9:.1f}", f"{100 * (r['q3'] - r['q1']) / r['median']:.0f} %"
    rules = ", ".join(rule for rule, loop in RULE_LOOPS.items() if loop == r["loop"])
    return [r["level"], r["threads"], r["loop"], r["bytes_per_element"], speed, apart, rules]
