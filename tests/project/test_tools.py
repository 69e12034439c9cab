"""The long tools, run for seconds: seeds of the fuzzers, random bytes, a soak, kills, and damaged headers with a
correct checksum."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.support import ROOT

if not (ROOT / "tools").is_dir():
    pytest.skip("not here: the tests were not run from a source tree", allow_module_level=True)

from tools import fuzz_binding, fuzz_checkpoint, kills, soak

SEEDS = ROOT / "tests" / "seeds"


@pytest.mark.parametrize("seed", sorted((SEEDS / "fuzz_binding").iterdir()), ids=lambda path: path.name)
def test_seeds_of_the_binding(seed: Path) -> None:
    assert fuzz_binding.check(seed.read_bytes()) == ("taken" if seed.name.startswith("taken") else "refused")


@pytest.mark.parametrize("seed", sorted((SEEDS / "fuzz_checkpoint").iterdir()), ids=lambda path: path.name)
def test_seeds_of_the_checkpoint(tmp_path: Path, seed: Path) -> None:
    expected = "taken" if seed.name in ("whole", "header") else "refused"
    assert fuzz_checkpoint.check(seed.read_bytes(), tmp_path) == expected


@pytest.mark.slow
def test_random_arguments_of_the_binding() -> None:
    rng = random.Random(9)
    fates = Counter(fuzz_binding.check(rng.randbytes(40)) for _ in range(5000))
    assert fates.keys() == {"taken", "refused"}


@pytest.mark.slow
def test_damaged_headers_with_a_correct_checksum(tmp_path: Path) -> None:
    """Every byte of the JSON is changed in turn. A result that is still a valid state is accepted, any other
    refused."""
    seed = (SEEDS / "fuzz_checkpoint" / "header").read_bytes()
    fates = Counter()
    for i in range(1, len(seed)):
        for byte in (b"0", b'"', b"-"):
            fates[fuzz_checkpoint.check(seed[:i] + byte + seed[i + 1 :], tmp_path)] += 1
    assert fates["refused"] > fates["taken"] > 0


@pytest.mark.slow
def test_a_short_soak() -> None:
    with np.errstate(all="ignore"):
        counts = soak.soak(6.0, seed=20261124)
    assert counts["step"] > 100
    assert {operation.__name__ for operation, _ in soak.OPERATIONS} <= counts.keys()


@pytest.mark.skipif(sys.platform == "win32", reason="not here: SIGKILL")
def test_a_few_kills(capsys: pytest.CaptureFixture[str]) -> None:
    assert kills.main(["--kills", "5", "--seed", "3"]) == 0
    assert "5 kills" in capsys.readouterr().out
