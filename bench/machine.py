"""The machine and software of a measurement: CPU, caches, compiler, instruction set, threads, versions, commit."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import fastopt
from bench import ROOT

PACKAGES = ("numpy", "torch", "deepspeed", "jax", "optax", "keras", "thinc", "numba")
CPU0 = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def facts() -> dict[str, Any]:
    """All facts, as a dict for JSON."""
    build = fastopt.build_info()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cpus": available_cpus(),
        "caches": caches(),
        "load": load(),
        "isa": fastopt.isa(),
        "isas": list(fastopt.available_isas()),
        "threads": fastopt.get_num_threads(),
        "openmp": None if build["openmp"] is None else Path(build["openmp"]).name,
        "compiler": build["compiler"],
        "flags": build["flags"],
        "stream_compiler": compiler_version(),
        "python": sys.version.split()[0],
        "fastopt": fastopt.__version__,
        **{name: version(name) for name in PACKAGES},
        "commit": commit(),
    }


def loaded() -> dict[str, Any]:
    """Facts that are known only after the measurements, when all libraries are loaded."""
    return {"openmp_runtimes": openmp_runtimes(), "load_at_end": load()}


def warnings(machine: dict[str, Any]) -> list[str]:
    """Reasons to doubt the figures."""
    found = []
    if machine["load"] != "unknown" and float(machine["load"]) > 0.25 * machine["cpus"]:
        found.append(f"load {machine['load']} at the start: other processes were running")
    if len(runtimes := machine["openmp_runtimes"]) > 1:
        found.append(f"{len(runtimes)} OpenMP runtimes in one process slow each other: {', '.join(runtimes)}")
    return found


def summary(machine: dict[str, Any]) -> str:
    """The lines at the top of a report."""
    caches_ = ", ".join(f"{name} {size / 2**20:g} MiB" for name, size in machine["caches"].items())
    lines = [
        f"CPU       {machine['cpu']}, {machine['cpus']} CPUs, {caches_}; load {machine['load']}",
        f"ISA       {machine['isa']} of {', '.join(machine['isas'])}; threads {machine['threads']}",
        f"compiler  {machine['compiler']}: {machine['flags']}; streams: {machine['stream_compiler']}",
        f"versions  Python {machine['python']}, "
        + ", ".join(f"{name} {machine[name] or 'not installed'}" for name in ("fastopt", *PACKAGES)),
        f"commit    {machine['commit']}, {machine['date']}",
    ]
    return "\n".join(lines)


def available_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu() -> str:
    """The CPU's name, and on x86 its family and model, because virtual machines often hide the name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(line.split(":", 1) for line in text.partition("\n\n")[0].splitlines() if ":" in line)
    info = {key.strip(): value.strip() for key, value in found.items()}
    if "model name" not in info:
        return platform.processor() or platform.machine()
    return f"{info['model name']} (family {info.get('cpu family')}, model {info.get('model')})"


def caches() -> dict[str, int]:
    """Bytes of L1d, L2 and L3 of the first CPU; common values if the system does not report them."""
    sizes = {"L1": 32 * 2**10, "L2": 2**20, "L3": 32 * 2**20}
    for index in sorted(CPU0.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction" and size[-1] in UNITS:
            sizes[f"L{level}"] = int(size[:-1]) * UNITS[size[-1]]
    return sizes


def available_memory() -> int:
    """Bytes available without swapping; 8 GiB if the system does not report them."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return 8 * 2**30
    return next(int(line.split()[1]) * 2**10 for line in text.splitlines() if line.startswith("MemAvailable:"))


def load() -> str:
    """The load average of the last minute. Above the number of CPUs in use, other processes were running, too."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def openmp_runtimes() -> list[str]:
    """File names of the OpenMP runtimes in this process; empty if the system does not report them."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return []
    files = {line.split()[-1] for line in maps.splitlines() if "omp" in line.rpartition("/")[2]}
    return sorted(Path(f).name for f in files if Path(f).name.startswith(("libgomp", "libomp", "libiomp")))


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def compiler() -> str | None:
    """The system's C compiler: $CC, else cc."""
    return shutil.which(os.environ.get("CC", "cc"))


def compiler_version() -> str | None:
    cc = compiler()
    return output(cc, "--version").partition("\n")[0] if cc else None


def commit() -> str:
    """The commit of this checkout, with "+" if files were changed."""
    head = output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    return (head or "unknown") + ("+" if head and output("git", "-C", str(ROOT), "status", "--porcelain") else "")


def output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
