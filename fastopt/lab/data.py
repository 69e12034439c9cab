"""Real data as arrays: scikit-learn's digits, or one CSV, TSV, NPZ or Parquet file, checked and encoded.

Repairs nothing: a missing or infinite cell, or a column of numbers and text, is an error that names the column and the
row. No row is dropped.
"""

import csv
import re
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fastopt._types import Array
from fastopt.lab.errors import LabError, require

Task = Literal["classification", "regression"]
Columns = dict[str, Array]

FEW_INTEGERS = 20  # a target with at most so many distinct whole numbers holds classes
MAX_CATEGORIES = 100  # the most one-hot columns for one text column
MIN_ROWS = 10
INTEGER = re.compile("[+-]?[0-9]+")


@dataclass(frozen=True)
class Problem:
    """All rows, encoded but not scaled. y : class numbers, or values for a regression."""

    source: str
    target: str
    task: Task
    features: int  # columns of the file; one-hot encoding gives x more
    x: Array
    y: Array
    classes: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        return max(1, len(self.classes))


@dataclass(frozen=True)
class Split:
    """Scaled float32 features with class numbers (int64) or standardised float32 targets."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def load(path: str | None, target: str | None, task: Task | None) -> Problem:
    """Read and encode a file, or scikit-learn's handwritten digits if there is no path."""
    if path is None:
        if target is not None:
            raise LabError("--target needs --data FILE")
        digits = require("sklearn.datasets", "scikit-learn").load_digits()
        return encode("scikit-learn digits", {"pixels": digits.data}, "digit", digits.target, task)
    columns = read_columns(Path(path))
    names = ", ".join(list(columns)[:12]) + (", ..." if len(columns) > 12 else "")
    if target is None:
        raise LabError(f"--data needs --target COLUMN; {path} has {names}")
    if target not in columns:
        raise LabError(f"{path} has no column {target!r}; it has {names}")
    return encode(Path(path).name, columns, target, columns.pop(target), task)


def read_columns(path: Path) -> Columns:
    """Every column of a file, or every array of an NPZ file, by name."""
    readers: dict[str, Callable[[Path], Columns]] = {
        ".csv": _read_text,
        ".tsv": _read_text,
        ".npz": _read_npz,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise LabError(f"{path}: expected a file ending in {', '.join(readers)}")
    try:
        return reader(path)
    except FileNotFoundError:
        raise LabError(f"no such file: {path}") from None
    except LabError:
        raise
    except UnicodeDecodeError:
        raise LabError(f"{path} is not UTF-8 text") from None
    except Exception as error:  # readers raise many kinds of errors for a damaged file
        reason = getattr(error, "strerror", None) or error
        raise LabError(f"cannot read {path}: {reason}") from error


def _read_text(path: Path) -> Columns:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = file.readline()
    if not header.strip():
        raise LabError(f"{path} is empty or starts with an empty line")
    unquoted = re.sub('"[^"]*"', "", header)
    separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=unquoted.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator))]
    if "" in names:
        raise LabError(f"{path}: column {names.index('') + 1} has no name (a saved index?)")
    if len(set(names)) < len(names):
        raise LabError(f"{path}: column {max(names, key=names.count)!r} occurs more than once")
    pandas = require("pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        try:
            frame = pandas.read_csv(
                path, sep=separator, names=names, header=0, index_col=False, low_memory=False,
                encoding="utf-8-sig", skipinitialspace=True, float_precision="round_trip",
            )  # fmt: skip
        except pandas.errors.ParserWarning:  # pandas only warns, and drops the extra cells
            raise LabError(f"{path}: the rows have more cells than the header") from None
    return {name: _large_integers(values) for name, values in _from_frame(frame).items()}


def _large_integers(values: Array) -> Array:
    """Numbers from integers of more than 64 bits, which pandas before 3 leaves as text."""
    if values.dtype.kind == "O" and all(isinstance(cell, str) and INTEGER.fullmatch(cell) for cell in values):
        return values.astype(np.float64)
    return values


def _read_parquet(path: Path) -> Columns:
    pandas = require("pandas")
    require("pyarrow")
    with path.open("rb") as file:
        return _from_frame(pandas.read_parquet(file, engine="pyarrow"))


def _from_frame(frame: Any) -> Columns:
    """A pandas frame's columns. In columns of objects every missing value becomes None."""
    columns: Columns = {}
    for name, series in frame.items():
        values = series.to_numpy()
        if values.dtype.kind == "O":
            values = series.astype(object).where(series.notna(), None).to_numpy()
        columns[str(name)] = values
    return columns


def _read_npz(path: Path) -> Columns:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise LabError(f"{path} is not a whole NPZ archive")
    with np.load(path, allow_pickle=False) as archive:
        columns = {name: archive[name] for name in archive.files}
    if not columns:
        raise LabError(f"{path} is empty")
    shapes = {name: array.shape for name, array in columns.items()}
    if any(not shape for shape in shapes.values()) or len({shape[0] for shape in shapes.values()}) > 1:
        raise LabError(f"{path}: arrays of unequal length: {shapes}")
    return columns


def encode(source: str, columns: Columns, target: str, y: Array, task: Task | None) -> Problem:
    """Check every cell. Features become float64 columns, the target class numbers or values."""
    if not columns:
        raise LabError(f"{source} has no column beside the target {target!r}")
    if len(y) < MIN_ROWS:
        raise LabError(f"{source} has {len(y)} rows; at least {MIN_ROWS} are needed")
    if y.ndim != 1:
        raise LabError(f"target {target!r} has shape {y.shape}; one value per row is needed")
    y = _checked(target, y)
    blocks = [_encoded(name, _checked(name, values)) for name, values in columns.items()]
    features = sum(int(np.prod(values.shape[1:])) for values in columns.values())
    x = np.concatenate(blocks, axis=1)
    if x.shape[1] == 0:
        raise LabError(f"{source} has no column beside the target {target!r}")
    if (task or _task_of(y)) == "classification":
        classes, labels = _classes(target, y)
        return Problem(source, target, "classification", features, x, labels, classes)
    return Problem(source, target, "regression", features, x, _values(target, y))


def _checked(name: str, values: Array) -> Array:
    """The column as bools, numbers or text; an error for missing, infinite and other cells."""
    bad: Array = np.zeros(len(values), bool)
    if values.dtype.kind == "O":
        bad = np.array([cell is None for cell in values])
    elif values.dtype.kind == "f":
        flat = values.reshape(len(values), values.size // len(values))
        bad = np.logical_or.reduce(~np.isfinite(flat), axis=1)
    if bad.any():
        where = f"{bad.sum()} of {len(bad)} rows, the first is row {int(bad.argmax()) + 1}"
        raise LabError(f"column {name!r} has empty, NaN or infinite cells: {where}")
    if values.dtype.kind == "O":
        kinds = {type(cell) for cell in values}
        if kinds <= {int, float}:  # integers of more than 64 bits among them
            return _checked(name, values.astype(np.float64))
        if not (kinds <= {str} or kinds <= {bool}):
            raise LabError(f"column {name!r} mixes {', '.join(sorted(kind.__name__ for kind in kinds))}")
        values = np.array(list(values))
    if values.dtype.kind not in "biufU":
        raise LabError(f"column {name!r} holds {values.dtype}; only numbers, bools and text can be used")
    if values.dtype.kind == "U":
        _check_not_half_numeric(name, values)
    return values


def _check_not_half_numeric(name: str, values: Array) -> None:
    """Raise an error for a column of numbers with a typing error, which would be encoded as text."""
    levels = np.unique(values)
    odd = [level for level in levels if not _is_number(level)]
    if len(levels) > FEW_INTEGERS and len(odd) <= len(levels) // 10:
        example = odd[0] if odd else levels[0]
        row = int((values == example).any(axis=tuple(range(1, values.ndim))).argmax()) + 1
        raise LabError(f"column {name!r} mixes numbers and text, e.g. {str(example)!r} in row {row}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _encoded(name: str, values: Array) -> Array:
    """Float64 columns: numbers and bools as they are (arrays flattened by row), text one-hot."""
    if values.dtype.kind != "U":
        return values.reshape(len(values), values.size // len(values)).astype(np.float64)
    if values.ndim > 1:
        raise LabError(f"column {name!r} holds text of shape {values.shape}; one text per row can be used")
    levels, codes = np.unique(values, return_inverse=True)
    if len(levels) > MAX_CATEGORIES:
        raise LabError(
            f"column {name!r} has {len(levels)} different texts, e.g. {str(levels[0])!r}; "
            f"at most {MAX_CATEGORIES} can be one-hot encoded"
        )
    return np.eye(len(levels))[codes]


def _task_of(y: Array) -> Task:
    """Classification for text, bools and few distinct whole numbers; else regression."""
    if y.dtype.kind in "bU":
        return "classification"
    distinct = np.unique(y)
    whole = bool(np.all(distinct == np.floor(distinct)))
    return "classification" if whole and len(distinct) <= FEW_INTEGERS else "regression"


def _classes(target: str, y: Array) -> tuple[tuple[str, ...], Array]:
    names, labels, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise LabError(f"target {target!r} has the single class {str(names[0])!r}")
    if counts.min() < 2:
        rare = str(names[counts.argmin()])
        raise LabError(f"class {rare!r} of target {target!r} has 1 row; 2 are needed, one to hold out")
    return tuple(str(name) for name in names), labels.astype(np.int64)


def _values(target: str, y: Array) -> Array:
    if y.dtype.kind == "U":
        raise LabError(f"target {target!r} is text; a regression needs numbers")
    values = y.astype(np.float64)
    if values.min() == values.max():
        raise LabError(f"target {target!r} has the single value {values[0]:g}")
    return values


def split(problem: Problem, share: float, rng: np.random.Generator, rows: Array | None = None) -> tuple[Array, Array]:
    """(rows to train on, rows to hold out), from all rows or from `rows`, with the same share of every class.

    Of a class, at least one row is trained on and, if there are two, at least one is held out.
    """
    rows = np.arange(len(problem.y)) if rows is None else rows
    groups = problem.y[rows] if problem.classes else np.zeros(len(rows), np.int64)
    train, test = [], []
    for group in np.unique(groups):
        members = rng.permutation(rows[groups == group])
        held = min(max(1, round(len(members) * share)), len(members) - 1)
        test.append(members[:held])
        train.append(members[held:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def scale(problem: Problem, train: Array, test: Array) -> Split:
    """Standardise by mean and standard deviation of the training rows only."""
    x_train, x_test = _standardised(problem.x, train, test)
    if problem.classes:
        return Split(x_train, problem.y[train], x_test, problem.y[test])
    y_train, y_test = _standardised(problem.y[:, None], train, test)
    return Split(x_train, y_train[:, 0].copy(), x_test, y_test[:, 0].copy())


def _standardised(values: Array, train: Array, test: Array) -> tuple[Array, Array]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = values[train].mean(axis=0), values[train].std(axis=0)
        # The weights of a column that is constant in training stay random, so the column becomes 0.
        varies = deviation > 1e-12 * np.abs(values[train]).max(axis=0)
        factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
        parts = [((values[rows] - mean) * factor).astype(np.float32) for rows in (train, test)]
    if not all(np.isfinite(part).all() for part in parts):
        raise LabError("the numbers are too large to standardise in float64")
    return parts[0], parts[1]
