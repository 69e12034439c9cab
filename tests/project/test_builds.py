"""Other builds of the same sources give the same bits: without OpenMP, with warnings as errors, at another -O."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.builds import ROOT, Copy
from tests.support.digest import digest
from tests.support.rows import core, settings


@pytest.mark.slow
def test_digest_is_the_same_for_every_isa_and_thread_count() -> None:
    digests = set()
    for setting in settings():
        with core(**setting):
            digests.add(digest(steps=5))
    assert len(digests) == 1


@pytest.mark.skipif(shutil.which("clang") is None, reason="not here: no clang")
@pytest.mark.slow
def test_clang_without_a_warning(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    copy.build(CC="clang", FASTOPT_OPENMP="0", FASTOPT_WERROR="1")
    result = copy.python("-m", "tests.support.digest")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == digest()


@pytest.mark.skipif(sys.platform == "win32", reason="not here: the flags are those of gcc and clang")
@pytest.mark.slow
def test_without_openmp_and_with_warnings_as_errors(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    copy.build(FASTOPT_OPENMP="0", FASTOPT_WERROR="1")
    result = copy.python("-m", "tests.support.digest")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == digest()
    info = copy.python("-c", "import fastopt; print(fastopt.build_info()['openmp'])")
    assert info.stdout.strip() == "None"


def test_the_binary_is_not_linked_with_fast_math() -> None:
    """-ffast-math at link time would flush subnormals in the whole process."""
    for file in (ROOT / "setup.py", ROOT / "build_flags.py"):
        assert not file.exists() or "-ffast-math" not in file.read_text()
    import numpy as np

    import fastopt

    subnormal = np.full(8, 1e-40, np.float32)
    fastopt.SGD(subnormal, lr=0.5).step(np.zeros(8, np.float32))
    assert (subnormal == np.float32(1e-40)).all()
    assert np.float32(1e-40) * np.float32(0.5) > 0
