"""Nested cross-validation: the score of a model whose parameters are chosen by cross-validation."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np

from fastopt._types import Array
from fastopt.validation import parallel
from fastopt.validation._samples import take
from fastopt.validation.cross_validation import (
    MOST_ROWS,
    CrossValidation,
    Options,
    PackedSplit,
    Setup,
    check_classes,
    collect,
    packed,
    setup,
    splits_of,
)
from fastopt.validation.estimators import check_has_set_params, name_of
from fastopt.validation.folds import Splitter


@dataclass(repr=False, eq=False)
class NestedCrossValidation(CrossValidation):
    """What `nested_cross_validate` returns: the scores of the outer splits, and the parameters chosen in each.

    chosen : per outer split the parameters with the best mean inner score.
    inner_scores : (outer splits, candidates) mean inner scores.
    candidates : the parameters tried.
    """

    chosen: list[dict[str, Any]] = field(default_factory=list)
    inner_scores: Array = field(default_factory=lambda: np.empty((0, 0)))
    candidates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def optimism(self) -> float:
        """Mean inner score of the chosen parameters minus their mean outer score."""
        return float(np.mean(np.nanmax(self.inner_scores, axis=1)) - self.mean())

    def __repr__(self) -> str:
        chosen = [f"split {i} chose {params}" for i, params in enumerate(self.chosen[:MOST_ROWS])]
        return "\n".join([super().__repr__(), *chosen, f"optimism of the inner score: {self.optimism:.4g}"])


def nested_cross_validate(
    estimator: Any,
    param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
    X: Any,
    y: Any = None,
    *,
    inner: Any = 5,
    outer: Any = 5,
    **options: Unpack[Options],
) -> NestedCrossValidation:
    """Choose parameters by cross-validation inside each training set; score the choice on the samples held out.

    The best score of a search is too optimistic, because it is a maximum. The outer score measures the whole
    procedure, choice and fit. First all candidates are fitted in all inner splits, then the chosen ones in the outer
    splits.

    Parameters
    ----------
    estimator : with set_params(**params), or a function that makes one.
    param_grid : lists of values by name, or several such grids. All combinations are tried; the first of equals wins.
    inner, outer : as cv in cross_validate. A splitter with times is reduced to each outer training set.
    groups : (n,) labels, given to both.
    scoring : a single score, to choose by and to report.
    error_score, n_jobs, rng, progress : as in cross_validate.

    A candidate whose score is NaN in an inner split is not chosen; ValueError if all candidates have such scores.

    Source: Cawley and Talbot, On over-fitting in model selection, JMLR 11 (2010).
    """
    if "cv" in options:
        raise TypeError("nested_cross_validate has no cv: give inner and outer")
    options["cv"] = outer
    s = setup(estimator, X, y, options)
    s.single_score()
    candidates = grid_of(param_grid)
    check_has_set_params(estimator, "to try param_grid")
    seeds = parallel.seed_sequence(s.rng).spawn(2)
    inner_splits = [_inner_splits(s, inner, train.array()) for train, _ in s.splits]
    tasks = [s.task(*split, params=p) for splits in inner_splits for split in splits for p in candidates]
    fits = s.run(tasks, rng=seeds[0], label="inner fits")
    scores = np.array([next(iter(f.test.values())) for f in fits]).reshape(-1, len(candidates))
    parts = np.split(scores, np.cumsum([len(splits) for splits in inner_splits])[:-1])
    means = np.array([np.sum(part, axis=0) / len(part) for part in parts])
    if (without := np.isnan(means).all(axis=1)).any():
        raise ValueError(
            f"every inner score is NaN in outer split {int(without.argmax())}: there is nothing to choose by"
        )
    chosen = [candidates[best_of(row)] for row in means]
    winners = [s.task(*split, params=params) for split, params in zip(s.splits, chosen, strict=True)]
    fits = s.run(winners, rng=seeds[1], label="outer fits")
    plain = collect(name_of(estimator), fits, s.splits)
    return NestedCrossValidation(**vars(plain), chosen=chosen, inner_scores=means, candidates=candidates)


def _inner_splits(s: Setup, inner: Any, train: Array) -> list[PackedSplit]:
    """Splits of a training set, as positions in X."""
    groups = s.options.get("groups")
    part = None if groups is None else take(np.asarray(groups), train)
    cv = inner.subset(train) if isinstance(inner, Splitter) else inner
    codes = None if s.codes is None else s.codes[train]
    found = splits_of(cv, take(s.X, train), take(s.y, train), part, codes)
    splits = packed(((train[a], train[b]) for a, b in found), s.n)
    if s.codes is not None:
        check_classes(s.codes, s.y, (a.array() for a, _ in splits))
    return splits


def best_of(scores: Array) -> int:
    """The index of the first greatest score; NaN never wins."""
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))


def grid_of(param_grid: Any) -> list[dict[str, Any]]:
    """Every combination; the last name varies fastest."""
    several = isinstance(param_grid, Sequence) and not isinstance(param_grid, (str, bytes))
    candidates: list[dict[str, Any]] = []
    for grid in param_grid if several else [param_grid]:
        if not isinstance(grid, Mapping):
            raise TypeError(f"param_grid must be a dict of lists, or a list of such dicts, got {grid!r:.80}")
        for name, values in grid.items():
            if isinstance(values, (str, bytes)) or not isinstance(values, Iterable) or not len(list(values)):
                raise ValueError(f"param_grid[{name!r}] must be a list of values that is not empty, got {values!r:.80}")
        candidates += [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if not candidates:
        raise ValueError("param_grid is empty")
    return candidates
