"""Do two models differ? The corrected resampled t-test on scores of the same splits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import number
from fastopt.validation.cross_validation import CrossValidation
from fastopt.validation.intervals import Interval, corrected_variance, interval, t_cdf


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
    variance. Training sets overlap; without the second term the test would find too many differences.

    Parameters
    ----------
    a, b : results of cross_validate in the same splits; or (k,) scores, together with test_share.
    scoring : the name of the score, if there are several.
    test_share : n_test / n_train, > 0.
    level : of the interval, in (0, 1).

    Source: Nadeau and Bengio (2003); Bouckaert and Frank (2004) for ten times ten-fold.
    """
    if isinstance(a, CrossValidation) and isinstance(b, CrossValidation):
        tests = [[test.data for test in result.packed_tests] for result in (a, b)]
        same = len(tests[0]) == len(tests[1]) and all(map(np.array_equal, *tests))
        if not same or not np.array_equal(a.n_train, b.n_train):
            raise ValueError("a and b are not from the same splits: give cross_validate the same cv and the same seed")
        test_share = a.test_share if test_share is None else test_share
        a, b = a.scores(scoring), b.scores(scoring)
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(f"a and b must hold the scores of the same splits, two at least: got {a.shape} and {b.shape}")
    if test_share is None:
        raise ValueError("test_share is None: give n_test / n_train, because the scores do not contain it")
    share, level = number("test_share", test_share, 0, above=True), number("level", level, 0, 1, above=True, below=True)
    d = a - b
    mean, error = float(np.mean(d)), math.sqrt(corrected_variance(d, share))
    t = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    return TTest(interval(d, share, level), t, len(d) - 1, 2 * t_cdf(-abs(t), len(d) - 1))
