"""What `bootstrap` returns, and its warning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastopt._types import Array


class DegenerateDataWarning(UserWarning):
    """The requested interval is not defined for these data. The message says what was computed instead."""


class ConfidenceInterval(NamedTuple):
    """From low to high."""

    low: float
    high: float


@dataclass(repr=False, eq=False)
class BootstrapResult:
    """What `bootstrap` returns.

    confidence_interval : (low, high).
    bootstrap_distribution : (n_resamples,) the statistic of each resample.
    standard_error : the standard deviation of the distribution, divided by n_resamples − 1.
    statistic : of the data.
    bias : mean of the distribution − statistic.
    method : of the interval; "percentile" if BCa was requested and is not defined.
    """

    confidence_interval: ConfidenceInterval
    bootstrap_distribution: Array
    standard_error: float
    statistic: float
    method: str
    confidence_level: float
    key: int = 0
    errors: Array | None = None  # studentized: the standard error in each resample
    source: str = ""  # names the statistic and the resampling, so that a later call can check that it continues them

    @property
    def bias(self) -> float:
        return float(np.mean(self.bootstrap_distribution)) - self.statistic

    def __repr__(self) -> str:
        low, high = self.confidence_interval
        return (
            f"{self.statistic:.6g} [{low:.6g}, {high:.6g}] ({self.confidence_level:.4g} confidence, {self.method}), "
            f"standard error {self.standard_error:.4g}, bias {self.bias:.2g}, "
            f"{len(self.bootstrap_distribution)} resamples"
        )
