"""Small tables and problems, and helpers for the tests of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastopt.lab.__main__ import SEVEN
from fastopt.lab.data import Problem, encode

EXTRA = ("matplotlib", "rich", "sklearn", "threadpoolctl", "pandas")
Lab = Callable[..., tuple[int, str, str]]

ROWS = "".join(f"{i % 7},{i % 5},{'uv'[i % 2]}\n" for i in range(30))


def blobs(rows: int = 120) -> Problem:
    """Three well separated classes in five dimensions."""
    rng = np.random.default_rng(5)
    y = np.arange(rows) % 3
    x = rng.standard_normal((rows, 5)) + 3.0 * np.eye(5)[y]
    return encode("blobs", {"x": x}, "y", y, None)


def numbers(comparison: Any) -> list[list[tuple[float, ...]]]:
    """The parts of a comparison that must not depend on the clock."""
    return [[epoch[:4] for epoch in run.history] for run in comparison.runs]


def written(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def compared(problem: Problem, **settings: Any) -> Any:
    from fastopt.lab.compare import Settings, compare

    small: dict[str, Any] = {"optimizers": tuple(SEVEN.split(",")), "epochs": 4, "hidden": (8,)}
    return compare(problem, Settings(**small | settings), lambda stage, run: None)


def write_table(path: Path) -> None:
    """A linear target y, a class, two features and a text, in the format of the name's suffix."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 200))
    columns = {"a": a, "b": b, "c": np.where(a > 0, "up", "down"), "kind": np.where(a + b > 0, "p", "q")}
    columns["y"] = 2 * a - b + 0.01 * rng.standard_normal(200)
    if path.suffix == ".npz":
        np.savez(path, **columns)
        return
    frame = pytest.importorskip("pandas").DataFrame(columns)
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep={".csv": ",", ".tsv": "\t"}[path.suffix])


def check_png(path: Path) -> None:
    image = pytest.importorskip("matplotlib.image").imread(path)
    assert image.shape[0] > 500
    assert image.shape[1] > 1000
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 20, "not a blank picture"
