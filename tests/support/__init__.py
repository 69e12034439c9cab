"""What several test modules share. Import it as `tests.support`; pyproject.toml puts the root on the path."""

from __future__ import annotations

import os
from pathlib import Path

#: the folder that holds tests/: the checkout, or wherever the tests of a wheel were copied to
ROOT = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """Environment variables for a child process that imports the fastopt under test and `tests.support`."""
    import fastopt

    places = [str(Path(fastopt.__file__).resolve().parents[1]), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, dict.fromkeys(places))), **more}
