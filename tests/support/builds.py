"""Copies this checkout to a temporary folder, where tests change it, build it and run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT


class Copy:
    """The sources of this checkout in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        if not (ROOT / "setup.py").exists():
            pytest.skip("not here: the tests were not run from a source tree")
        self.folder = folder
        for name in ("csrc", "fastopt", "tests"):
            ignore = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", ".hypothesis")
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        for name in ("setup.py", "build_flags.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder)

    def insert(self, file: str, before: str, text: str) -> None:
        """Insert text before the only line that contains `before`."""
        path = self.folder / file
        source = path.read_text()
        assert source.count(before) == 1, (file, before, source.count(before))
        start = source.rindex("\n", 0, source.index(before)) + 1
        path.write_text(source[:start] + text + source[start:])

    def build(self, **environment: str) -> None:
        result = self.run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", **environment)
        assert result.returncode == 0, result.stdout + result.stderr

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy, importing from the copy."""
        env = self.environment(**environment)
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=600)

    def environment(self, **more: str) -> dict[str, str]:
        """Variables with which Python imports fastopt and the tests from the copy."""
        return {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONSAFEPATH": "1", **more}

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, *arguments, **environment)
