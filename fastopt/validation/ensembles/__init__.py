"""Ensembles: bagging, AdaBoost and gradient boosting over any weak learner, and the stump they have by default."""

from fastopt.validation.ensembles.adaboost import AdaBoostClassifier, AdaBoostRegressor
from fastopt.validation.ensembles.bagging import BaggingClassifier, BaggingRegressor
from fastopt.validation.ensembles.gradient_boosting import GradientBoostingClassifier, GradientBoostingRegressor
from fastopt.validation.ensembles.stump import DecisionStumpClassifier, DecisionStumpRegressor

__all__ = [
    "AdaBoostClassifier",
    "AdaBoostRegressor",
    "BaggingClassifier",
    "BaggingRegressor",
    "DecisionStumpClassifier",
    "DecisionStumpRegressor",
    "GradientBoostingClassifier",
    "GradientBoostingRegressor",
]
