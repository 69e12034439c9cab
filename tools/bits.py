"""The same bits from gcc and clang, -O1 and -O3, every instruction set, 1 and 3 threads, and emulated other machines.

Builds tools/bits.c with csrc under each compiler found here, runs it and compares its text with tools/bits.txt.
`--here` leaves the emulated ones out; `--sanitize` builds with gcc's sanitizers of addresses and undefined behaviour
instead; `--record` writes tools/bits.txt from the first build, for a rule that was meant to change. Debian's packages
for all of it: clang libomp-dev qemu-user gcc-aarch64-linux-gnu gcc-s390x-linux-gnu.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from build_flags import FLAGS, INCLUDE, SOURCES, X86_FLAGS
from tools.shell import ROOT, run

RECORD = ROOT / "tools" / "bits.txt"


class Build(NamedTuple):
    compiler: str
    flags: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.compiler, *self.flags, *(("under", *self.emulator) if self.emulator else ())))


BUILDS = [
    Build(compiler, flags)
    for compiler in ("gcc", "clang")
    for flags in (("-O3", "-fopenmp"), ("-O3",), ("-O1", "-fopenmp"))
]
EMULATED = [
    Build("gcc", ("-O3", "-static"), ("qemu-x86_64", "-cpu", "Nehalem")),
    Build("aarch64-linux-gnu-gcc", ("-O3", "-static"), ("qemu-aarch64",)),
    Build("aarch64-linux-gnu-gcc", ("-O1", "-static"), ("qemu-aarch64",)),
    Build("s390x-linux-gnu-gcc", ("-O3", "-static"), ("qemu-s390x",)),
]


SANITIZED = [Build("gcc", ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"))]


def compiled(build: Build, folder: Path) -> Path:
    """The driver, each source with the flags of build_flags.py, and warnings as errors."""
    own = {source: [] for source in (*SOURCES, "tools/bits.c")}
    x86 = platform.machine() in ("x86_64", "amd64") and not build.compiler.startswith(("aarch64", "s390x"))
    own |= X86_FLAGS if x86 else {}
    flags = [flag for flag in FLAGS if not flag.startswith("-O")]
    macros = ["-DFASTOPT_X86_KERNELS"] if x86 else []
    objects = []
    for source, more in own.items():
        objects.append(folder / (source.replace("/", "-") + ".o"))
        words = [
            *flags,
            *build.flags,
            *more,
            *macros,
            "-Wall",
            "-Wextra",
            "-Werror",
            *(f"-I{folder}" for folder in INCLUDE),
        ]
        run(build.compiler, *words, "-c", source, "-o", objects[-1])
    run(build.compiler, *build.flags, *objects, "-lm", "-lpthread", "-o", folder / "bits")
    return folder / "bits"


def texts(build: Build) -> dict[str, str]:
    """What the build prints, by instruction set and threads."""
    with tempfile.TemporaryDirectory() as name:
        command = [*build.emulator, str(compiled(build, Path(name)))]
        usage = subprocess.run(command, text=True, capture_output=True, check=False).stderr
        isas = usage.rpartition(":")[2].split()
        assert "baseline" in isas, usage
        counts = ("1", "3") if "-fopenmp" in build.flags else ("1",)
        return {f"{isa}, threads: {n}": run(*command, isa, n) for isa in isas for n in counts}


def not_hashed() -> list[str]:
    """The functions in the tables of csrc's headers that compute numbers and that tools/bits.c does not call."""
    driver = (ROOT / "tools" / "bits.c").read_text(encoding="utf-8")
    headers = "".join(header.read_text(encoding="utf-8") for header in (ROOT / "csrc").rglob("*.h"))
    tables = re.findall(r"struct fo_((?:steps_|layers_|network_)?api) \{(.*?)\n\};", headers, flags=re.DOTALL)
    assert len(tables) == 4, [table for table, _ in tables]
    functions = [(table, name) for table, text in tables for name in re.findall(r"\(\*(\w+)\)\(", text)]
    sizes = {"slabs", "entropy_units"}  # of scratch memory
    return [f"{table}.{name}" for table, name in functions if name not in sizes and f"->{name}(" not in driver]


def main(argv: list[str]) -> int:
    wanted = SANITIZED if "--sanitize" in argv else BUILDS if "--here" in argv else BUILDS + EMULATED
    builds = [b for b in wanted if all(shutil.which(word) for word in (b.compiler, *b.emulator[:1]))]
    if not builds:
        print("no compiler found", file=sys.stderr)
        return 1
    results = {f"{build}: {setting}": text for build in builds for setting, text in texts(build).items()}
    if "--record" in argv:
        RECORD.write_text(next(iter(results.values())), encoding="utf-8")
    expected = RECORD.read_text(encoding="utf-8")
    wrong = 0
    for label, text in results.items():
        differ = [line for line in text.splitlines() if line not in expected.splitlines()]
        wrong += text != expected
        print(f"{'same bits' if text == expected else 'DIFFERENT'}  {label}", *differ, sep="\n    ")
    for build in wanted:
        if build not in builds:
            print(f"not run    {build}: not installed")
    for name in (missing := not_hashed()):
        print(f"NOT HASHED {name}")
    print(f"{len(expected.splitlines())} hashes, {len(results)} runs, {wrong} different")
    return int(wrong > 0 or bool(missing))
