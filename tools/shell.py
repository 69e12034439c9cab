"""Runs commands for the tasks: prints each command and stops at the first that fails."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Return the command's output. If it fails, SystemExit shows what it printed. PYTHONPATH is not passed on."""
    words = [str(word) for word in command]
    print("+ " + shlex.join(words), file=sys.stderr, flush=True)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    result = subprocess.run(words, cwd=cwd, env=env, text=True, capture_output=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"exit status {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result.stdout


def environment(folder: Path, *packages: str, python: str | Path = sys.executable) -> Path:
    """Make a virtual environment with these packages and return its interpreter."""
    run(python, "-m", "venv", folder)
    interpreter = folder / "bin" / "python"
    if packages:
        run(interpreter, "-m", "pip", "install", "--quiet", *packages)
    return interpreter
