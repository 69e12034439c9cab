"""Runs the suite on the lowest versions that pyproject.toml allows of NumPy and of the extras lab and validation.

`--torch` installs torch, too; CI runs its lowest version anyway. Tests that need other libraries are skipped.
"""

from __future__ import annotations

import re
import sys
import tempfile
import tomllib
from pathlib import Path

from tools.shell import ROOT, environment, run


def lowest(*extras: str) -> list[str]:
    """`name==version` for each lower bound of the dependencies and these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for e in extras for one in project["optional-dependencies"][e])]
    bounds = {m[1]: m[2] for text in wanted if (m := re.fullmatch(r"([\w-]+)>=([\d.]+)", text))}
    return [f"{name}=={version}" for name, version in bounds.items()]


def main(argv: list[str]) -> int:
    pins = lowest("lab", "validation", *(["torch"] if "--torch" in argv else []))
    with tempfile.TemporaryDirectory() as name:
        python = environment(
            Path(name) / "venv", *pins, "setuptools>=77", "pytest>=8", "hypothesis>=6.100", "cython>=3.1"
        )
        run(python, "-m", "pip", "install", "--quiet", str(ROOT))
        print(run(python, "-m", "pip", "list", "--format=freeze"))
        tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml", ROOT / "tests"]
        print(run(python, *tests, cwd=Path(name)).strip().splitlines()[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
