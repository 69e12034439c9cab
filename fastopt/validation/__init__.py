"""Does it generalize? Cross-validation, time series, diagnosis, sharp and flat minima. Needs NumPy alone at import."""

from fastopt.validation.batch_size import BatchSizeSweep, batch_size_sweep
from fastopt.validation.bias_variance import BiasVariance, BiasVarianceCurve, bias_variance, bias_variance_curve
from fastopt.validation.bootstrap import BootstrapResult, ConfidenceInterval, DegenerateDataWarning, bootstrap
from fastopt.validation.evaluate import (
    CrossValidation,
    NestedCrossValidation,
    TTest,
    corrected_t_test,
    cross_validate,
    nested_cross_validate,
)
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
from fastopt.validation.generalization import (
    ConstantGuess,
    Curve,
    Diagnosis,
    GeneralizationGap,
    diagnose,
    generalization_gap,
    learning_curve,
    validation_curve,
)
from fastopt.validation.intervals import Interval
from fastopt.validation.minima import (
    HessianEigenvalue,
    Sharpness,
    hessian_eigenvalue,
    random_sharpness,
    sam_sharpness,
    sharpness,
)
from fastopt.validation.out_of_bag import Bootstrap, BootstrapScore, bootstrap_score
from fastopt.validation.purged import CombinatorialPurgedKFold, Leakage, PurgedKFold, leakage
from fastopt.validation.time_series import BlockedKFold, ExpandingWindow, SlidingWindow

__all__ = [
    "BatchSizeSweep",
    "BiasVariance",
    "BiasVarianceCurve",
    "BlockedKFold",
    "Bootstrap",
    "BootstrapResult",
    "BootstrapScore",
    "CombinatorialPurgedKFold",
    "ConfidenceInterval",
    "ConstantGuess",
    "CrossValidation",
    "Curve",
    "DegenerateDataWarning",
    "Diagnosis",
    "ExpandingWindow",
    "GeneralizationGap",
    "GroupKFold",
    "HessianEigenvalue",
    "Interval",
    "KFold",
    "Leakage",
    "LeaveOneOut",
    "NestedCrossValidation",
    "PurgedKFold",
    "Repeated",
    "Sharpness",
    "ShuffleSplit",
    "SlidingWindow",
    "Splitter",
    "StratifiedGroupKFold",
    "StratifiedKFold",
    "TTest",
    "batch_size_sweep",
    "bias_variance",
    "bias_variance_curve",
    "bootstrap",
    "bootstrap_score",
    "corrected_t_test",
    "cross_validate",
    "diagnose",
    "generalization_gap",
    "hessian_eigenvalue",
    "leakage",
    "learning_curve",
    "nested_cross_validate",
    "random_sharpness",
    "sam_sharpness",
    "sharpness",
    "validation_curve",
]
