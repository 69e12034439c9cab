"""Runs the parallel step of every rule on plain pthreads under ThreadSanitizer, which does not understand libgomp.

`python -m tools.race [--source FOLDER]`. Builds tools/race.c with -fsanitize=thread and runs it; needs gcc on Linux.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-std=gnu11", "-O1", "-g", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-pthread"]


def run(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build with the C files of `source` (a csrc/) and run; a race is exit code 66."""
    own = ("step.c", "avx2.c", "avx512.c")  # race.c includes step.c, and the kernels of AVX are not built
    files = [file for file in sorted(source.rglob("*.c")) if file.name not in own]
    program = folder / "race"
    command = [
        "gcc",
        *FLAGS,
        "-fsanitize=thread",
        f"-I{source}",
        f"-I{source / 'include'}",
        str(ROOT / "tools" / "race.c"),
        *map(str, files),
    ]
    subprocess.run([*command, "-lm", "-o", str(program)], check=True)
    # without address randomization: the sanitizer's fixed memory layout conflicts with that of newer kernels
    start = ["setarch", os.uname().machine, "-R", str(program)]
    env = {
        **os.environ,
        "TSAN_OPTIONS": "halt_on_error=1",
    }  # stop at the first report: thousands of one race take minutes
    return subprocess.run(start, env=env, capture_output=True, text=True, timeout=300, check=False)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.race", description=__doc__)
    parser.add_argument("--source", type=Path, default=ROOT / "csrc")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        result = run(options.source, Path(folder))
    print(result.stdout + result.stderr, end="")
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
