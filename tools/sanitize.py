"""The test suite on a build with AddressSanitizer and UndefinedBehaviorSanitizer, in a copy of the checkout.

`python -m tools.sanitize [PYTEST ARGUMENTS]`; needs gcc on Linux. Left out, with reasons, is what OUT names. Leaks are
not looked for (CPython keeps memory at exit by design; tests/test_environment.py watches the resident set instead).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.builds import Copy

#: part of a test's id -> why it does not run here
OUT = {
    "torch": "torch's own libraries are not built for a preloaded AddressSanitizer",
    "test_conventions": "so are those of the peers: JAX, Keras",
    "test_bench": "measures time",
    "test_lab": "runs the command line of scikit-learn and matplotlib, which adds no path of the C code",
    "test_validation_evaluate": "holds no path of the C code",
    "test_validation_example": "holds no path of the C code",
    "test_validation_folds": "holds no path of the C code",
    "test_validation_generalization": "holds no path of the C code",
    "test_validation_minima": "holds no path of the C code",
    "test_validation_time": "holds no path of the C code",
    "test_sklearn": "scikit-learn's checks over NumPy code and the optimizers that other tests run",
    "test_project": "reads the documents and workflows, which the copy lacks",
    "test_builds": "makes builds of its own, with other flags",
    "test_eighth_optimizer": "makes a build of its own, with other flags",
    "test_environment": "reads build flags, import times and the resident set, which this build changes",
    "test_huge": "needs more memory than shadow memory leaves",
    "test_tasks": "starts such builds itself",
}


def environment() -> dict[str, str]:
    """Where the run-time library comes first, and CPython's own pools do not hide an overrun."""
    names = ("libasan.so", "libstdc++.so")  # the second for libraries in C++, whose exceptions the first intercepts
    found = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in names
    ]
    options = "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:detect_stack_use_after_return=1"
    return {"LD_PRELOAD": " ".join(found), "ASAN_OPTIONS": options, "PYTHONMALLOC": "malloc"}


def build(folder: Path, sanitizers: str = "address,undefined") -> Copy:
    copy = Copy(folder)
    copy.build(FASTOPT_SANITIZE=sanitizers)
    return copy


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    with tempfile.TemporaryDirectory() as folder:
        copy = build(Path(folder))
        files = sorted(p.name for p in (copy.folder / "tests").glob("test_*.py"))
        chosen = [f"tests/{name}" for name in files if not any(out in name for out in OUT)]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not peer", *chosen]
        env = copy.environment(**environment())
        return subprocess.run([*command, *arguments], cwd=copy.folder, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
