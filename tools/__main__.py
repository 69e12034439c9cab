"""`python -m tools` lists the tasks, `python -m tools NAME [ARGUMENTS]` runs one.

A task is a module of this package: `main(argv) -> int`, and a docstring whose first line says what it does.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path


def found() -> dict[str, str]:
    """The first docstring line of each task by its name, read without importing it."""
    lines = {}
    for file in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            lines[file.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return lines


def main(argv: list[str]) -> int:
    tasks = found()
    if argv and argv[0] in tasks:
        return importlib.import_module(f"tools.{argv[0]}").main(argv[1:])
    for name, line in tasks.items():
        print(f"{name:<18}{line}")
    if argv and argv[0] not in ("-h", "--help"):
        print(f"no such task: {argv[0]!r}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
