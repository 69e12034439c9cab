"""Runs a fuzz target with atheris, Python's libFuzzer, for a given time: `pip install atheris` (Linux).

atheris is guided by the coverage of Python code, which holds the checks of both targets. The extension is not
instrumented: its crashes are found, but its branches do not guide the search.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

SEEDS = Path(__file__).resolve().parent.parent / "tests" / "seeds"


def instrument(*modules: ModuleType) -> None:
    """Instrument the functions of modules that were imported before atheris, so that it measures their coverage."""
    import atheris

    for module in modules:
        owners = [module, *(c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__)]
        for function in [f for owner in owners for f in vars(owner).values() if inspect.isfunction(f)]:
            if function.__module__ == module.__name__:
                atheris.instrument_func(function)


def run(argv: Sequence[str] | None, name: str, target: Callable[[bytes], None], largest: int) -> int:
    """Fuzz for --seconds from the seeds in tests/seeds. libFuzzer ends the process, with status 77 after a finding."""
    import atheris

    parser = argparse.ArgumentParser(prog=f"python -m tools.{name}", description=sys.modules[target.__module__].__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0, help="0: libFuzzer's choice, which it prints")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as corpus:
        flags = [f"-max_total_time={options.seconds}", f"-seed={options.seed}", f"-max_len={largest}"]
        flags += ["-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1", "-verbosity=1"]
        folders = [corpus] + [str(SEEDS / name)] * (SEEDS / name).exists()
        atheris.Setup([name, *flags, *folders], target)
        atheris.Fuzz()
    return 0
