"""Cross-validation: scores and out-of-fold predictions of an estimator on samples that it was not trained on."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from fastopt._checks import integer, number, warn
from fastopt._optional import require
from fastopt._types import Array, Rng
from fastopt.validation import parallel
from fastopt.validation._samples import Positions, class_codes, same_length, samples, take
from fastopt.validation.estimators import (
    FitTask,
    check_error_score,
    check_estimator,
    example,
    is_classifier,
    name_of,
    of_samples,
    report_failures,
    run_fits,
)
from fastopt.validation.folds import KFold, Split, StratifiedKFold
from fastopt.validation.intervals import Interval, interval
from fastopt.validation.out_of_fold import out_of_fold
from fastopt.validation.scoring import Scorer, score, scorers_of

MOST_ROWS = 12  # of a printed table
UNDEFINED = r"(R\^2 score is not|Only one class is present|r2 is not defined)"  # warnings of single scores
PackedSplit = tuple[Positions, Positions]


def splits_of(cv: Any, X: Any, y: Any, groups: Any, codes: Array | None = None, name: str = "cv") -> Iterator[Split]:
    """The checked splits of a splitter, of a list, or of a number of folds (stratified by codes if they are given)."""
    n = samples(X)
    if cv is None or (hasattr(cv, "__index__") and not isinstance(cv, bool)):
        k = integer(name, 5 if cv is None else cv, 2)
        if k > n:
            raise ValueError(f"{name}={k} is more than there are samples in X: {n}")
        cv, y = (KFold(k), y) if codes is None else (StratifiedKFold(k), codes)
    if isinstance(cv, (str, bytes)) or not (hasattr(cv, "split") or isinstance(cv, Iterable)):
        raise TypeError(f"{name} must be a splitter, a number of folds or pairs (train, test), got {cv!r}")
    if groups is not None and not hasattr(cv, "split"):
        warn(f"groups are ignored: {name} is a list of splits")
    pairs = cv.split(X, y, groups) if hasattr(cv, "split") else cv
    return _checked(cv, pairs, n, name)


def _checked(cv: Any, pairs: Iterable[Any], n: int, name: str) -> Iterator[Split]:
    i = -1
    for i, pair in enumerate(pairs):
        yield _check_split(name, i, pair, n)
    if i < 0:
        raise ValueError(f"{name}={cv!r} gives no splits")


def packed(splits: Iterable[Split], n: int) -> list[PackedSplit]:
    """The splits in little memory."""
    return [(Positions(train, n), Positions(test, n)) for train, test in splits]


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


class Options(TypedDict, total=False):
    """The arguments that several functions share; `cross_validate` explains them."""

    groups: Any
    cv: Any
    scoring: Any
    error_score: float | str
    n_jobs: int | None
    rng: Rng
    progress: Any


def check_classes(codes: Array, y: Any, trains: Iterable[Array]) -> None:
    """ValueError if y has a single class, in all samples or in one of these training sets."""
    labels = np.asarray(y).reshape(-1)
    if not codes.any():
        raise ValueError(f"y has a single class, {labels[0]!r}: there is nothing to tell apart")
    for i, train in enumerate(trains):
        if np.all(codes[train] == codes[train[0]]):
            raise ValueError(f"y has a single class, {labels[train[0]]!r}, in the training set of split {i}")


@dataclass(frozen=True)
class Setup:
    """Checked input of a validation. codes : the classes of y as indices if the estimator is a classifier."""

    estimator: Any
    X: Any
    y: Any
    n: int
    codes: Array | None
    splits: list[PackedSplit]
    scorers: dict[str, Scorer]
    classifier: bool
    options: Options

    @property
    def rng(self) -> Rng:
        return self.options.get("rng")

    def single_score(self) -> str:
        """The name of the only score; ValueError if there are several."""
        if len(self.scorers) != 1:
            raise ValueError(f"scoring must be a single score, got {', '.join(self.scorers)}")
        return next(iter(self.scorers))

    def task(self, train: Positions, test: Positions, **options: Any) -> ScoredFit:
        error_score = self.options.get("error_score", math.nan)
        return ScoredFit(self.X, self.y, train, test, self.scorers, error_score=error_score, **options)

    def run(self, tasks: Sequence[ScoredFit], *, rng: Rng, estimator: Any = None, label: str = "fits") -> list[Scores]:
        """Fit and score. One warning tells how many fits failed, another one which scores are not defined."""
        estimator, jobs = self.estimator if estimator is None else estimator, self.options.get("n_jobs")
        progress = self.options.get("progress", False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", UNDEFINED)
            fits = run_fits(estimator, tasks, n_jobs=jobs, rng=rng, progress=progress, label=label)
        error_score = self.options.get("error_score", math.nan)
        for what in [None, *self.scorers]:
            errors = [f.errors[what] for f in fits if what in f.errors]
            report_failures(errors, len(fits), error_score, fits=what is None)
        names = list(dict.fromkeys(name for f in fits for name in f.test))
        for f in fits:
            f.test = {name: f.test.get(name, float(error_score) if f.errors else math.nan) for name in names}
            f.train = {name: f.train.get(name, math.nan) for name in names} if tasks[0].train_scores else {}
        self._warn_undefined(fits, names)
        return fits

    def _warn_undefined(self, fits: Sequence[Scores], names: Sequence[str]) -> None:
        for name in names:
            undefined = sum(math.isnan(f.test[name]) and not f.errors for f in fits)
            if undefined:
                warn(f"{name} is not defined for {undefined} of {len(fits)} test sets: it is NaN there")


def setup(estimator: Any, X: Any, y: Any, options: Options) -> Setup:
    """Make all checks that are possible before the first fit."""
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(
            f"unexpected argument {', '.join(sorted(unknown))}; known are {', '.join(Options.__annotations__)}"
        )
    check_estimator(estimator)
    check_error_score(options.get("error_score", math.nan))
    n, groups = samples(X), options.get("groups")
    same_length(n, y=y, groups=groups)
    made = example(estimator)
    scorers = scorers_of(options.get("scoring"), made)
    classifier = is_classifier(made)
    codes = class_codes(y, n) if classifier else None
    splits = packed(splits_of(options.get("cv", 5), X, y, groups, codes), n)
    if codes is not None:
        check_classes(codes, y, (train.array() for train, _ in splits))
    return Setup(estimator, X, y, n, codes, splits, scorers, classifier, options)


@dataclass
class Scores:
    """The record of one fit. Times are in seconds. errors : of a score by its name, of the fit under None."""

    test: dict[str, float]
    train: dict[str, float]
    fit_time: float
    score_time: float
    predictions: Any
    classes: Any
    estimator: Any
    errors: dict[str | None, Exception]


@dataclass(frozen=True)
class ScoredFit(FitTask):
    """Fit on the training samples, score on the test samples."""

    X: Any
    y: Any
    train: Positions
    test: Positions
    scorers: Mapping[str, Scorer]
    train_scores: bool = False
    method: str | None = None  # of the estimator, for out-of-fold predictions
    keep: bool = False  # the fitted estimator
    fit_params: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] | None = None
    error_score: Any = math.nan

    def training_set(self, rng: np.random.Generator) -> tuple[Any, Any, Mapping[str, Any]]:
        n, train = samples(self.X), self.train.array()
        params = {k: of_samples(v, train, n) for k, v in self.fit_params.items()}
        return take(self.X, train), take(self.y, train), params

    def result(self, model: Any, X_train: Any, y_train: Any, fit_time: float) -> Scores:
        test = self.test.array()
        X_test, start = take(self.X, test), time.perf_counter()
        errors: dict[str | None, Exception] = {}
        test_scores = self._scores(model, X_test, take(self.y, test), errors)
        score_time = time.perf_counter() - start
        train_scores = self._scores(model, X_train, y_train, errors) if self.train_scores else {}
        predictions, classes = None, None
        if self.method is not None:
            predictions, classes = getattr(model, self.method)(X_test), getattr(model, "classes_", None)
        kept = model if self.keep else None
        return Scores(test_scores, train_scores, fit_time, score_time, predictions, classes, kept, errors)

    def _scores(self, model: Any, X: Any, y: Any, errors: dict[str | None, Exception]) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, scorer in self.scorers.items():
            try:
                values |= score(scorer, name, model, X, y)
            except Exception as error:
                if self.error_score == "raise":
                    raise
                values[name], errors[name] = float(self.error_score), error
        return values

    def failed(self, error: Exception) -> Scores:
        if self.error_score == "raise" or self.method is not None:
            raise error
        train = dict.fromkeys(self.scorers, float(self.error_score)) if self.train_scores else {}
        return Scores({}, train, math.nan, math.nan, None, None, None, {None: error})


@dataclass(repr=False, eq=False)
class CrossValidation:
    """What `cross_validate` returns: arrays with one entry per split.

    test_scores, train_scores : by name.
    fit_times, score_times : seconds.
    n_train, n_test : sizes.
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
    packed_tests: list[Positions]
    predictions: Any = None
    estimators: list[Any] | None = None

    @property
    def tests(self) -> list[Array]:
        """The positions held out, per split."""
        return [test.array() for test in self.packed_tests]

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
        return "\n".join([f"{self.name}, {len(self.n_test)} splits", table(columns, "split"), *lines])


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
    error_score: float | str = math.nan,
    n_jobs: int | None = None,
    rng: Rng = None,
    progress: bool = False,
) -> CrossValidation:
    """Fit on each training set, score on the samples that were held out.

    Beyond scikit-learn's function of this name: intervals of the mean, out-of-fold predictions, a random stream per
    split, factories and estimators without scikit-learn's protocol.

    Parameters
    ----------
    estimator : anything with fit(X, y) and predict(X), which is copied for each split (scikit-learn's clone, or a deep
        copy); or a function that makes one (called with rng= if it has that parameter).
    X, y : n samples and their targets: arrays, DataFrames, Arrow tables, sparse matrices, lists.
    groups : (n,) labels, for splitters that keep groups together.
    cv : a splitter of this package or of scikit-learn, a number of folds (stratified for a classifier), or pairs of
        positions.
    scoring : scikit-learn's names, functions of (estimator, X, y) that return a number or a dict of numbers, a list or
        dict of them; None: estimator.score. A score that is not defined for a test set is NaN.
    train_scores : also score on the training sets, which shows overfitting.
    predictions : True, or the name of a method such as "predict_proba": keep out-of-fold predictions.
    estimators : keep the fitted estimators.
    fit_params : more arguments of fit. Those with n entries are reduced to the training set.
    error_score : the score of a fit or scorer that raises an error, with one warning for all of them; or "raise". If
        all of them fail, the first error is raised.
    n_jobs : None: in this process. Otherwise joblib's: -1 for all CPUs, or the backend of joblib.parallel_config.
    rng : None, a seed or a Generator. Each split's estimator gets its own stream. With a seed, results are the same
        for any n_jobs and backend.
    progress : show a bar on stderr; needs rich.

    Raises TypeError or ValueError that names the argument, before the first fit where that is possible.
    """
    s = setup(estimator, X, y, Options(
        groups=groups, cv=cv, scoring=scoring, error_score=error_score, n_jobs=n_jobs, rng=rng, progress=progress,
    ))  # fmt: skip
    method = "predict" if predictions is True else predictions or None
    often = None if method is None else _times_held_out(s, method)
    options = {"train_scores": train_scores, "method": method, "keep": estimators, "fit_params": dict(fit_params or {})}
    fits = s.run([s.task(train, test, **options) for train, test in s.splits], rng=rng)
    result = collect(name_of(estimator), fits, s.splits)
    result.estimators = [f.estimator for f in fits] if estimators else None
    result.predictions = None if often is None else out_of_fold(fits, s, str(method), often)
    return result


def collect(name: str, fits: Sequence[Scores], splits: Sequence[PackedSplit]) -> CrossValidation:
    """The scores of all splits as arrays."""
    return CrossValidation(
        name=name,
        test_scores={k: np.array([f.test[k] for f in fits]) for k in fits[0].test},
        train_scores={k: np.array([f.train[k] for f in fits]) for k in fits[0].train},
        fit_times=np.array([f.fit_time for f in fits]),
        score_times=np.array([f.score_time for f in fits]),
        n_train=np.array([train.size for train, _ in splits]),
        n_test=np.array([test.size for _, test in splits]),
        packed_tests=[test for _, test in splits],
    )


def _times_held_out(s: Setup, method: Any) -> Array:
    """(n,) how often each sample is held out. An error if the method cannot give out-of-fold predictions."""
    made = example(s.estimator)
    if not isinstance(method, str) or not callable(getattr(made, method, None)):
        raise TypeError(f"predictions={method!r} must be True or a method of the estimator {name_of(s.estimator)}")
    often = np.zeros(s.n, np.int64)
    for _, test in s.splits:
        often += np.bincount(test.array(), minlength=s.n)
    if s.classifier and method == "predict" and often.max() > 1:
        raise ValueError(
            "predictions=True with a cv that holds samples out more than once: labels have no mean; ask for "
            "predictions='predict_proba'"
        )
    return often
