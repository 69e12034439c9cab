"""Fixtures of the command line's tests: the command in an empty folder, its extra, a random generator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fastopt
from fastopt.lab.__main__ import main
from tests.lab.cases import EXTRA, Lab


@pytest.fixture
def extra() -> None:
    for module in EXTRA:
        pytest.importorskip(module)


@pytest.fixture(autouse=True)
def default_threads() -> Iterator[None]:
    yield
    fastopt.set_num_threads(None)


@pytest.fixture
def lab(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Run the command in an empty directory; exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
