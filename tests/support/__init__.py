"""Helpers of several test modules. Import it as `tests.support`; pyproject.toml puts the root on the path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

#: the folder that holds tests/: the checkout, or the folder to which the tests of a wheel were copied
ROOT = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """Environment variables for a child process that imports the fastopt under test and `tests.support`."""
    import fastopt

    places = [str(Path(fastopt.__file__).resolve().parents[1]), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, dict.fromkeys(places))), **more}


def run_python(
    *arguments: str | Path, cwd: Path | None = None, timeout: float = 120, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in a child process with `environment(**variables)`; the caller looks at the return code."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(**variables), text=True, capture_output=True, timeout=timeout, check=False
    )
