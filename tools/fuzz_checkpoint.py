"""Fuzzes the reader of checkpoints, guided by coverage: `load` either succeeds or raises ValueError and changes
nothing.

`python -m tools fuzz_checkpoint [--seconds 600]`. The first byte of an input decides: the rest is the file, or the
JSON header of an archive with correct checksums, because random bytes would never pass the checksums.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools import fuzzing

LARGEST = 4096


def fresh() -> Any:
    """A small optimizer with states."""
    import fastopt

    opt = fastopt.Momentum([np.array([1.0, 2.0], np.float32)], lr=0.5)
    opt.step([np.array([0.25, -1.0], np.float32)])
    return opt


def snapshot(opt: Any) -> bytes:
    """The bytes of all that `load` may change."""
    d = opt.state_dict()
    arrays = [*(p for g in opt.param_groups for p in g["params"]), *(s["momentum_buffer"] for s in d["state"])]
    text = repr((d["param_groups"], d["skipped"], [s["step"] for s in d["state"]]))
    return text.encode() + b"".join(a.tobytes() for a in arrays)


def archive(header: bytes) -> bytes:
    """An archive of the arrays of `fresh` with this header. If the header is JSON, its checksum is corrected."""
    from fastopt import checkpoint

    opt = fresh()
    arrays = {"state.0.momentum_buffer": opt.state[0]["momentum_buffer"], "param.0": opt.param_groups[0]["params"][0]}
    try:
        content = json.loads(header)
        content.pop("format", None), content.pop("sha256", None)
        content = json.loads(json.dumps(content))
        header = json.dumps(
            {"format": checkpoint.FORMAT, "sha256": checkpoint._digest(arrays, content), **content}
        ).encode()
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass  # not JSON: stored unchanged
    file = io.BytesIO()
    np.savez(file, header=np.frombuffer(header, np.uint8), **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def check(data: bytes, folder: Path) -> str:
    """Load these bytes. Return "refused" or "taken"; raise on a wrong result."""
    content = archive(data[1:]) if data[:1] >= b"\x80" else data[1:]
    path = folder / "checkpoint"
    path.write_bytes(content)
    opt = fresh()
    before = snapshot(opt)
    try:
        opt.load(path)
    except (ValueError, TypeError):
        assert snapshot(opt) == before, f"a refused file changed something: {hashlib.sha256(content).hexdigest()}"
        return "refused"
    opt.step([np.ones(2, np.float32)])  # after an accepted file the optimizer must work
    return "taken"


def main(argv: Sequence[str] | None = None) -> int:
    import atheris

    with atheris.instrument_imports(include=["fastopt"]):
        import fastopt.checkpoint
    assert fastopt.checkpoint.FORMAT
    fuzzing.instrument(zipfile, json.decoder, json.scanner, np.lib.format)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").exists() else None) as name:
        return fuzzing.run(argv, "fuzz_checkpoint", lambda data: void(check(data, Path(name))), LARGEST)


def void(_: str) -> None:
    """libFuzzer requires a target that returns None."""


if __name__ == "__main__":
    sys.exit(main())
