"""Ensembles: bagging, AdaBoost and gradient boosting over any weak learner, and the stump they have by default."""

from fastopt.ensemble.adaboost import AdaBoostClassifier, AdaBoostRegressor
from fastopt.ensemble.bagging import BaggingClassifier, BaggingRegressor
from fastopt.ensemble.gradient_boosting import GradientBoostingClassifier, GradientBoostingRegressor
from fastopt.ensemble.stump import DecisionStumpClassifier, DecisionStumpRegressor

__all__ = [
    "AdaBoostClassifier", "AdaBoostRegressor", "BaggingClassifier", "BaggingRegressor", "DecisionStumpClassifier",
    "DecisionStumpRegressor", "GradientBoostingClassifier", "GradientBoostingRegressor",
]  # fmt: skip
