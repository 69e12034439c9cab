"""Cross-validation: scores and out-of-fold predictions of an estimator on samples that it was not trained on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastopt._checks import integer, number
from fastopt._optional import require
from fastopt._types import Array, Rng
from fastopt.validation import parallel
from fastopt.validation._samples import encode, same_length, samples, take
from fastopt.validation.estimators import (
    FitTask,
    check_estimator,
    example,
    is_classifier,
    name_of,
    of_samples,
    run_fits,
)
from fastopt.validation.folds import KFold, Split, StratifiedKFold
from fastopt.validation.intervals import Interval, interval
from fastopt.validation.scoring import Scorer, score, scorers_of

MOST_ROWS = 12  # of a printed table


def splits_of(cv: Any, X: Any, y: Any, groups: Any, classifier: bool = False, name: str = "cv") -> list[Split]:
    """Check and list the splits of a splitter, of a number of folds (stratified for a classifier), or of a list."""
    n = samples(X)
    if cv is None or (hasattr(cv, "__index__") and not isinstance(cv, bool)):
        k = integer(name, 5 if cv is None else cv, 2)
        if k > n:
            raise ValueError(f"{name}={k} is more than there are samples in X: {n}")
        cv = StratifiedKFold(k) if classifier and y is not None and np.asarray(y).ndim == 1 else KFold(k)
    if isinstance(cv, (str, bytes)) or not (hasattr(cv, "split") or isinstance(cv, Iterable)):
        raise TypeError(f"{name} must be a splitter, a number of folds or pairs (train, test), got {cv!r}")
    pairs = cv.split(X, y, groups) if hasattr(cv, "split") else cv
    splits = [_check_split(name, i, pair, n) for i, pair in enumerate(pairs)]
    if not splits:
        raise ValueError(f"{name}={cv!r} gives no splits")
    return splits


def _check_split(name: str, i: int, pair: Any, n: int) -> Split:
    try:
        train, test = (np.asarray(part) for part in pair)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: split {i} must be a pair (train, test) of positions, got {pair!r:.80}") from None
    return _positions(f"{name}: the training set of split {i}", train, n), _positions(
        f"{name}: the test set of split {i}", test, n
    )


def _positions(name: str, part: Array, n: int) -> Array:
    """Positions in [0, n) from positions, which may count from the end, or from a mask."""
    if part.size == 0:
        raise ValueError(f"{name} is empty")
    if part.ndim != 1 or part.dtype.kind not in "iub":
        raise TypeError(f"{name} must be positions or a mask, got {part!r:.80}")
    if part.dtype.kind == "b":
        if len(part) != n:
            raise ValueError(f"{name} is a mask of length {len(part)}, X has {n} samples")
        return np.flatnonzero(part)
    if part.min() < -n or part.max() >= n:
        raise ValueError(f"{name} has positions beyond the {n} samples in X")
    return part % n if part.min() < 0 else part


def check_classes(y: Any, trains: Sequence[Array]) -> None:
    """ValueError if y has a single class, in all samples or in one of these training sets."""
    labels = np.asarray(y)
    if labels.ndim != 1:
        return
    codes, counts = encode("y", labels)
    if len(counts) < 2:
        raise ValueError(f"y has a single class, {labels[0]!r}: there is nothing to tell apart")
    for i, train in enumerate(trains):
        if np.all(codes[train] == codes[train[0]]):
            raise ValueError(f"y has a single class, {labels[train[0]]!r}, in the training set of split {i}")


@dataclass(frozen=True)
class Setup:
    """Checked input of a validation."""

    estimator: Any
    X: Any
    y: Any
    n: int
    splits: list[Split]
    scorers: dict[str, Scorer]
    classifier: bool

    def single_score(self) -> str:
        """The name of the only score; ValueError if there are several."""
        if len(self.scorers) != 1:
            raise ValueError(f"scoring must be a single score, got {', '.join(self.scorers)}")
        return next(iter(self.scorers))

    def task(self, train: Array, test: Array, **options: Any) -> ScoredFit:
        return ScoredFit(self.X, self.y, train, test, self.scorers, **options)


def setup(estimator: Any, X: Any, y: Any, groups: Any, cv: Any, scoring: Any) -> Setup:
    """Make all checks that are possible before the first fit."""
    check_estimator(estimator)
    n = samples(X)
    same_length(n, y=y, groups=groups)
    made = example(estimator)
    scorers = scorers_of(scoring, made)
    classifier = is_classifier(made)
    splits = splits_of(cv, X, y, groups, classifier)
    if classifier and y is not None:
        check_classes(y, [train for train, _ in splits])
    return Setup(estimator, X, y, n, splits, scorers, classifier)


@dataclass
class Scores:
    """The record of one fit. Times are in seconds."""

    test: dict[str, float]
    train: dict[str, float]
    fit_time: float
    score_time: float
    predictions: Any
    estimator: Any


@dataclass(frozen=True)
class ScoredFit(FitTask):
    """Fit on the training samples, score on the test samples."""

    X: Any
    y: Any
    train: Array
    test: Array
    scorers: Mapping[str, Scorer]
    train_scores: bool = False
    method: str | None = None  # of the estimator, for out-of-fold predictions
    keep: bool = False  # the fitted estimator
    fit_params: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] | None = None

    def training_set(self, rng: np.random.Generator) -> tuple[Any, Any, Mapping[str, Any]]:
        n = samples(self.X)
        params = {k: of_samples(v, self.train, n) for k, v in self.fit_params.items()}
        return take(self.X, self.train), take(self.y, self.train), params

    def result(self, model: Any, X_train: Any, y_train: Any, fit_time: float) -> Scores:
        X_test = take(self.X, self.test)
        start = time.perf_counter()
        test_scores = score(self.scorers, model, X_test, take(self.y, self.test))
        score_time = time.perf_counter() - start
        train_scores = score(self.scorers, model, X_train, y_train) if self.train_scores else {}
        predictions = None if self.method is None else np.asarray(getattr(model, self.method)(X_test))
        return Scores(test_scores, train_scores, fit_time, score_time, predictions, model if self.keep else None)


@dataclass(repr=False, eq=False)
class CrossValidation:
    """What `cross_validate` returns: arrays with one entry per split.

    test_scores, train_scores : by name.
    fit_times, score_times : seconds.
    n_train, n_test : sizes.
    tests : the positions held out, per split.
    predictions : (n, …) out-of-fold predictions, each by a model that was not trained on the sample; the mean if
        several splits held it out, NaN (None for labels) if none did. None if predictions=False.
    estimators : the fitted estimators if estimators=True.
    """

    name: str
    test_scores: dict[str, Array]
    train_scores: dict[str, Array]
    fit_times: Array
    score_times: Array
    n_train: Array
    n_test: Array
    tests: list[Array]
    predictions: Array | None = None
    estimators: list[Any] | None = None

    def scores(self, name: str | None = None) -> Array:
        """The test score of this name per split; of the first score if name is None."""
        name = next(iter(self.test_scores)) if name is None else name
        if name not in self.test_scores:
            raise ValueError(f"no score {name!r}; there are {', '.join(self.test_scores)}")
        return self.test_scores[name]

    def mean(self, name: str | None = None) -> float:
        return float(np.mean(self.scores(name)))

    def std(self, name: str | None = None) -> float:
        """The standard deviation over the k splits, divided by k − 1."""
        values = self.scores(name)
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    def interval(self, name: str | None = None, level: float = 0.95) -> Interval:
        """The interval of the mean, its variance corrected for overlapping training sets (Nadeau and Bengio 2003)."""
        level = number("level", level, 0, 1, above=True, below=True)
        return interval(self.scores(name), self.test_share, level)

    @property
    def test_share(self) -> float:
        """n_test / n_train, the mean over the splits."""
        return float(np.mean(self.n_test / self.n_train))

    def to_dict(self) -> dict[str, Array]:
        """A dict with the keys of scikit-learn's cross_validate: fit_time, score_time, test_…, train_…"""
        tests = {f"test_{name}": values for name, values in self.test_scores.items()}
        trains = {f"train_{name}": values for name, values in self.train_scores.items()}
        return {"fit_time": self.fit_times, "score_time": self.score_times, **tests, **trains}

    def to_frame(self) -> Any:
        """A pandas DataFrame with the entries of to_dict and the sizes, one row per split."""
        sizes = {"n_train": self.n_train, "n_test": self.n_test}
        return require("pandas", "to_frame()", parallel.EXTRA).DataFrame({**self.to_dict(), **sizes})

    def __repr__(self) -> str:
        columns = {f"test {name}": values for name, values in self.test_scores.items()}
        columns |= {f"train {name}": values for name, values in self.train_scores.items()}
        columns["fit seconds"] = self.fit_times
        lines = [f"{name}: {self.interval(name)}, 95 % interval" for name in self.test_scores]
        return "\n".join([f"{self.name}, {len(self.tests)} splits", table(columns, "split"), *lines])


def table(columns: Mapping[str, Array], index: str, labels: Sequence[Any] | None = None) -> str:
    """Numbers in aligned columns. Rows in the middle of a long table are left out."""
    n = len(next(iter(columns.values())))
    labels = list(range(n)) if labels is None else list(labels)
    shown = list(range(n)) if n <= MOST_ROWS else [*range(MOST_ROWS - 2), n - 1]
    rows = [[index, *columns]]
    rows += [[str(labels[i]), *(f"{values[i]:.4g}" for values in columns.values())] for i in shown]
    if len(shown) < n:
        rows.insert(-1, ["…"] * len(rows[0]))
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


def cross_validate(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    cv: Any = 5,
    scoring: Any = None,
    train_scores: bool = False,
    predictions: bool | str = False,
    estimators: bool = False,
    fit_params: Mapping[str, Any] | None = None,
    n_jobs: int | None = None,
    rng: Rng = None,
    progress: bool = False,
) -> CrossValidation:
    """Fit on each training set, score on the samples that were held out.

    Parameters
    ----------
    estimator : anything with fit(X, y) and predict(X), which is copied for each split (scikit-learn's clone, or a deep
        copy); or a function that makes one (called with rng= if it has that parameter).
    X, y : n samples and their targets: arrays, DataFrames, sparse matrices, lists.
    groups : (n,) labels, for splitters that keep groups together.
    cv : a splitter of this package or of scikit-learn, a number of folds (stratified for a classifier), or pairs of
        positions.
    scoring : scikit-learn's names, functions of (estimator, X, y), a list or dict of them; None: estimator.score.
    train_scores : also score on the training sets, which shows overfitting.
    predictions : True, or the name of a method such as "predict_proba": keep out-of-fold predictions.
    estimators : keep the fitted estimators.
    fit_params : more arguments of fit. Those with n entries are reduced to the training set.
    n_jobs : None: in this process. Otherwise joblib's: -1 for all CPUs, or the backend of joblib.parallel_config.
    rng : None, a seed or a Generator. Each split's estimator gets its own stream. With a seed, results are the same
        for any n_jobs and backend.
    progress : show a bar on stderr; needs rich.

    Raises TypeError or ValueError that names the argument, before the first fit where that is possible.
    """
    s = setup(estimator, X, y, groups, cv, scoring)
    method = "predict" if predictions is True else predictions or None
    if method is not None:
        _check_method(s, method)
    options = {"train_scores": train_scores, "method": method, "keep": estimators, "fit_params": dict(fit_params or {})}
    tasks = [s.task(train, test, **options) for train, test in s.splits]
    fits = run_fits(estimator, tasks, n_jobs=n_jobs, rng=rng, progress=progress)
    result = collect(name_of(estimator), fits, s.splits)
    result.estimators = [f.estimator for f in fits] if estimators else None
    result.predictions = None if method is None else _out_of_fold(s, fits, method)
    return result


def collect(name: str, fits: Sequence[Scores], splits: Sequence[Split]) -> CrossValidation:
    """The scores of all splits as arrays."""
    return CrossValidation(
        name=name,
        test_scores={k: np.array([f.test[k] for f in fits]) for k in fits[0].test},
        train_scores={k: np.array([f.train[k] for f in fits]) for k in fits[0].train},
        fit_times=np.array([f.fit_time for f in fits]),
        score_times=np.array([f.score_time for f in fits]),
        n_train=np.array([len(train) for train, _ in splits]),
        n_test=np.array([len(test) for _, test in splits]),
        tests=[test for _, test in splits],
    )


def _times_held_out(s: Setup) -> Array:
    return np.bincount(np.concatenate([test for _, test in s.splits]), minlength=s.n)


def _check_method(s: Setup, method: Any) -> None:
    made = example(s.estimator)
    if not isinstance(method, str) or not callable(getattr(made, method, None)):
        raise TypeError(f"predictions={method!r} must be True or a method of the estimator {name_of(s.estimator)}")
    if s.classifier and method == "predict" and _times_held_out(s).max() > 1:
        raise ValueError(
            "predictions=True with a cv that holds samples out more than once: labels have no mean; ask for "
            "predictions='predict_proba'"
        )


def _out_of_fold(s: Setup, fits: Sequence[Scores], method: str) -> Array:
    """The predictions for every sample. If several models predict a sample, their mean."""
    parts = [f.predictions for f in fits]
    if method == "predict_proba" and s.y is not None:
        y = np.asarray(s.y)
        classes = np.unique(y)
        parts = [_all_classes(p, np.unique(y[t]), classes) for p, (t, _) in zip(parts, s.splits, strict=True)]
    often, kind, shape = _times_held_out(s), np.result_type(*parts), (s.n, *parts[0].shape[1:])
    if any(p.dtype.kind not in "biufc" for p in parts):
        found: Array = np.full(shape, None, dtype=object)
        for (_, test), p in zip(s.splits, parts, strict=True):
            found[test] = p
        return found.astype(kind) if often.all() else found
    once = often.min() == 1 == often.max()
    found = np.zeros(shape, kind if once else float)
    for (_, test), p in zip(s.splits, parts, strict=True):
        found[test] = p if once else found[test] + p
    often = often.reshape(-1, *[1] * (found.ndim - 1))
    return found if once else np.where(often > 0, found / np.maximum(often, 1), np.nan)


def _all_classes(probabilities: Array, seen: Array, classes: Array) -> Array:
    """Add columns of zeros for the classes that the training set lacked."""
    if probabilities.ndim != 2 or probabilities.shape[1] != len(seen):
        return probabilities
    whole = np.zeros((len(probabilities), len(classes)), probabilities.dtype)
    whole[:, np.searchsorted(classes, seen)] = probabilities
    return whole
