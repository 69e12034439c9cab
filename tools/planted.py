"""Plants a bug in a copy for each sanitizer: the sanitizer must find it, and must find nothing in the copy without it.

`python -m tools planted`; needs gcc and valgrind on Linux.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tools import race, sanitize, valgrind

ROOT = Path(__file__).resolve().parent.parent
PAST_THE_END = ("optimize/layout.h", "to.element : step->span[s].size;", "to.element : step->span[s].size + 1;")
OVERLAP = ("optimize/layout.c", "fo_share_begin(cost, part, of)", "fo_share_begin(cost, part / 2, of)")
BAD_SHIFT = (
    "optimize/layout.c",
    "    int64_t cost = 0, tile = 0;",
    "    int64_t cost = 0, tile = 1 << (n_spans + 40) & 0;",
)
Bug = tuple[str, str, str]


def plant(folder: Path, bug: Bug | None) -> None:
    """Replace the only place where a source has the text."""
    if bug is not None:
        path = folder / bug[0]
        source = path.read_text()
        assert source.count(bug[1]) == 1, bug
        path.write_text(source.replace(bug[1], bug[2]))


def by_sanitizer(folder: Path, bug: Bug | None, sanitizers: str) -> str:
    """The findings of these sanitizers in a run of tools/smoke.py; empty if there is none."""
    copy = sanitize.Copy(folder)
    plant(folder / "csrc", bug)
    copy.build(FASTOPT_SANITIZE=sanitizers)
    result = copy.python(str(ROOT / "tools" / "smoke.py"), **sanitize.environment())
    return result.stderr if result.returncode else ""


def by_valgrind(folder: Path, bug: Bug | None) -> str:
    copy = sanitize.Copy(folder)
    plant(folder / "csrc", bug)
    copy.build()
    return "".join(valgrind.run(folder))


def by_race(folder: Path, bug: Bug | None) -> str:
    copy = sanitize.Copy(folder)
    plant(folder / "csrc", bug)
    result = race.run(copy.folder / "csrc", folder)
    return result.stderr if result.returncode else ""


CASES: list[tuple[str, Callable[[Path, Bug | None], str], Bug, str]] = [
    ("address", lambda f, b: by_sanitizer(f, b, "address,undefined"), PAST_THE_END, "AddressSanitizer"),
    ("undefined", lambda f, b: by_sanitizer(f, b, "address,undefined"), BAD_SHIFT, "shift exponent"),
    ("valgrind", by_valgrind, PAST_THE_END, "Invalid read"),
    ("thread", by_race, OVERLAP, "data race"),
]


def main(argv: Sequence[str] | None = None) -> int:
    failures = 0
    for name, run, bug, message in CASES:
        with tempfile.TemporaryDirectory() as clean, tempfile.TemporaryDirectory() as planted:
            without, found = run(Path(clean), None), message in run(Path(planted), bug)
        failures += bool(without) or not found
        print(f"{name}: {'seen' if found else 'NOT SEEN'}; without it {'NOT ' * bool(without)}clean", flush=True)
        if without:
            print(without[-2000:])
    return failures


if __name__ == "__main__":
    sys.exit(main())
