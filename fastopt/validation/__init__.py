"""Does a model generalize? Cross-validation, time series, bootstrap, bias and variance, diagnosis, sharpness.

What each file holds, from the bottom to the top:

    _samples, scoring, parallel, plots, intervals   arguments, scores, workers, pictures, Student's t
    estimators                                      copies, seeds and fits of estimators
    folds, time_series, purged                      splitters
    cross_validation, out_of_fold                   scores and predictions of held-out samples
    nested, comparison                              what is built on them
    diagnosis, curves                               over- and underfitting
    resampling, bootstrap/, prediction_error        the bootstrap of statistics and of prediction errors
    bias_variance                                   bias, variance and noise
    sharpness, batch_size                           the neighbourhood of a minimum

Importing it needs NumPy alone; scikit-learn, joblib, matplotlib, pandas and rich are imported when they are used.
"""

from fastopt.validation.batch_size import BatchSizeSweep, batch_size_sweep
from fastopt.validation.bias_variance import BiasVariance, BiasVarianceCurve, bias_variance, bias_variance_curve
from fastopt.validation.bootstrap import BootstrapResult, ConfidenceInterval, DegenerateDataWarning, bootstrap
from fastopt.validation.comparison import TTest, corrected_t_test
from fastopt.validation.cross_validation import CrossValidation, cross_validate
from fastopt.validation.curves import Curve, learning_curve, validation_curve
from fastopt.validation.diagnosis import ConstantGuess, Diagnosis, GeneralizationGap, diagnose, generalization_gap
from fastopt.validation.folds import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    Repeated,
    ShuffleSplit,
    Splitter,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from fastopt.validation.intervals import Interval
from fastopt.validation.nested import NestedCrossValidation, nested_cross_validate
from fastopt.validation.prediction_error import Bootstrap, BootstrapScore, bootstrap_score
from fastopt.validation.purged import BlockedKFold, CombinatorialPurgedKFold, Leakage, PurgedKFold, leakage
from fastopt.validation.sharpness import (
    HessianEigenvalue,
    Sharpness,
    hessian_eigenvalue,
    random_sharpness,
    sam_sharpness,
    sharpness,
)
from fastopt.validation.time_series import ExpandingWindow, SlidingWindow

__all__ = [
    "BatchSizeSweep", "BiasVariance", "BiasVarianceCurve", "BlockedKFold", "Bootstrap", "BootstrapResult",
    "BootstrapScore", "CombinatorialPurgedKFold", "ConfidenceInterval", "ConstantGuess", "CrossValidation", "Curve",
    "DegenerateDataWarning", "Diagnosis", "ExpandingWindow", "GeneralizationGap", "GroupKFold", "HessianEigenvalue",
    "Interval", "KFold", "Leakage", "LeaveOneOut", "NestedCrossValidation", "PurgedKFold", "Repeated", "Sharpness",
    "ShuffleSplit", "SlidingWindow", "Splitter", "StratifiedGroupKFold", "StratifiedKFold", "TTest",
    "batch_size_sweep", "bias_variance", "bias_variance_curve", "bootstrap", "bootstrap_score", "corrected_t_test",
    "cross_validate", "diagnose", "generalization_gap", "hessian_eigenvalue", "leakage", "learning_curve",
    "nested_cross_validate", "random_sharpness", "sam_sharpness", "sharpness", "validation_curve",
]  # fmt: skip
