"""The command around the comparison: info, help, what loads, quiet runs, file names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import fastopt
from fastopt.lab.errors import LabError
from tests.lab.cases import EXTRA, Lab, write_table
from tests.support import run_python


def test_quiet_prints_nothing(lab: Lab, tmp_path: Path, extra: None) -> None:
    write_table(tmp_path / "t.npz")
    arguments = ("--data", "t.npz", "--target", "y", "--epochs", 1, "--optimizers", "sgd", "--out", "sub/")
    assert lab("compare", *arguments, "--quiet") == (0, "", "")
    assert {path.name for path in (tmp_path / "sub").iterdir()} == {"compare.png", "compare.json"}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, extra: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastopt.lab import report

    path = tmp_path / "x.json"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(LabError, match="No space left"):
        report.write(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_info(lab: Lab) -> None:
    code, out, err = lab("info")
    assert (code, err) == (0, "")
    for value in (fastopt.__version__, fastopt.isa(), np.__version__, "compiler", "openmp"):
        assert value in out
    code, out, _ = lab("info", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["isa"] == fastopt.isa()
    assert document["threads"] == fastopt.get_num_threads()
    assert document.items() >= json.loads(json.dumps(fastopt.build_info())).items()


def test_info_and_help_load_no_extra() -> None:
    program = (
        "import contextlib, sys\n"
        "from fastopt.lab.__main__ import main\n"
        "assert main(['info']) == 0\n"
        "with contextlib.suppress(SystemExit): main(['compare', '--help'])\n"
        f"print(sorted(set({EXTRA!r}) & set(sys.modules)))"
    )
    done = run_python("-c", program)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""


def test_the_module_runs_and_prints_its_version() -> None:
    done = run_python("-m", "fastopt.lab", "--version")
    assert done.stdout == f"fastopt {fastopt.__version__}\n"


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("name", ["cost $x^^$.csv", "$\\frac$.csv", "[bold]m[x].csv", ":smile:.csv"])
def test_a_file_name_is_not_read_as_markup(name: str, lab: Lab, tmp_path: Path, rng: np.random.Generator) -> None:
    rows = "\n".join(f"{a:.3f},{b:.3f}" for a, b in rng.normal(size=(40, 2)))
    (tmp_path / name).write_text(f"x,y\n{rows}\n")
    code, out, _ = lab("compare", "--data", name, "--target", "y", "--epochs", 1, "--out", "o/")
    assert code == 0
    assert name in out.replace("\n", "")


@pytest.mark.usefixtures("extra")
def test_compare_loads_no_estimator_and_for_a_file_no_scikit_learn(tmp_path: Path) -> None:
    write_table(tmp_path / "t.npz")
    program = (
        "import sys\n"
        "from fastopt.lab.__main__ import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print('sklearn' in sys.modules, 'fastopt.sklearn' in sys.modules)"
    )
    arguments = ["compare", "--epochs", "1", "--optimizers", "sgd", "--quiet", "--out", str(tmp_path / "o") + "/"]
    file = ["--data", str(tmp_path / "t.npz"), "--target", "y"]
    for more, expected in ((file, "False False"), ([], "True False")):
        done = run_python("-c", program, *arguments, *more)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == expected
