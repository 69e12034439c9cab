"""`python -m tools` lists the tasks, `python -m tools NAME [ARGUMENTS]` runs one: its module's `main(argv)`."""

from __future__ import annotations

import importlib
import sys

TASKS = {
    "bits": "compares hashes of every kernel's results over compilers, instruction sets and emulated machines",
    "fuzz_binding": "fuzzes the checks of array arguments",
    "fuzz_checkpoint": "fuzzes the reader of checkpoint files",
    "interruptions": "interrupts every public call at every line, signal check and allocation",
    "kills": "kills a process that saves in a loop: the file must always be whole",
    "lowest": "runs the tests on the lowest versions that pyproject.toml allows",
    "planted": "plants a bug for each sanitizer and checks that the sanitizer finds it",
    "race": "runs the parallel step under ThreadSanitizer",
    "repair": "puts libgomp with its licence and SBOM into a Linux wheel",
    "sanitize": "runs the tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer",
    "smoke": "runs one small step of every rule and every layer",
    "soak": "compares random operations with the float64 reference and with a second optimizer",
    "valgrind": "runs smoke under valgrind's memcheck",
    "wheels": "builds, checks and tests the sdist and the wheel",
}


def main(argv: list[str]) -> int:
    if argv and argv[0] in TASKS:
        return importlib.import_module(f"tools.{argv[0]}").main(argv[1:])
    for name, line in TASKS.items():
        print(f"{name:<18}{line}")
    if argv and argv[0] not in ("-h", "--help"):
        print(f"no such task: {argv[0]!r}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
