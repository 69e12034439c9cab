"""The bootstrap of a statistic: resamples (resampled_statistic), the statistics with C kernels (statistics), confidence
intervals (intervals), the result (results) and the function `bootstrap` itself."""

from fastopt.validation.bootstrap.bootstrap import bootstrap
from fastopt.validation.bootstrap.results import BootstrapResult, ConfidenceInterval, DegenerateDataWarning

__all__ = ["BootstrapResult", "ConfidenceInterval", "DegenerateDataWarning", "bootstrap"]
