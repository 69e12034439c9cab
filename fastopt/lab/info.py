"""Versions, instruction set, threads, OpenMP runtime and build flags. Needs NumPy alone."""

import platform

import numpy as np

import fastopt


def collect() -> dict[str, object]:
    """All values by name, those of `fastopt.build_info` last."""
    return {
        "fastopt": fastopt.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "isa": fastopt.isa(),
        "threads": fastopt.get_num_threads(),
        **fastopt.build_info(),
    }


def as_text(info: dict[str, object]) -> str:
    width = max(map(len, info))
    return "\n".join(f"{name:<{width}}  {_plain(value)}" for name, value in info.items())


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return "none" if value is None or value == "" else str(value)
