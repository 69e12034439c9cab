"""Mistakes of a user: each gives one line on stderr and exit code 2, no traceback and no file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lab.cases import ROWS, Lab, write_table

TABLES = {
    "empty": ("", "empty"),
    "header_alone": ("a,b,y\n", "0 rows"),
    "few_rows": ("a,b,y\n1,2,u\n3,4,v\n", "2 rows"),
    "one_long_row": ("a,b,y\n" + ROWS + "1,2,u,4\n", "line 32"),
    "long_rows": ("a,b\n" + ROWS, "more cells than the header"),
    "short_row": ("a,b,y\n" + ROWS + "1,2\n", "'y' has empty"),
    "open_quote": ("a,b,y\n" + ROWS + '"1,2,u\n', "cannot read"),
    "empty_cell": ("a,b,y\n" + ROWS + "1,,u\n", "'b' has empty, NaN or infinite cells: 1 of 31 rows"),
    "place": ("a,b,y\n" + ROWS + "1,,u\n1,2,u\n1,,u\n", "2 of 33 rows, the first is row 31"),
    "empty_text": ("a,b,y\n" + "p,1,u\nq,2,v\n" * 10 + ",2,v\n", "'a' has empty"),
    "nan": ("a,b,y\n" + ROWS + "NaN,2,u\n", "'a' has empty"),
    "inf": ("a,b,y\n" + ROWS + "1,-inf,u\n", "'b' has empty"),
    "no_label": ("a,b,y\n" + ROWS + "1,2,\n", "'y' has empty"),
    "one_class": ("a,b,y\n" + ROWS.replace("v", "u"), "single class 'u'"),
    "one_value": ("a,b,y\n" + "1,2,0.5\n2,3,0.5\n" * 10, "single value 0.5"),
    "rare_class": ("a,b,y\n" + ROWS + "1,2,w\n", "class 'w' of target 'y' has 1 row"),
    "typing_error": ("a,b,y\n" + "".join(f"{i},2,u\n{i},3,v\n" for i in range(30)) + "1.5.2,1,u\n", "row 61"),
    "many_texts": ("a,b,y\n" + "".join(f"n{i}x,1,u\nn{i}x,1,v\n" for i in range(150)), "150 different texts"),
    "twice": ("a,a,y\n" + ROWS, "'a' occurs more than once"),
    "no_name": (",b,y\n" + ROWS, "column 1 has no name"),
    "no_features": ("y\n" + "u\nv\n" * 10, "no column beside"),
    "too_large": ("a,b,y\n" + "1e308,1,u\n-1e308,2,v\n" * 10, "too large"),
    "no_target": ("a,b,z\n" + ROWS, "no column 'y'; it has a, b, z"),
}


def check_mistake(result: tuple[int, str, str], fragment: str) -> None:
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("fastopt: ")
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in err
    assert fragment in err


@pytest.mark.parametrize("name", TABLES)
def test_bad_table(lab: Lab, tmp_path: Path, extra: None, name: str) -> None:
    content, fragment = TABLES[name]
    (tmp_path / "t.csv").write_text(content)
    check_mistake(lab("compare", "--data", "t.csv", "--target", "y"), fragment)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("t.csv", b"\xff\xfea,b,y\n\x80", "not UTF-8"),
        ("t.npz", b"", "not a whole NPZ"),
        ("t.npz", b"PK\x03\x04 cut off", "not a whole NPZ"),
        ("t.npz", b"text", "not a whole NPZ"),
        ("t.parquet", b"text", "t.parquet"),
        ("t.xlsx", b"text", ".csv, .tsv, .npz, .parquet"),
    ],
)
def test_bad_file(lab: Lab, tmp_path: Path, extra: None, name: str, content: bytes, fragment: str) -> None:
    (tmp_path / name).write_bytes(content)
    check_mistake(lab("compare", "--data", name, "--target", "y"), fragment)


Y = np.arange(20) % 2


@pytest.mark.parametrize(
    ("arrays", "fragment"),
    [
        ({"x": np.ones((20, 2)), "y": Y[:19]}, "unequal length"),
        ({"x": np.ones(()), "y": Y}, "unequal length"),
        ({"x": np.array([{}] * 20, dtype=object), "y": Y}, "allow_pickle"),
        ({"x": np.ones(20) * 1j, "y": Y}, "complex128"),
        ({"x": np.array(["2020-01-01"] * 20, "M8[D]"), "y": Y}, "datetime64"),
        ({"x": np.ones((20, 0)), "y": Y}, "no column beside"),
        ({"x": np.full((20, 2), np.nan), "y": Y}, "'x' has empty"),
        ({"x": np.array([["p", "q"]] * 20), "y": Y}, "shape (20, 2)"),
        ({"x": np.ones(20), "y": np.ones((20, 2))}, "shape (20, 2)"),
        ({"x": np.ones(20), "y": np.where(Y, np.nan, 1.0)}, "'y' has empty"),
        ({}, "empty"),
    ],
)
def test_bad_arrays(lab: Lab, tmp_path: Path, extra: None, arrays: dict[str, Any], fragment: str) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    check_mistake(lab("compare", "--data", "t.npz", "--target", "y"), fragment)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ("", "required"),
        ("train", "invalid choice"),
        ("compare --bogus", "--bogus"),
        ("compare extra", "extra"),
        ("compare --data nowhere.csv --target y", "no such file: nowhere.csv"),
        ("compare --data t.npz", "--target"),
        ("compare --target y", "--data"),
        ("compare --data t.npz --target z", "no column 'z'; it has a, b, c, kind, y"),
        ("compare --data t.npz --target kind --task regression", "is text"),
        ("compare --data t.npz --target y --task classification", "has 1 row"),
        ("compare --data t.npz --target y --task clustering", "--task"),
        ("compare --data . --target y", ".csv"),
        ("compare --optimizers SGD,Bogus", "no optimizer 'bogus'"),
        ("compare --optimizers ,", "no optimizer ''"),
        ("compare --lr -0.1", "--lr"),
        ("compare --lr 0", "--lr"),
        ("compare --lr nan", "--lr"),
        ("compare --lr fast", "--lr"),
        ("compare --lr 1e300", "lr"),
        ("compare --epochs 0", "--epochs"),
        ("compare --epochs 1.5", "--epochs"),
        ("compare --batch-size -4", "--batch-size"),
        ("compare --hidden 0", "--hidden"),
        ("compare --hidden 64,", "--hidden"),
        ("compare --test-size 1", "--test-size"),
        ("compare --test-size half", "--test-size"),
        ("compare --seed -1", "--seed"),
        ("compare --threads 0", "--threads"),
        ("compare --threads 99999999999999999999", "threads"),
        ("compare --out t.npz/sub/", "cannot write"),
        ("compare --out taken", "cannot write"),
    ],
)
def test_bad_argument(lab: Lab, tmp_path: Path, extra: None, arguments: str, fragment: str) -> None:
    write_table(tmp_path / "t.npz")
    (tmp_path / "taken" / "compare.json").mkdir(parents=True)
    check_mistake(lab(*arguments.split()), fragment)


@pytest.mark.parametrize("module", ["matplotlib", "rich", "sklearn", "threadpoolctl", "pandas"])
def test_a_missing_extra_is_named(
    lab: Lab, tmp_path: Path, extra: None, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    (tmp_path / "t.csv").write_text("a,b,y\n" + ROWS)
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    table = ("--data", "t.csv", "--target", "y") if module == "pandas" else ()
    check_mistake(lab("compare", *table), "pip install 'fastopt[lab]'")
