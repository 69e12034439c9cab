"""The estimator's network (fastopt.mlp.network) as the lab trains it: one model, from weights that are given.

Refuses to be another network: names of tasks, rows as they come, losses and scores in double.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "regression"]
Array = NDArray[Any]


def initial_parameters(sizes: list[int], rng: np.random.Generator) -> list[Array]:
    """Weights and biases [W0, b0, W1, b1, ...] of a ReLU network in float32 (He et al. 2015)."""
    from fastopt.mlp.network import Shape, initial  # loads scikit-learn

    return initial(Shape(tuple(sizes)), rng)


class Learner:
    """One network and its loss: cross-entropy, or half the squared error of one output.

    params : float32 [W0, b0, ...], each with a leading axis of one model, for an optimizer to update.
    """

    def __init__(self, task: Task, start: list[Array], rows: int) -> None:
        from fastopt.mlp.network import Network, Shape

        sizes = (start[0].shape[0], *(w.shape[1] for w in start[::2]))
        self.task: Task = task
        self.network = Network(Shape(sizes, classes=task == "classification"), 1, rows)
        self.params = self.network.params
        for mine, theirs in zip(self.params, start, strict=True):
            mine[0] = theirs

    def gradients(self, x: Array, y: Array) -> list[Array]:
        """Of the mean loss on a batch, by every parameter; overwritten by the next call."""
        one = self.network.batch(0, 1, len(x))
        one.x[0] = x
        one.forward()
        one.loss(self._targets(y)[None])
        one.back()
        return self.network.gradients

    def _targets(self, y: Array) -> Array:
        return y.astype(np.int64, copy=False) if self.task == "classification" else y.astype(np.float32)[:, None]

    def evaluate(self, x: Array, y: Array) -> tuple[float, float]:
        """Loss and score over all rows: accuracy, or R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)² (0 where y is constant)."""
        from fastopt.mlp.training import loss_of

        output = self.network.weights(0).infer(x, "relu").astype(np.float64)
        if self.task == "classification":
            return loss_of(output, y, None, True), float(np.mean(output.argmax(axis=1) == y))
        target = y.astype(np.float64)
        loss = loss_of(output, target[:, None], None, False)
        spread = float(np.sum((target - target.mean()) ** 2))
        return loss, 1.0 - 2.0 * loss * len(y) / spread if spread > 0 else 0.0
