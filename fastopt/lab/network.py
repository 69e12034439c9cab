"""A small multilayer perceptron in NumPy: start, forward, loss, backward.

Refuses to be a framework: ReLU layers, two losses, a plain list of weights and biases, of any one dtype.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "regression"]
Array = NDArray[Any]
Loss = Callable[[Array, Array], tuple[float, Array]]

EVALUATION_ROWS = 8192  # activations of one evaluation chunk: a few MB however long the data


def initial_parameters(sizes: list[int], rng: np.random.Generator) -> list[Array]:
    """Weights and biases [W0, b0, W1, b1, ...] in float32; W ~ N(0, 2 / inputs), b = 0 (He et al. 2015)."""
    params: list[Array] = []
    for inputs, outputs in pairwise(sizes):
        weights = rng.standard_normal((inputs, outputs)) * np.sqrt(2.0 / inputs)
        params += [weights.astype(np.float32), np.zeros(outputs, np.float32)]
    return params


def forward(params: list[Array], x: Array) -> list[Array]:
    """The input and every layer's output; ReLU between the layers, none after the last."""
    layers = [x]
    for i in range(0, len(params), 2):
        z = layers[-1] @ params[i]
        z += params[i + 1]
        layers.append(z if i + 2 == len(params) else np.maximum(z, 0, out=z))
    return layers


def cross_entropy(output: Array, y: Array) -> tuple[float, Array]:
    """Mean of -log softmax(output)[y], and its derivative (softmax - onehot(y)) / rows."""
    rows = np.arange(len(y))
    shifted = output - output.max(axis=1, keepdims=True)
    slope = np.exp(shifted)
    total = slope.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(total[:, 0]) - shifted[rows, y], dtype=np.float64)
    slope /= total
    slope[rows, y] -= 1
    slope /= len(y)
    return float(loss), slope


def half_squared_error(output: Array, y: Array) -> tuple[float, Array]:
    """Mean of (output - y)² / 2, and its derivative (output - y) / rows."""
    residual = output[:, 0] - y
    loss = 0.5 * np.mean(residual * residual, dtype=np.float64)
    return float(loss), (residual / len(y))[:, None]


LOSSES: dict[Task, Loss] = {"classification": cross_entropy, "regression": half_squared_error}


def gradients(task: Task, params: list[Array], x: Array, y: Array) -> tuple[float, list[Array]]:
    """The loss on a batch and its gradient by every parameter, in the order of `params`."""
    layers = forward(params, x)
    loss, slope = LOSSES[task](layers[-1], y)
    grads: list[Array] = [slope] * len(params)
    for i in range(len(params) - 2, -1, -2):
        below = layers[i // 2]
        grads[i], grads[i + 1] = below.T @ slope, slope.sum(axis=0)
        if i:
            slope = (slope @ params[i].T) * (below > 0)
    return loss, grads


def evaluate(task: Task, params: list[Array], x: Array, y: Array) -> tuple[float, float]:
    """Loss and score over all rows: accuracy, or R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)² (0 where y is constant)."""
    starts = range(0, len(x), EVALUATION_ROWS)
    output = np.concatenate([forward(params, x[i : i + EVALUATION_ROWS])[-1] for i in starts])
    output = output.astype(np.float64)
    loss, _ = LOSSES[task](output, y)
    if task == "classification":
        return loss, float(np.mean(output.argmax(axis=1) == y))
    target = y.astype(np.float64)
    spread = float(np.sum((target - target.mean()) ** 2))
    return loss, 1.0 - 2.0 * loss * len(y) / spread if spread > 0 else 0.0
