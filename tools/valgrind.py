"""Runs tools/smoke.py under valgrind's memcheck: an invalid access or a use of undefined memory fails.

`python -m tools valgrind`; needs valgrind. FASTOPT_ISA=avx2, because valgrind does not know AVX-512. An error counts
if it happens in fastopt's extension, or in a C library function that the extension called. CPython 3.11 (`0 & x`
reads a digit that is not there) and the dynamic loader have errors of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: fastopt in the first frame, or in the second frame below a memory or string function of the C library.
EXTENSION = r"[^\n]*fastopt/[^\n]*\.so[^\n]*"
PLACE = rf"==\d+==    at (?:{EXTENSION}|[^\n]*(?:mem|str)\w+[^\n]*\n==\d+==    by {EXTENSION})"


def run(root: Path) -> list[str]:
    """The errors in the extension of the package in `root`."""
    command = ["valgrind", "--error-limit=no", "--num-callers=30", sys.executable, str(ROOT / "tools" / "smoke.py")]
    settings = {"PYTHONMALLOC": "malloc", "FASTOPT_ISA": "avx2", "PYTHONPATH": str(root), "OMP_NUM_THREADS": "2"}
    result = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"the run failed: {result.stdout}{result.stderr[-2000:]}")
    blocks = re.split(r"^==\d+== *\n", result.stderr, flags=re.MULTILINE)
    return [block for block in blocks if re.search(r"(Invalid|uninitialised|overlap)[^\n]*\n" + PLACE, block)]


def main(argv: Sequence[str] | None = None) -> int:
    errors = run(ROOT)
    print("\n".join(errors))
    print(f"{len(errors)} errors")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
