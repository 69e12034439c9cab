"""The number of threads and the instruction set of a step, from environment variables, affinity and cgroups."""

from __future__ import annotations

import math
import os

from fastopt._native import runtime


def set_num_threads(threads: int | None) -> None:
    """Use at most this many threads in a step (1 to 4096); None restores the default. No result depends on it."""
    runtime.set_num_threads(default_num_threads() if threads is None else threads)


def default_num_threads() -> int:
    """OMP_NUM_THREADS, or the number of CPUs that the process's affinity and its cgroup's quota allow."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdecimal() and int(asked) >= 1:
        return min(int(asked), 4096)
    return max(1, min(_cpus(), _quota(), 4096))


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> int:
    """The number of CPUs that the quotas of this process's cgroup and of its parents allow, rounded up, at least 1."""
    allowed = [4096]  # stands for no quota
    for line in ["0::/", "0:cpu:/", *_read(own).splitlines()]:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = root if not controllers else f"{root}/cpu"
        steps = [step for step in path.split("/") if step]
        allowed += [_quota_of("/".join([folder, *steps[:depth]])) for depth in range(len(steps) + 1)]
    return min(allowed)


def _quota_of(folder: str) -> int:
    text = _read(f"{folder}/cpu.max")  # cgroup 2: "200000 100000" or "max 100000"
    if not text:
        text = f"{_read(f'{folder}/cpu.cfs_quota_us')} {_read(f'{folder}/cpu.cfs_period_us')}"  # cgroup 1
    try:
        quota, period = map(int, text.split())
        return max(1, math.ceil(quota / period)) if quota > 0 else 4096
    except (ValueError, ZeroDivisionError):
        return 4096


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def choose_isa() -> None:
    """Use the instruction set that FASTOPT_ISA names. ImportError if this CPU or this build does not have it."""
    asked = os.environ.get("FASTOPT_ISA")
    if asked:
        try:
            runtime.set_isa(asked)
        except ValueError as error:
            raise ImportError(f"FASTOPT_ISA: {error}") from None
