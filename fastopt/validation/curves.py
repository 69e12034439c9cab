"""Learning curves and validation curves: training and held-out scores along training sizes or a parameter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from fastopt._checks import one_of
from fastopt._types import Array
from fastopt.validation import parallel
from fastopt.validation._samples import Positions
from fastopt.validation.cross_validation import Options, Scores, check_classes, setup, table
from fastopt.validation.estimators import check_has_set_params, name_of
from fastopt.validation.nested import best_of
from fastopt.validation.plots import TEST, TRAIN, axes_or_new, band, numeric_axis


@dataclass(repr=False, eq=False)
class Curve:
    """Training and held-out scores along x: (len(x), splits) each."""

    title: str
    x_name: str
    x: list[Any]
    scoring: str
    train_scores: Array
    test_scores: Array

    @property
    def best(self) -> Any:
        """The x with the greatest mean held-out score."""
        return self.x[best_of(self.test_scores.mean(axis=1))]

    def plot(self, ax: Any = None) -> Any:
        """Means over the splits with one standard deviation around them. Returns the axes (ax.figure.savefig(...))."""
        with axes_or_new(ax, "plot()") as ax:
            places = numeric_axis(ax, self.x)
            band(ax, places, self.train_scores, "training", TRAIN, (0, (5, 1.5)))
            band(ax, places, self.test_scores, "held out", TEST)
            ax.set_xlabel(self.x_name)
            ax.set_ylabel(self.scoring)
            ax.set_title(self.title, loc="left")
            ax.legend(frameon=False)
        return ax

    def __repr__(self) -> str:
        gap = self.train_scores - self.test_scores
        columns = {
            f"train {self.scoring}": self.train_scores.mean(axis=1),
            f"test {self.scoring}": self.test_scores.mean(axis=1),
            "gap": gap.mean(axis=1),
        }
        return f"{self.title}\n{table(columns, self.x_name, self.x)}"


def learning_curve(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    train_sizes: Sequence[float] = (0.1, 0.325, 0.55, 0.775, 1.0),
    keep: str = "first",
    **options: Unpack[Options],
) -> Curve:
    """Would more data help? Scores after training on increasing parts of each training set.

    Beyond scikit-learn's function of this name: a result with .plot() and .best, and a random stream per split.

    Parameters
    ----------
    train_sizes : shares in (0, 1] of the smallest training set, or counts.
    keep : which part of a training set is used: "first", "last" (the latest of a time series) or "random" (from rng).
    options : groups, cv, scoring (a single score), error_score, n_jobs, rng and progress, as in cross_validate.
    """
    one_of("keep", keep, ("first", "last", "random"))
    s = setup(estimator, X, y, options)
    name = s.single_score()
    sizes = _sizes(train_sizes, min(train.size for train, _ in s.splits))
    seeds = parallel.seed_sequence(s.rng).spawn(2)
    order = np.random.default_rng(seeds[0])
    trains = [order.permutation(train.array()) if keep == "random" else train.array() for train, _ in s.splits]
    parts = [[Positions(train[-m:] if keep == "last" else train[:m], s.n) for train in trains] for m in sizes]
    if s.codes is not None:
        check_classes(s.codes, y, (part.array() for row in parts for part in row))
    tests = [test for _, test in s.splits]
    tasks = [s.task(*split, train_scores=True) for row in parts for split in zip(row, tests, strict=True)]
    fits = s.run(tasks, rng=seeds[1])
    return _curve(f"Learning curve of {name_of(estimator)}", "training samples", sizes, name, fits)


def _sizes(asked: Any, most: int) -> list[int]:
    values = np.asarray(asked)
    if values.ndim != 1 or not values.size or values.dtype.kind not in "iuf":
        raise TypeError(f"train_sizes must be shares or counts, got {asked!r:.80}")
    if values.dtype.kind == "f":
        if not ((values > 0) & (values <= 1)).all():
            raise ValueError(f"train_sizes must be shares in (0, 1] or counts, got {values.tolist()}")
        values = np.maximum((values * most).astype(int), 1)
    if values.min() < 1 or values.max() > most:
        raise ValueError(f"train_sizes must be in [1, {most}], the smallest training set, got {values.tolist()}")
    return [int(m) for m in np.unique(values)]


def _curve(title: str, x_name: str, x: list[Any], scoring: str, fits: Sequence[Scores]) -> Curve:
    train, test = np.array([[f.train[scoring], f.test[scoring]] for f in fits]).T.reshape(2, len(x), -1)
    return Curve(title, x_name, x, scoring, train, test)


def check_param_range(estimator: Any, param_name: str, param_range: Any) -> list[Any]:
    """The values as a list; an error if there are none, or if the estimator cannot take them."""
    if isinstance(param_range, str) or not isinstance(param_range, Iterable):
        raise TypeError(f"param_range must be a sequence of values, got {param_range!r:.60}")
    values = list(param_range)
    if not values:
        raise ValueError("param_range is empty")
    check_has_set_params(estimator, f"to vary param_name={param_name!r}")
    return values


def validation_curve(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    param_name: str,
    param_range: Sequence[Any],
    **options: Unpack[Options],
) -> Curve:
    """Which value of a parameter fits best? Scores along the values of a parameter.

    Beyond scikit-learn's function of this name: a result with .plot() and .best, and a random stream per split.

    Parameters
    ----------
    param_name, param_range : set by set_params; "step__alpha" for a nested estimator.
    options : groups, cv, scoring (a single score), error_score, n_jobs, rng and progress, as in cross_validate.
    """
    s = setup(estimator, X, y, options)
    name, values = s.single_score(), check_param_range(estimator, param_name, param_range)
    tasks = [s.task(*split, train_scores=True, params={param_name: v}) for v in values for split in s.splits]
    fits = s.run(tasks, rng=s.rng)
    return _curve(f"Validation curve of {name_of(estimator)}", param_name, values, name, fits)
