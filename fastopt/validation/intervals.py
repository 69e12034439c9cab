"""Student's t distribution, and confidence intervals of mean scores over folds with overlapping training sets.

Source: Nadeau and Bengio, Inference for the generalization error, Machine Learning 52 (2003).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastopt._types import Array


def t_cdf(t: float, df: int) -> float:
    """P(T <= t) of Student's t with a whole number of degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    if math.isinf(t):
        return 0.0 if t < 0 else 1.0
    theta = math.atan(t / math.sqrt(df))
    cos2 = math.cos(theta) ** 2
    if df % 2:
        k = np.arange(2, df - 1, 2)  # cos θ · (1 + 2/3 cos²θ + 2·4/(3·5) cos⁴θ + …)
        terms = np.concatenate([[1.0], np.cumprod(k / (k + 1) * cos2)]).sum() if df > 1 else 0.0
        inside = 2 / math.pi * (theta + math.sin(theta) * math.cos(theta) * terms)
    else:
        k = np.arange(1, df - 2, 2)  # 1 + 1/2 cos²θ + 1·3/(2·4) cos⁴θ + …
        inside = math.sin(theta) * np.concatenate([[1.0], np.cumprod(k / (k + 1) * cos2)]).sum()
    return float(0.5 + 0.5 * inside)


def t_quantile(p: float, df: int) -> float:
    """The t with P(T <= t) = p, p in (0, 1): by bisection of the angle atan(t / √df)."""
    low, high = -math.pi / 2, math.pi / 2
    for _ in range(70):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(math.sqrt(df) * math.tan(middle), df) < p else (low, middle)
    return math.sqrt(df) * math.tan((low + high) / 2)


class Interval(NamedTuple):
    """A mean over folds and its confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"


def corrected_variance(values: Array, test_share: float) -> float:
    """The variance of the mean over k folds: (1/k + n_test/n_train) s². The second term allows for overlapping sets."""
    return float((1 / len(values) + test_share) * np.var(values, ddof=1))


def interval(values: Array, test_share: float, level: float = 0.95) -> Interval:
    """Mean ± t · √(corrected variance); the bounds are NaN for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    half = t_quantile(0.5 + level / 2, len(values) - 1) * math.sqrt(corrected_variance(values, test_share))
    return Interval(mean, mean - half, mean + half)
