"""Tables: the task that a target implies, encoding, scaling, splits, file formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastopt.lab.data import encode, load, scale, split
from tests.lab.cases import blobs, write_table


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (["u", "v"] * 10, "classification"),
        ([True, False] * 10, "classification"),
        (list(range(10)) * 2, "classification"),
        ([0.0, 1.0] * 10, "classification"),
        ([0.5, 1.0] * 10, "regression"),
        (list(range(40)), "regression"),
    ],
)
def test_the_target_decides_the_task(y: list[Any], task: str) -> None:
    problem = encode("s", {"x": np.arange(float(len(y)))}, "y", np.array(y), None)
    assert problem.task == task
    assert problem.outputs == (len(set(y)) if task == "classification" else 1)


def test_task_can_be_chosen() -> None:
    assert encode("s", {"x": np.arange(20.0)}, "y", np.arange(20) % 5, "regression").task == "regression"
    assert encode("s", {"x": np.arange(60.0)}, "y", np.arange(60) % 30, "classification").outputs == 30


def test_scaling_sees_the_training_rows_alone() -> None:
    problem = blobs()
    problem.x[:, 4] = 2.5
    train, test = split(problem, 0.25, np.random.default_rng(0))
    parts = scale(problem, train, test)
    assert parts.x_train.dtype == np.float32
    assert parts.x_train[:, :4].mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-6)
    assert parts.x_train[:, :4].std(axis=0) == pytest.approx(np.ones(4), rel=1e-5)
    problem.x[test] += 1e3
    again = scale(problem, train, test)
    assert np.array_equal(parts.x_train, again.x_train)
    assert not again.x_test[:, 4].any(), "a column that is constant in training is zero everywhere"


def test_split_divides_every_class_alike() -> None:
    y = np.repeat([0, 1, 2], [100, 20, 2])
    problem = encode("s", {"x": np.arange(122.0)}, "y", y, "classification")
    train, test = split(problem, 0.2, np.random.default_rng(3))
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(122))
    assert np.bincount(y[test]).tolist() == [20, 4, 1]
    rest, validation = split(problem, 0.5, np.random.default_rng(3), train)
    assert np.array_equal(np.sort(np.concatenate([rest, validation])), train)


def test_text_is_one_hot_encoded(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    path = tmp_path / "t.csv"
    path.write_text("\ufeffa, kind ,flag,y\n" + "1.5,red,True,u\n2.5,blue,False,v\n3.5,red,True,u\n" * 5)
    problem = load(str(path), "y", None)
    assert (problem.features, problem.classes) == (3, ("u", "v"))
    assert problem.x[:2].tolist() == [[1.5, 0, 1, 1], [2.5, 1, 0, 0]]
    assert problem.y[:3].tolist() == [0, 1, 0]


def test_every_format_gives_the_same_table(tmp_path: Path, extra: None) -> None:
    pytest.importorskip("pyarrow")
    paths = [tmp_path / f"t{suffix}" for suffix in (".npz", ".csv", ".tsv", ".parquet")]
    for path in paths:
        write_table(path)
    first, *others = [load(str(path), "kind", None) for path in paths]
    for other in others:
        assert np.array_equal(first.x, other.x)
        assert np.array_equal(first.y, other.y)
        assert (first.features, first.classes) == (other.features, other.classes)


@pytest.mark.usefixtures("extra")
def test_numbers_beyond_64_bits_and_separators_in_quotes(tmp_path: Path) -> None:
    rows = "\n".join(f"{10**20 + k * 10**18},{k / 7:.3f}" for k in range(40))
    (tmp_path / "t.csv").write_text(f'"a;b;c",y\n{rows}\n')
    problem = load(str(tmp_path / "t.csv"), "y", None)
    assert problem.x.shape == (40, 1)
    assert problem.x[1, 0] == 1.01e20
