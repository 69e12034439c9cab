"""How well does it predict what it has not seen? Cross-validation, plain and nested, and whether two models differ."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastopt._optional import require
from fastopt.validation import parallel
from fastopt.validation.checks import Array, Rng, count, encode, number, same_length, samples, take
from fastopt.validation.estimators import (
    Fit,
    Fitted,
    check_estimator,
    example,
    fit_and_score,
    fit_and_score_together,
    is_classifier,
    is_factory,
)
from fastopt.validation.folds import KFold, Split, Splitter, StratifiedKFold
from fastopt.validation.intervals import Interval, corrected_variance, interval, t_cdf
from fastopt.validation.scoring import scorers_of

MOST_ROWS = 12  # of a printed table


def splits_of(cv: Any, X: Any, y: Any, groups: Any, classifier: bool = False, name: str = "cv") -> list[Split]:
    """The splits of a splitter, a number of folds (stratified for a classifier) or a list, each checked."""
    n = samples(X)
    if cv is None or (hasattr(cv, "__index__") and not isinstance(cv, bool)):
        k = count(name, 5 if cv is None else cv, low=2)
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


def _check_split(argument: str, i: int, pair: Any, n: int) -> Split:
    try:
        train, test = (np.asarray(part) for part in pair)
    except (TypeError, ValueError):
        raise TypeError(f"{argument}: split {i} must be a pair (train, test) of positions, got {pair!r:.80}") from None
    for name, part in (("training", train), ("test", test)):
        if part.size == 0:
            raise ValueError(f"{argument}: split {i} has an empty {name} set")
        if part.ndim != 1 or part.dtype.kind not in "iub":
            raise TypeError(f"{argument}: the {name} set of split {i} must be positions or a mask, got {part!r:.80}")
        if part.dtype.kind == "b" and len(part) != n:
            raise ValueError(f"{argument}: the {name} mask of split {i} has length {len(part)}, X has {n} samples")
        if part.dtype.kind != "b" and not (part.min() >= -n and part.max() < n):
            raise ValueError(f"{argument}: the {name} set of split {i} has positions beyond the {n} samples in X")
    return tuple(np.flatnonzero(p) if p.dtype.kind == "b" else p % n if p.min() < 0 else p for p in (train, test))  # type: ignore[return-value]


def check_classes(y: Any, splits: Sequence[Split]) -> None:
    """A classifier needs two classes to train on wherever y has them."""
    labels = np.asarray(y)
    if labels.ndim != 1:
        return
    codes, counts = encode("y", labels)
    if len(counts) < 2:
        raise ValueError(f"y has a single class, {labels[0]!r}: there is nothing to tell apart")
    for i, (train, _) in enumerate(splits):
        if np.all(codes[train] == codes[train[0]]):
            raise ValueError(f"y has a single class, {labels[train[0]]!r}, in the training set of split {i}")


@dataclass(repr=False, eq=False)
class CrossValidation:
    """What `cross_validate` returns: arrays with one entry per split.

    test_scores, train_scores : by name.
    fit_times, score_times : seconds.
    n_train, n_test : sizes.
    tests : the positions held out, per split.
    predictions : (n, …) out-of-fold predictions, each by a model that had not seen the sample; the mean where several
        splits held it out, NaN (None for labels) where none did. None if they were not asked for.
    estimators : the fitted ones, if they were asked for.
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
        """Per split the test score of this name (of the first one)."""
        return self.test_scores[self._known(name)]

    def mean(self, name: str | None = None) -> float:
        return float(np.mean(self.scores(name)))

    def std(self, name: str | None = None) -> float:
        """Over the splits (divided by k − 1)."""
        values = self.scores(name)
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    def interval(self, name: str | None = None, level: float = 0.95) -> Interval:
        """Of the mean, with the variance corrected for training sets that overlap (Nadeau and Bengio 2003)."""
        return interval(self.scores(name), self.test_share, number("level", level, 0, 1))

    @property
    def test_share(self) -> float:
        """n_test / n_train, the mean over the splits."""
        return float(np.mean(self.n_test / self.n_train))

    def to_dict(self) -> dict[str, Array]:
        """With the keys of scikit-learn's cross_validate: fit_time, score_time, test_…, train_…"""
        tests = {f"test_{name}": values for name, values in self.test_scores.items()}
        trains = {f"train_{name}": values for name, values in self.train_scores.items()}
        return {"fit_time": self.fit_times, "score_time": self.score_times, **tests, **trains}

    def to_frame(self) -> Any:
        """A pandas DataFrame of the same, one row per split."""
        sizes = {"n_train": self.n_train, "n_test": self.n_test}
        return require("pandas", "to_frame()", parallel.EXTRA).DataFrame({**self.to_dict(), **sizes})

    def _known(self, name: str | None) -> str:
        if name is None:
            return next(iter(self.test_scores))
        if name not in self.test_scores:
            raise ValueError(f"no score {name!r}; there are {', '.join(self.test_scores)}")
        return name

    def __repr__(self) -> str:
        columns = {f"test {name}": values for name, values in self.test_scores.items()}
        columns |= {f"train {name}": values for name, values in self.train_scores.items()}
        columns["fit seconds"] = self.fit_times
        summary = [(name, self.interval(name)) for name in self.test_scores]
        lines = [f"{name}: {mean}, 95 % interval" for name, mean in summary]
        return "\n".join([f"{self.name}, {len(self.tests)} splits", table(columns, "split"), *lines])


def table(columns: Mapping[str, Array], index: str, labels: Sequence[Any] | None = None) -> str:
    """Numbers in columns, the middle of a long table left out."""
    n = len(next(iter(columns.values())))
    labels = list(range(n)) if labels is None else list(labels)
    shown = list(range(n)) if n <= MOST_ROWS else [*range(MOST_ROWS - 2), n - 1]
    rows = [[index, *columns]]
    rows += [[str(labels[i]), *(f"{values[i]:.4g}" for values in columns.values())] for i in shown]
    if len(shown) < n:
        rows.insert(-1, ["…"] * len(rows[0]))
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


def name_of(estimator: Any) -> str:
    made = estimator if is_factory(estimator) else type(estimator)
    return str(getattr(made, "__name__", type(made).__name__))


@dataclass(frozen=True)
class Setup:
    """Checked input of a validation: what every function of this package starts from."""

    estimator: Any
    X: Any
    y: Any
    n: int
    splits: list[Split]
    scorers: dict[str, Any]
    classifier: bool


def setup(estimator: Any, X: Any, y: Any, groups: Any, cv: Any, scoring: Any) -> Setup:
    """All checks that can be made before the first fit."""
    check_estimator(estimator)
    n = samples(X)
    same_length(n, y=y, groups=groups)
    made = example(estimator)
    scorers = scorers_of(scoring, made)
    classifier = is_classifier(made)
    splits = splits_of(cv, X, y, groups, classifier)
    if classifier and y is not None:
        check_classes(y, splits)
    return Setup(estimator, X, y, n, splits, scorers, classifier)


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
    """Fit on each training set, score on what was held out.

    Parameters
    ----------
    estimator : anything with fit(X, y) and predict(X), which is copied for each split (scikit-learn's clone, or a deep
        copy); or a function that makes one (called with rng= if it has that parameter).
    X, y : n samples and their targets: arrays, DataFrames, sparse matrices, lists.
    groups : (n,) for splitters that keep groups together.
    cv : a splitter of this package or of scikit-learn, a number of folds (stratified for a classifier), or pairs of
        positions.
    scoring : scikit-learn's names, functions of (estimator, X, y), a list or dict of them; None: estimator.score.
    train_scores : also score on the training sets, which shows overfitting.
    predictions : True, or a method's name such as "predict_proba": keep out-of-fold predictions.
    estimators : keep the fitted ones.
    fit_params : more arguments of fit; those with n entries are cut to the training set.
    n_jobs : None: in this process. Otherwise joblib's: -1 for all CPUs, or the backend of joblib.parallel_config.
    rng : None, a seed or a Generator: each split's estimator gets a stream of its own. With a seed, results are the
        same for any n_jobs and backend.
    progress : a bar on stderr; needs rich.

    Raises TypeError or ValueError naming the argument, before the first fit, for whatever can be seen by then.
    """
    s = setup(estimator, X, y, groups, cv, scoring)
    method = "predict" if predictions is True else predictions or None
    if method is not None:
        _check_method(s, method)
    what = Fit(s.scorers, train_scores, method, estimators, dict(fit_params or {}))
    items = [(estimator, X, y, train, test, what) for train, test in s.splits]
    fits = _fits(items, n_jobs, rng, progress)
    result = collect(name_of(estimator), fits, s.splits)
    result.estimators = [f.estimator for f in fits] if estimators else None
    result.predictions = None if method is None else _out_of_fold(s, fits, method)
    return result


def _fits(items: list[Any], n_jobs: int | None, rng: Rng, progress: bool) -> list[Fitted]:
    """One after the other, by workers, or all together where the estimator can: the same results."""
    seeds = parallel.seed_sequence(rng)
    together = n_jobs in (None, 1) and not progress
    fits = fit_and_score_together(items, parallel.seed_sequence(seeds).spawn(len(items))) if together else None
    if fits is None:
        fits = parallel.run(fit_and_score, items, n_jobs=n_jobs, rng=seeds, progress=progress)
    return list(fits)


def collect(name: str, fits: Sequence[Fitted], splits: Sequence[Split]) -> CrossValidation:
    """Records of fits as arrays."""
    return CrossValidation(
        name=name,
        test_scores={k: np.array([f.test_scores[k] for f in fits]) for k in fits[0].test_scores},
        train_scores={k: np.array([f.train_scores[k] for f in fits]) for k in fits[0].train_scores},
        fit_times=np.array([f.fit_time for f in fits]),
        score_times=np.array([f.score_time for f in fits]),
        n_train=np.array([len(train) for train, _ in splits]),
        n_test=np.array([len(test) for _, test in splits]),
        tests=[test for _, test in splits],
    )


def _check_method(s: Setup, method: Any) -> None:
    made = example(s.estimator)
    if not isinstance(method, str) or not callable(getattr(made, method, None)):
        raise TypeError(f"predictions={method!r} must be True or a method of the estimator {name_of(s.estimator)}")
    often = np.bincount(np.concatenate([test for _, test in s.splits]), minlength=s.n)
    if s.classifier and method == "predict" and often.max() > 1:
        raise ValueError(
            "predictions=True with a cv that holds samples out more than once: labels have no mean; ask for "
            "predictions='predict_proba'"
        )


def _out_of_fold(s: Setup, fits: Sequence[Fitted], method: str) -> Array:
    parts = [f.predictions for f in fits]
    tests = [test for _, test in s.splits]
    if method == "predict_proba" and s.y is not None:
        every = np.unique(np.asarray(s.y))
        seen = [np.unique(np.asarray(s.y)[train]) for train, _ in s.splits]
        parts = [_aligned(p, classes, every) for p, classes in zip(parts, seen, strict=True)]
    often = np.bincount(np.concatenate(tests), minlength=s.n)
    if any(p.dtype.kind not in "biufc" for p in parts):
        labels = np.full((s.n, *parts[0].shape[1:]), None, dtype=object)
        for test, p in zip(tests, parts, strict=True):
            labels[test] = p
        return labels.astype(np.result_type(*parts)) if often.all() else labels
    if often.min() == 1 == often.max():
        whole = np.empty((s.n, *parts[0].shape[1:]), np.result_type(*parts))
        for test, p in zip(tests, parts, strict=True):
            whole[test] = p
        return whole
    total = np.zeros((s.n, *parts[0].shape[1:]))
    for test, p in zip(tests, parts, strict=True):
        total[test] += p
    shape = (-1, *[1] * (total.ndim - 1))
    return np.where(often.reshape(shape) > 0, total / np.maximum(often, 1).reshape(shape), np.nan)


def _aligned(probabilities: Array, seen: Array, every: Array) -> Array:
    """A column for each class there is; 0 for those that this training set lacked."""
    if probabilities.ndim != 2 or probabilities.shape[1] != len(seen):
        return probabilities
    whole = np.zeros((len(probabilities), len(every)), probabilities.dtype)
    whole[:, np.searchsorted(every, seen)] = probabilities
    return whole


# -- nested -----------------------------------------------------------------------------------------------------------


@dataclass(repr=False, eq=False)
class NestedCrossValidation(CrossValidation):
    """What `nested_cross_validate` returns: the scores of the outer splits, and what was chosen in each.

    chosen : per outer split the parameters with the best mean inner score.
    inner_scores : (outer splits, candidates) mean inner scores.
    candidates : the parameters tried.
    """

    chosen: list[dict[str, Any]] = field(default_factory=list)
    inner_scores: Array = field(default_factory=lambda: np.empty((0, 0)))
    candidates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def optimism(self) -> float:
        """How much better the winners' inner scores are than what they then score outside: the price of choosing."""
        return float(np.mean(self.inner_scores.max(axis=1)) - self.mean())

    def __repr__(self) -> str:
        chosen = [f"split {i} chose {params}" for i, params in enumerate(self.chosen[:MOST_ROWS])]
        return "\n".join([super().__repr__(), *chosen, f"optimism of the inner score: {self.optimism:.4g}"])


def nested_cross_validate(
    estimator: Any,
    param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    inner: Any = 5,
    outer: Any = 5,
    scoring: Any = None,
    n_jobs: int | None = None,
    rng: Rng = None,
    progress: bool = False,
) -> NestedCrossValidation:
    """Choose parameters by cross-validation inside each training set; score the choice on what was held out.

    The best score of a search is too good, for it was chosen; the outer score is what the whole procedure, choice and
    fit, will do. One parallel round fits all candidates in all inner splits, a second one the winners.

    Parameters
    ----------
    estimator : with set_params(**params), or a function that makes one.
    param_grid : lists of values by name, or several such grids; all combinations are tried. Ties go to the first.
    inner, outer : as cv in cross_validate. A splitter with times is cut to each outer training set.
    groups : (n,), given to both.
    scoring : one score, that chooses and is reported.
    n_jobs, rng, progress : as in cross_validate.

    Source: Cawley and Talbot, On over-fitting in model selection, JMLR 11 (2010).
    """
    s = setup(estimator, X, y, groups, outer, scoring)
    if len(s.scorers) != 1:
        raise ValueError(f"scoring must be a single score to choose by, got {', '.join(s.scorers)}")
    candidates = grid_of(param_grid)
    if not hasattr(example(estimator), "set_params"):
        raise TypeError(f"estimator must have set_params to try param_grid: {estimator!r:.60} has none")
    items, cells = _inner_fits(s, groups, inner, candidates)
    seeds = parallel.seed_sequence(rng).spawn(2)
    fits = parallel.run(fit_and_score, items, n_jobs=n_jobs, rng=seeds[0], progress=progress, label="inner fits")
    means = _mean_scores(fits, cells, (len(s.splits), len(candidates)))
    chosen = [candidates[best_of(row)] for row in means]
    winners = [
        (estimator, X, y, train, test, Fit(s.scorers, params=params))
        for (train, test), params in zip(s.splits, chosen, strict=True)
    ]
    fits = parallel.run(fit_and_score, winners, n_jobs=n_jobs, rng=seeds[1], progress=progress, label="outer fits")
    plain = collect(name_of(estimator), fits, s.splits)
    return NestedCrossValidation(**vars(plain), chosen=chosen, inner_scores=means, candidates=candidates)


def _inner_fits(s: Setup, groups: Any, inner: Any, candidates: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """All of them as tasks, and for each its (outer split, candidate)."""
    items, cells = [], []
    for i, (train, _) in enumerate(s.splits):
        for sub_train, sub_test in inner_splits(s, groups, inner, train):
            for j, params in enumerate(candidates):
                items.append((s.estimator, s.X, s.y, sub_train, sub_test, Fit(s.scorers, params=params)))
                cells.append((i, j))
    return items, cells


def inner_splits(s: Setup, groups: Any, inner: Any, train: Array) -> list[Split]:
    """Splits of a training set, as positions in the whole."""
    part = None if groups is None else take(np.asarray(groups), train)
    cv = inner.subset(train) if isinstance(inner, Splitter) else inner
    splits = splits_of(cv, take(s.X, train), take(s.y, train), part, s.classifier)
    splits = [(train[a], train[b]) for a, b in splits]
    if s.classifier and s.y is not None:
        check_classes(s.y, splits)
    return splits


def _mean_scores(fits: Sequence[Fitted], cells: Sequence[tuple[int, int]], shape: tuple[int, int]) -> Array:
    total, often = np.zeros(shape), np.zeros(shape)
    for fitted, cell in zip(fits, cells, strict=True):
        total[cell] += next(iter(fitted.test_scores.values()))
        often[cell] += 1
    return total / often


def best_of(scores: Array) -> int:
    """The first of the greatest; NaN never wins."""
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))


def grid_of(param_grid: Any) -> list[dict[str, Any]]:
    """Every combination, the last name varying fastest."""
    several = isinstance(param_grid, Sequence) and not isinstance(param_grid, (str, bytes))
    grids = list(param_grid) if several else [param_grid]
    candidates: list[dict[str, Any]] = []
    for grid in grids:
        if not isinstance(grid, Mapping):
            raise TypeError(f"param_grid must be a dict of lists, or a list of such dicts, got {grid!r:.80}")
        for name, values in grid.items():
            if isinstance(values, (str, bytes)) or not isinstance(values, Iterable) or not len(list(values)):
                raise ValueError(f"param_grid[{name!r}] must be a list of values that is not empty, got {values!r:.80}")
        candidates += [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if not candidates:
        raise ValueError("param_grid is empty")
    return candidates


# -- two models -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TTest:
    """difference : mean score of a minus b, with its interval; t, df, p (two-sided)."""

    difference: Interval
    t: float
    df: int
    p: float

    def __str__(self) -> str:
        return f"difference {self.difference}, t = {self.t:.3g}, df = {self.df}, p = {self.p:.3g}"


def corrected_t_test(
    a: Any, b: Any, *, scoring: str | None = None, test_share: float | None = None, level: float = 0.95
) -> TTest:
    """Do two models differ? The corrected resampled t-test on their scores in the same splits.

    t = d̄ / √((1/k + n_test/n_train) s²) with k − 1 degrees of freedom, d the differences in k splits and s² their
    variance. Without the second term the test finds differences that are none, since training sets overlap.

    Parameters
    ----------
    a, b : results of cross_validate in the same splits; or (k,) scores, then with test_share.
    scoring : which score, if there are several.
    test_share : n_test / n_train.

    Source: Nadeau and Bengio (2003); Bouckaert and Frank (2004) for ten times ten-fold.
    """
    if isinstance(a, CrossValidation) and isinstance(b, CrossValidation):
        same = len(a.tests) == len(b.tests) and all(map(np.array_equal, a.tests, b.tests))
        if not same or not np.array_equal(a.n_train, b.n_train):
            raise ValueError(
                "a and b are not from the same splits: give cross_validate the same cv, with the same seed"
            )
        test_share = a.test_share if test_share is None else test_share
        a, b = a.scores(scoring), b.scores(scoring)
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(f"a and b must hold the scores of the same splits, two at least: got {a.shape} and {b.shape}")
    if test_share is None:
        raise ValueError("test_share is None: scores alone do not tell n_test / n_train")
    share = number("test_share", test_share, 0, math.inf)
    d = a - b
    mean, error = float(np.mean(d)), math.sqrt(corrected_variance(d, share))
    t = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    return TTest(interval(d, share, number("level", level, 0, 1)), t, len(d) - 1, 2 * t_cdf(-abs(t), len(d) - 1))
