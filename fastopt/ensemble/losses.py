"""The losses of gradient boosting over raw predictions f, (n, outputs): squared, logistic, multinomial.

The residual is minus the gradient of the loss, and a leaf takes one Newton step.
Source: Friedman, Greedy function approximation: a gradient boosting machine, Annals of Statistics 29 (2001).
"""

from __future__ import annotations

import numpy as np

from fastopt._types import Array

LEAST_CURVATURE = 1e-150  # a leaf with less curvature takes no step


class Squared:
    """(y − f)². The residual is y − f. Its mean is the best step, so that no Newton step is needed."""

    outputs = 1
    newton = False

    def start(self, y: Array, weight: Array) -> Array:
        """(outputs,) the constant raw prediction with the least loss."""
        return np.array([np.average(y, weights=weight)])

    def residual(self, y: Array, raw: Array) -> Array:
        return y[:, None] - raw

    def mean(self, y: Array, raw: Array, weight: Array) -> float:
        """The weighted mean loss."""
        return float(np.average((y - raw[:, 0]) ** 2, weights=weight))


class Logistic:
    """2 ln(1 + e^f) − 2 y f, y 0 or 1: the binomial deviance with p = 1/(1 + e^−f)."""

    outputs = 1
    newton = True
    factor = 1.0

    def start(self, y: Array, weight: Array) -> Array:
        p = np.average(y, weights=weight)
        return np.array([np.log(p / (1 - p))])

    def probabilities(self, raw: Array) -> Array:
        """(n, 2)"""
        p = _sigmoid(raw[:, 0])
        return np.stack([1 - p, p], axis=1)

    def raw(self, p: Array) -> Array:
        """(n, 1) raw predictions that give these probabilities."""
        return np.log(p[:, 1:] / p[:, :1])

    def residual(self, y: Array, raw: Array) -> Array:
        return y[:, None] - _sigmoid(raw)

    def mean(self, y: Array, raw: Array, weight: Array) -> float:
        f = raw[:, 0]
        return 2 * float(np.average(np.logaddexp(0, f) - y * f, weights=weight))


class Multinomial:
    """ln Σ_k e^f_k − f_y: the log loss with p = softmax(f)."""

    newton = True

    def __init__(self, classes: int) -> None:
        self.outputs = classes
        self.factor = (classes - 1) / classes

    def start(self, y: Array, weight: Array) -> Array:
        p = np.bincount(y, weight, self.outputs) / weight.sum()
        return np.asarray(self.raw(p[None])[0])

    def probabilities(self, raw: Array) -> Array:
        power = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(power / power.sum(axis=1, keepdims=True))

    def raw(self, p: Array) -> Array:
        logs = np.log(p)
        return np.asarray(logs - logs.mean(axis=1, keepdims=True))

    def residual(self, y: Array, raw: Array) -> Array:
        residual = -self.probabilities(raw)
        residual[np.arange(len(y)), y] += 1
        return residual

    def mean(self, y: Array, raw: Array, weight: Array) -> float:
        high = raw.max(axis=1)
        log_sums = np.log(np.exp(raw - high[:, None]).sum(axis=1)) + high
        return float(np.average(log_sums - raw[np.arange(len(y)), y], weights=weight))


Loss = Squared | Logistic | Multinomial


def _sigmoid(f: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(f, -700, 700))))


def newton_steps(loss: Logistic | Multinomial, residual: Array, target: Array, weight: Array, leaf: Array) -> Array:
    """Per leaf factor · Σ w r / Σ w p (1 − p), p = target − r; 0 in a leaf without curvature."""
    p = target - residual
    slope = np.bincount(leaf, weight * residual)
    curvature = np.bincount(leaf, weight * p * (1 - p))
    flat = np.abs(curvature) < LEAST_CURVATURE
    return np.where(flat, 0.0, loss.factor * slope / np.where(flat, 1.0, curvature))
