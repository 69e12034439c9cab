"""The test suite on a build with AddressSanitizer and UndefinedBehaviorSanitizer, in a copy of the checkout.

`python -m tools sanitize [PYTEST ARGUMENTS]`; needs gcc on Linux. LEFT_OUT names the tests that do not run, with
reasons. Leaks are not reported, because CPython keeps memory at exit by design; tests/core/test_environment.py checks
the resident set.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.builds import Copy

#: folder or file of tests -> why it does not run here
LEFT_OUT = {
    "torch": "torch's libraries do not work with a preloaded AddressSanitizer",
    "lab": "runs the command line with scikit-learn and matplotlib, and no C code that other tests do not run",
    "sklearn": "runs scikit-learn's checks of Python code, and no C code that other tests do not run",
    "project": "reads documents that the copy lacks, measures time, or makes builds with other flags",
    "core/test_conventions.py": "JAX and Keras do not work with a preloaded AddressSanitizer",
    "core/test_eighth_optimizer.py": "makes a build with other flags",
    "core/test_environment.py": "checks build flags and the resident set, which this build changes",
    "core/test_huge.py": "needs more memory than AddressSanitizer leaves",
}
#: the only tests of tests/validation that run their own C code
VALIDATION = {"test_bootstrap.py", "test_bootstrap_refuse.py", "test_bias_variance.py"}


def environment() -> dict[str, str]:
    """Variables that load the sanitizer first and switch off CPython's memory pools, which would hide an overrun."""
    names = ("libasan.so", "libstdc++.so")  # libasan intercepts C++ exceptions, so it needs libstdc++ loaded, too
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


def chosen(tests: Path) -> list[str]:
    """The test files that run, relative to the copy."""
    files = [path.relative_to(tests) for path in sorted(tests.rglob("test_*.py"))]
    kept = [f for f in files if f.parts[0] not in LEFT_OUT and f.as_posix() not in LEFT_OUT]
    return [f"tests/{f.as_posix()}" for f in kept if f.parts[0] != "validation" or f.name in VALIDATION]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    with tempfile.TemporaryDirectory() as folder:
        copy = build(Path(folder))
        tests = chosen(copy.folder / "tests")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not peer", *tests]
        env = copy.environment(**environment())
        return subprocess.run([*command, *arguments], cwd=copy.folder, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
